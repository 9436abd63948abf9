/* A thread with a stack of 64 KiB starts clocks, of every kind, waits for them, makes them anew in a child, and stops them. */

#define _GNU_SOURCE
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static char list[32], directory[] = "/tmp/ntpclock-stacks-XXXXXX";

/* Forks, and in the child goes on with `clock`, and with the process's. */
static void fork_with(ntp_clock *clock)
{
    int status;
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        EXPECT(NTP_OK, ntp_clock_restart(clock));
        EXPECT(NTP_OK, ntp_clock_restart(NULL));
        EXPECT(NTP_OK, ntp_clock_wait(clock, 0, 10000));
        EXPECT(NTP_OK, ntp_wait(10000));
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void *work(void *argument)
{
    char path[64];
    ntp_clock *clock;
    ntp_report report;
    ntp_query_result result;
    ntp_config *config = ntp_config_new();
    (void)argument;
    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_wait(10000));

    EXPECT(NTP_OK, ntp_config_add_servers(config, list));
    EXPECT(NTP_OK, ntp_config_set_poll(config, 0, 0));
    /* The certificates of the platform are looked for, too. */
    EXPECT(NTP_OK, ntp_config_add_servers(config, "localhost:9 nts"));
    EXPECT(NTP_OK, ntp_config_set_authentication(config, NTP_AUTHENTICATION_IGNORE));
    snprintf(path, sizeof path, "%s/state", directory);
    EXPECT(NTP_OK, ntp_config_set_state_file(config, path));
    snprintf(path, sizeof path, "%s/page", directory);
    EXPECT(NTP_OK, ntp_config_set_shared_page(config, path));
    EXPECT(NTP_OK, ntp_clock_start(config, &clock));
    EXPECT(NTP_OK, ntp_clock_wait(clock, 0, 10000));
    EXPECT(NTP_OK, ntp_clock_report(clock, &report, sizeof report));
    EXPECT(NTP_OK, ntp_query(list, 10000, &result, sizeof result));
    fork_with(clock);
    ntp_clock_free(clock);

    ntp_stop();
    ntp_config_free(config);
    return NULL;
}

int main(void)
{
    static const char *const files[] = { "state", "page", "page.lock" };
    const size_t promised = 64 * 1024;
    char path[64];
    pthread_t thread;
    pthread_attr_t attributes;
    ntp_server *server = local_server(list);
    CHECK(mkdtemp(directory) != NULL);
    CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, promised) == 0);
    CHECK(pthread_create(&thread, &attributes, work, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0 && pthread_attr_destroy(&attributes) == 0);
    for (size_t n = 0; n < sizeof files / sizeof *files; n++) {
        snprintf(path, sizeof path, "%s/%s", directory, files[n]);
        CHECK(unlink(path) == 0);
    }
    CHECK(rmdir(directory) == 0);
    ntp_server_free(server);
    return 0;
}
