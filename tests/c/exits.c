/* However a process ends while its clocks run, its threads read and its callbacks are called, it ends at once and well. */

#define _GNU_SOURCE
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define READERS 3
#define ROUNDS 8

static void *reads(void *clock)
{
    ntp_reading reading;
    ntp_report report;
    for (;;) {
        ntp_now();
        ntp_clock_now(clock, &reading);
        CHECK(reading.earliest_ns <= reading.unix_ns && reading.unix_ns <= reading.latest_ns);
        ntp_clock_report(clock, &report, sizeof report);
    }
}

static void *waits(void *clock)
{
    ntp_clock_wait_until_past(clock, INT64_MAX, -1);
    return clock;
}

static void told(void *context, uint32_t events)
{
    (void)context;
    (void)events;
    usleep(1000);
}

static ntp_clock *own;

static void reads_in_a_handler(void)
{
    CHECK(ntp_now() > 0);
    EXPECT(NTP_OK, ntp_wait(0));
    CHECK(ntp_status() == NTP_STATE_SYNCHRONIZED);
}

static void stops_in_a_handler(void)
{
    ntp_stop();
    CHECK(ntp_status() == NTP_STATE_HOLDOVER);
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_wait(0));
    CHECK(ntp_now() > 0);
}

static void starts_in_a_handler(void)
{
    EXPECT(NTP_OK, ntp_start("127.0.0.1:1"));
    ntp_clock_free(own);
}

/* A thread's own end: its keys are destroyed after everything of its own that we may have kept there. */
static void reads_at_the_end(void *unused)
{
    (void)unused;
    EXPECT(NTP_ERR_INVALID_SERVER, ntp_start("a:b"));
    /* The sentence had its place in what is gone by now. */
    CHECK(strcmp(ntp_last_error(), "") == 0);
    CHECK(ntp_now() > 0 && ntp_status() == NTP_STATE_SYNCHRONIZED);
}

static void *ends(void *key)
{
    CHECK(pthread_setspecific(*(pthread_key_t *)key, "") == 0);
    EXPECT(NTP_ERR_INVALID_SERVER, ntp_start("c:d"));
    return NULL;
}

static void *exits(void *unused)
{
    (void)unused;
    exit(0);
}

static void by_return(void) {}
static void by_exit(void) { exit(0); }
static void by_quick_exit(void) { quick_exit(0); }
static void at_once(void) { _exit(0); }

static void by_a_handler_that_reads(void)
{
    CHECK(atexit(reads_in_a_handler) == 0);
    exit(0);
}

static void by_handlers_that_read_stop_and_start(void)
{
    CHECK(atexit(starts_in_a_handler) == 0 && atexit(stops_in_a_handler) == 0 && atexit(reads_in_a_handler) == 0);
    exit(0);
}

static void by_a_quick_handler(void)
{
    CHECK(at_quick_exit(stops_in_a_handler) == 0 && at_quick_exit(reads_in_a_handler) == 0);
    quick_exit(0);
}

static void by_another_thread(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, exits, NULL) == 0);
    for (;;)
        ntp_now();
}

static void after_main_has_ended(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, exits, NULL) == 0);
    pthread_exit(NULL);
}

static void after_threads_that_read_at_their_end(void)
{
    pthread_key_t key;
    pthread_t thread;
    CHECK(pthread_key_create(&key, reads_at_the_end) == 0);
    for (int round = 0; round < 20; round++) {
        CHECK(pthread_create(&thread, NULL, ends, &key) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
}

static void (*const ways[])(void) = {
    by_return, by_exit, by_quick_exit, at_once, by_a_handler_that_reads, by_handlers_that_read_stop_and_start,
    by_a_quick_handler, by_another_thread, after_main_has_ended, after_threads_that_read_at_their_end,
};

static void live(const char *list)
{
    pthread_t thread;
    ntp_config *config = ntp_config_new();
    EXPECT(NTP_OK, ntp_config_add_servers(config, list));
    EXPECT(NTP_OK, ntp_clock_start(config, &own));
    ntp_config_free(config);
    EXPECT(NTP_OK, ntp_clock_on_event(NULL, told, NULL));
    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_wait(10000));
    for (int reader = 0; reader < READERS; reader++)
        CHECK(pthread_create(&thread, NULL, reader == 0 ? waits : reads, NULL) == 0);
}

int main(void)
{
    char list[32];
    ntp_server *server = local_server(list);
    for (size_t way = 0; way < sizeof ways / sizeof ways[0]; way++) {
        for (int round = 0; round < ROUNDS; round++) {
            int status = 0;
            pid_t child = fork();
            CHECK(child >= 0);
            if (child == 0) {
                alarm(30);
                live(list);
                ways[way]();
                return 0;
            }
            CHECK(waitpid(child, &status, 0) == child);
            if (status != 0)
                fprintf(stderr, "way %zu, round %d: status %#x\n", way, round, (unsigned)status);
            CHECK(status == 0);
        }
    }
    ntp_server_free(server);
    return 0;
}
