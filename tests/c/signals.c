/* Every thread of the library has every signal blocked, and none has a handler: the host's handlers run on its own threads. */

#define _GNU_SOURCE
#include <ctype.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

/* How many threads the library has: engine, server, callback, and what helps. */
#define KINDS 4

static const char *const kinds[KINDS] = { "ntpclock", "ntpclock-server", "ntpclock-event", "ntpclock-help" };
static int seen[KINDS];

/* The value of `field` in a status file; false if its thread is gone. */
static int field(const char *path, const char *name, char value[64])
{
    char line[256];
    FILE *file = fopen(path, "r");
    int found = 0;
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL)
        found = strncmp(line, name, strlen(name)) == 0 && sscanf(line + strlen(name), ": %63[^\n]", value) == 1;
    if (file != NULL)
        fclose(file);
    return found;
}

/* A set of signals in hexadecimal, without those that the C library keeps for itself. */
static unsigned long long set(const char *text)
{
    unsigned long long all = strtoull(text, NULL, 16);
    for (int number = 32; number < SIGRTMIN; number++)
        all &= ~(1ull << (number - 1));
    return all;
}

static void check_mask(const char *path, const char *thread)
{
    char text[64];
    if (!field(path, "SigBlk", text))
        return;
    /* Of a thread that is ending the kernel shows none for a moment, and then the thread is gone. */
    for (int turn = 0; turn < 100 && set(text) == 0; turn++) {
        const struct timespec moment = { .tv_nsec = 1000000 };
        nanosleep(&moment, NULL);
        if (!field(path, "SigBlk", text))
            return;
    }
    /* Nobody can block two of them. */
    const unsigned long long all = set("ffffffffffffffff") & ~(1ull << (SIGKILL - 1)) & ~(1ull << (SIGSTOP - 1));
    if (set(text) == all)
        return;
    fprintf(stderr, "%s blocks %s only\n", thread, text);
    exit(1);
}

static void look(void)
{
    char path[128], name[64];
    DIR *directory = opendir("/proc/self/task");
    struct dirent *entry;
    CHECK(directory != NULL);
    while ((entry = readdir(directory)) != NULL) {
        if (!isdigit((unsigned char)entry->d_name[0]) || atoi(entry->d_name) == getpid())
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%.20s/status", entry->d_name);
        if (!field(path, "Name", name))
            continue;
        for (int kind = 0; kind < KINDS; kind++)
            seen[kind] |= strcmp(name, kinds[kind]) == 0;
        check_mask(path, name);
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
    char list[64], caught[64], after[64];
    struct sigaction action = { .sa_handler = handler };
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(field("/proc/self/status", "SigCgt", caught));

    ntp_server *server = local_server(list);
    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_clock_on_event(NULL, told, NULL));
    /* The helper that looks names up is there only while there is one to look up. */
    ntp_config *config = ntp_config_new();
    for (int name = 0; name < 20; name++)
        EXPECT(NTP_OK, ntp_config_add_servers(config, "localhost:9,pool:localhost:9"));
    const time_t begun = time(NULL);
    while (!(seen[0] && seen[1] && seen[2] && seen[3])) {
        ntp_clock *clock;
        EXPECT(NTP_OK, ntp_clock_start(config, &clock));
        for (int round = 0; round < 50; round++)
            look();
        ntp_clock_free(clock);
        if (time(NULL) - begun > 30)
            fprintf(stderr, "seen: %d %d %d %d\n", seen[0], seen[1], seen[2], seen[3]);
        CHECK(time(NULL) - begun <= 30);
    }
    EXPECT(NTP_OK, ntp_wait(10000));

    /* A signal for the process, of which the kernel lets any thread that does not block it be the one. */
    for (int round = 0; round < 1000; round++)
        CHECK(kill(getpid(), SIGUSR1) == 0);
    CHECK(handled > 0 && !elsewhere);
    CHECK(field("/proc/self/status", "SigCgt", after) && set(after) == set(caught));
    sigset_t own;
    CHECK(sigprocmask(SIG_BLOCK, NULL, &own) == 0 && sigisemptyset(&own));

    ntp_config_free(config);
    ntp_stop();
    EXPECT(NTP_OK, ntp_clock_on_event(NULL, NULL, NULL));
    ntp_server_free(server);
    return 0;
}
