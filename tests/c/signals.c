/* Every thread of the library has every signal blocked, and none has a handler: the host's handlers run on its own threads. */

#define _GNU_SOURCE
#include <ctype.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

/* How many kinds of thread are looked at: engine, server, callback, help. Their names tell them apart. (Two more need a
 * certificate, or a stranger's name; all are made by one function.) */
#define KINDS 4

static char kinds[KINDS][64];
static int seen;

/* A status file, at one instant. */
struct status {
    char name[64], blocked[64], caught[64], threads[64];
};

/* Reads the status of a thread; false if it is gone. One that is about to be has no signals any more: the kernel then shows empty
 * sets, and that its process has no threads. */
static int status(const char *path, struct status *status)
{
    char line[256];
    FILE *file = fopen(path, "r");
    memset(status, 0, sizeof *status);
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        (void)sscanf(line, "Name: %63[^\n]", status->name);
        (void)sscanf(line, "Threads: %63[^\n]", status->threads);
        (void)sscanf(line, "SigBlk: %63[^\n]", status->blocked);
        (void)sscanf(line, "SigCgt: %63[^\n]", status->caught);
    }
    if (file != NULL)
        fclose(file);
    return status->caught[0] != '\0' && strcmp(status->threads, "0") != 0;
}

/* A set of signals in hexadecimal, without those that the C library keeps for itself. */
static unsigned long long set(const char *text)
{
    unsigned long long all = strtoull(text, NULL, 16);
    for (int number = 32; number < SIGRTMIN; number++)
        all &= ~(1ull << (number - 1));
    return all;
}

static void check_mask(const struct status *thread)
{
    /* Nobody can block two of them. */
    const unsigned long long all = set("ffffffffffffffff") & ~(1ull << (SIGKILL - 1)) & ~(1ull << (SIGSTOP - 1));
    if (set(thread->blocked) == all)
        return;
    fprintf(stderr, "%s blocks %s only\n", thread->name, thread->blocked);
    exit(1);
}

static void note(const char *name)
{
    for (int kind = 0; kind < seen; kind++)
        if (strcmp(name, kinds[kind]) == 0)
            return;
    CHECK(seen < KINDS);
    strcpy(kinds[seen++], name);
}

static void look(void)
{
    char path[128];
    struct status thread;
    DIR *directory = opendir("/proc/self/task");
    struct dirent *entry;
    CHECK(directory != NULL);
    while ((entry = readdir(directory)) != NULL) {
        const int id = atoi(entry->d_name);
        if (!isdigit((unsigned char)entry->d_name[0]) || id == getpid())
            continue;
        /* Waits for a moment in which this very thread does not block it, however short. */
        (void)syscall(SYS_tgkill, getpid(), id, SIGUSR1);
        snprintf(path, sizeof path, "/proc/self/task/%.20s/status", entry->d_name);
        if (!status(path, &thread))
            continue;
        check_mask(&thread);
        /* Before it names itself it is called as the program is. */
        if (strncmp(thread.name, "ntpclock", 8) == 0)
            note(thread.name);
    }
    closedir(directory);
}

static volatile sig_atomic_t handled, elsewhere;

static void handler(int signal)
{
    (void)signal;
    handled++;
    elsewhere |= syscall(SYS_gettid) != getpid();
}

static void told(void *context, uint32_t events)
{
    (void)context;
    (void)events;
}

int main(void)
{
    char list[64];
    struct status before, after;
    struct sigaction action = { .sa_handler = handler };
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(status("/proc/self/status", &before));

    ntp_server *server = local_server(list);
    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_clock_on_event(NULL, told, NULL));
    /* The one that helps is there only while there is a name to look up. */
    ntp_config *config = ntp_config_new();
    for (int name = 0; name < 20; name++)
        EXPECT(NTP_OK, ntp_config_add_servers(config, "localhost:9,pool:localhost:9"));
    const time_t begun = time(NULL);
    while (seen < KINDS) {
        ntp_clock *clock;
        EXPECT(NTP_OK, ntp_clock_start(config, &clock));
        for (int round = 0; round < 50; round++)
            look();
        ntp_clock_free(clock);
        if (time(NULL) - begun > 30)
            fprintf(stderr, "seen: %s %s %s %s\n", kinds[0], kinds[1], kinds[2], kinds[3]);
        CHECK(time(NULL) - begun <= 30);
    }
    EXPECT(NTP_OK, ntp_wait(10000));
    CHECK(!elsewhere);

    /* A signal for the process, of which the kernel lets any thread that does not block it be the one. */
    for (int round = 0; round < 1000; round++)
        CHECK(kill(getpid(), SIGUSR1) == 0);
    CHECK(handled > 0 && !elsewhere);
    CHECK(status("/proc/self/status", &after) && set(after.caught) == set(before.caught));
    sigset_t own;
    CHECK(sigprocmask(SIG_BLOCK, NULL, &own) == 0 && sigisemptyset(&own));

    ntp_config_free(config);
    ntp_stop();
    EXPECT(NTP_OK, ntp_clock_on_event(NULL, NULL, NULL));
    ntp_server_free(server);
    return 0;
}
