/* cycles N [resident]: N starts and stops of either kind leave no descriptor and no thread behind, and, where
 * nothing else uses the process's memory, no memory either. */

#define _POSIX_C_SOURCE 200809L
#include <time.h>
#include <unistd.h>

#include "check.h"

static void cycle(const char *list)
{
    ntp_config *config = ntp_config_new();
    ntp_clock *clock = NULL;

    EXPECT(NTP_OK, ntp_start(list));
    CHECK(ntp_now() > 0);
    EXPECT(NTP_OK, ntp_config_add_servers(config, list));
    EXPECT(NTP_OK, ntp_clock_start(config, &clock));
    ntp_clock_free(clock);
    ntp_config_free(config);
    ntp_stop();
}

/* Resident memory in pages. */
static long resident(void)
{
    long size = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%ld %ld", &size, &pages) == 2);
    fclose(file);
    return pages;
}

/* A joined thread may be listed by the kernel for a moment longer. */
static void threads_are(int expected)
{
    const struct timespec moment = {0, 1000000};
    int found = 0;
    for (int patience = 0; patience < 2000; patience++) {
        found = entries("/proc/self/task");
        if (found == expected)
            return;
        nanosleep(&moment, NULL);
    }
    fprintf(stderr, "%d threads, not %d\n", found - 2, expected - 2);
    exit(1);
}

int main(int argc, char **argv)
{
    int cycles = argc > 1 ? atoi(argv[1]) : 1000;
    int descriptors = entries("/proc/self/fd");
    int threads = entries("/proc/self/task");
    char served[32];
    long warm = 0;
    ntp_server *server = local_server(served);

    for (int i = 0; i < cycles; i++) {
        cycle(i % 2 == 0 ? "127.0.0.1:1,127.0.0.1:2,[::1]:1" : served);
        if (i == cycles / 10)
            warm = resident();
    }
    /* This is for coarse leaks, of mappings and stacks; memcheck finds the fine ones. */
    if (argc > 2)
        CHECK((resident() - warm) * sysconf(_SC_PAGESIZE) < 1 << 20);

    /* Once more and to the end: an exchange has been had, so everything was in use. */
    EXPECT(NTP_OK, ntp_start(served));
    EXPECT(NTP_OK, ntp_wait(20000));
    ntp_stop();
    CHECK(ntp_status() != NTP_STATE_UNSYNCHRONIZED);

    ntp_server_free(server);
    threads_are(threads);
    CHECK(entries("/proc/self/fd") == descriptors);
    return 0;
}
