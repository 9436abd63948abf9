/* Time as events need it: comparisons, a cap on the bound, waits for an instant, stamps of other clocks, forks. */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

#define MILLIS INT64_C(1000000)

static int64_t shown(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static ntp_reading interval(int64_t earliest_ns, int64_t latest_ns)
{
    ntp_reading reading;
    /* Whatever else is in it, a state that is none among it. */
    memset(&reading, 0xAA, sizeof reading);
    reading.earliest_ns = earliest_ns;
    reading.latest_ns = latest_ns;
    return reading;
}

static void comparisons(void)
{
    const int64_t ends[] = {INT64_MIN, -5, 0, 5, 6, INT64_MAX};
    const ntp_reading early = interval(10, 20), late = interval(21, 30), unknown = interval(INT64_MIN, INT64_MAX);

    CHECK(ntp_reading_compare(&early, &late) == NTP_RELATION_BEFORE);
    CHECK(ntp_reading_compare(&late, &early) == NTP_RELATION_AFTER);
    CHECK(ntp_reading_compare(&early, &early) == NTP_RELATION_OVERLAP);
    CHECK(ntp_reading_compare(&early, &unknown) == NTP_RELATION_OVERLAP);
    CHECK(ntp_reading_compare(NULL, &early) == NTP_RELATION_OVERLAP);
    CHECK(ntp_reading_compare(&early, NULL) == NTP_RELATION_OVERLAP);
    for (int i = 0; i < 6 * 6 * 6 * 6; i++) {
        const ntp_reading a = interval(ends[i % 6], ends[i / 6 % 6]);
        const ntp_reading b = interval(ends[i / 36 % 6], ends[i / 216]);
        CHECK((int)ntp_reading_compare(&a, &b) == -(int)ntp_reading_compare(&b, &a));
    }
}

static void without_time(const ntp_clock *clock)
{
    ntp_reading reading;
    ntp_deadline deadline;
    CHECK(!ntp_clock_after(clock, INT64_MIN) && !ntp_clock_before(clock, INT64_MAX));
    memset(&reading, 0xAA, sizeof reading);
    EXPECT(NTP_ERR_NOT_SYNCHRONIZED, ntp_clock_now_within(clock, INT64_MAX, &reading));
    CHECK(reading.epoch == 0);
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_now_within(clock, -1, &reading));
    EXPECT_TEXT("`max_bound_ns`");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_now_within(clock, 1, NULL));
    EXPECT(NTP_ERR_NOT_SYNCHRONIZED, ntp_clock_now_checked(clock, &reading));
    CHECK(reading.state == NTP_STATE_UNSYNCHRONIZED);
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_now_checked(clock, NULL));
    EXPECT(NTP_ERR_NOT_SYNCHRONIZED, ntp_clock_convert(clock, NTP_TIMESCALE_RAW, reading.raw_ns, &reading));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_convert(clock, NTP_TIMESCALE_RAW, 0, NULL));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_convert(clock, 4, 0, &reading));
    EXPECT_TEXT("`timescale` is 4");
    EXPECT(NTP_ERR_NOT_SYNCHRONIZED, ntp_clock_deadline(clock, NTP_TIMESCALE_RAW, 0, &deadline, sizeof deadline));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_deadline(clock, NTP_TIMESCALE_RAW, 0, NULL, sizeof deadline));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_deadline(clock, NTP_TIMESCALE_RAW, 0, &deadline, 7));
}

static void commit(const ntp_clock *clock)
{
    ntp_reading before, after;
    EXPECT(NTP_OK, ntp_clock_now_within(clock, 1000 * MILLIS, &before));
    EXPECT(NTP_OK, ntp_clock_now_checked(clock, &before));
    EXPECT(NTP_OK, ntp_clock_check_resume_watch(clock));
    EXPECT(NTP_ERR_BOUND_EXCEEDED, ntp_clock_now_within(clock, 1, &after));
    CHECK(after.unix_ns >= before.unix_ns);
    EXPECT(NTP_ERR_TIMEOUT, ntp_clock_wait_until_past(clock, before.latest_ns + 60000 * MILLIS, 10));
    EXPECT(NTP_OK, ntp_clock_wait_until_past(clock, before.latest_ns, 10000));
    CHECK(ntp_clock_after(clock, before.latest_ns) && !ntp_clock_before(clock, before.latest_ns));
    EXPECT(NTP_OK, ntp_clock_now(clock, &after));
    CHECK(ntp_reading_compare(&before, &after) == NTP_RELATION_BEFORE);

    EXPECT(NTP_OK, ntp_clock_sleep_until(clock, after.unix_ns + 20 * MILLIS));
    EXPECT(NTP_OK, ntp_clock_now(clock, &before));
    CHECK(before.unix_ns >= after.unix_ns + 20 * MILLIS);
    CHECK(ntp_clock_before(clock, before.unix_ns + 60000 * MILLIS));
}

static void conversions(const ntp_clock *clock, int64_t early_monotonic, int64_t early_real)
{
    ntp_reading reading;
    ntp_deadline deadline;
    int64_t monotonic, real;

    /* The server shows our own system clock: that is the truth. What passes between two looks is small. */
    EXPECT(NTP_OK, ntp_clock_convert(clock, NTP_TIMESCALE_MONOTONIC, early_monotonic, &reading));
    CHECK(reading.earliest_ns <= early_real + MILLIS && early_real - MILLIS <= reading.latest_ns);
    CHECK(reading.epoch >= 1 && reading.latest_ns - reading.earliest_ns < 1000 * MILLIS);

    real = shown(CLOCK_REALTIME);
    EXPECT(NTP_OK, ntp_clock_convert(clock, NTP_TIMESCALE_REALTIME, real, &reading));
    CHECK(reading.earliest_ns <= real && real <= reading.latest_ns);
    EXPECT(NTP_OK, ntp_clock_convert(clock, NTP_TIMESCALE_BOOTTIME, shown(CLOCK_BOOTTIME), &reading));
    CHECK(llabs(reading.unix_ns - shown(CLOCK_REALTIME)) < 1000 * MILLIS);
    EXPECT(NTP_ERR_UNCONVERTIBLE, ntp_clock_convert(clock, NTP_TIMESCALE_REALTIME, 0, &reading));
    EXPECT_TEXT("may have been stepped");

    real = shown(CLOCK_REALTIME) + 5 * MILLIS;
    EXPECT(NTP_OK, ntp_clock_deadline(clock, NTP_TIMESCALE_MONOTONIC, real, &deadline, sizeof deadline));
    do {
        monotonic = shown(CLOCK_MONOTONIC);
    } while (monotonic < deadline.latest_ns);
    CHECK(shown(CLOCK_REALTIME) >= real);
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_deadline(clock, NTP_TIMESCALE_REALTIME, real, &deadline, sizeof deadline));
    EXPECT_TEXT("`timescale`");
}

static atomic_int waiting;

static void *wait_for_ever(void *clock)
{
    waiting = 1;
    EXPECT(NTP_ERR_STOPPED, ntp_clock_wait_until_past(clock, INT64_MAX, -1));
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_wait(0));
    return NULL;
}

/* A child of a process whose other thread waits has nobody to wake it, and needs nobody. */
static void in_child(void)
{
    ntp_reading reading, converted;
    EXPECT(NTP_OK, ntp_clock_now(NULL, &reading));
    CHECK(reading.state == NTP_STATE_HOLDOVER);
    EXPECT(NTP_OK, ntp_clock_wait_until_past(NULL, reading.latest_ns, 10000));
    EXPECT(NTP_OK, ntp_clock_sleep_until(NULL, reading.unix_ns + 5 * MILLIS));
    EXPECT(NTP_OK, ntp_clock_convert(NULL, NTP_TIMESCALE_RAW, reading.raw_ns, &converted));
    CHECK(converted.state == NTP_STATE_HOLDOVER && ntp_reading_compare(&reading, &converted) == NTP_RELATION_OVERLAP);
    exit(0);
}

static void children(void)
{
    for (int round = 0; round < 20; round++) {
        int status = 0;
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0)
            in_child();
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

/* With any argument there are no children, whose memory a checker would have to understand. */
int main(int argc, char **argv)
{
    char list[32];
    (void)argv;
    const int64_t early_monotonic = shown(CLOCK_MONOTONIC), early_real = shown(CLOCK_REALTIME);
    ntp_config *config = ntp_config_new();
    ntp_clock *clock = NULL;
    pthread_t waiter;

    comparisons();
    without_time(NULL);
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_clock_wait_until_past(NULL, 0, -1));
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_clock_sleep_until(NULL, INT64_MAX));

    usleep(100000);
    ntp_server *server = local_server(list);
    EXPECT(NTP_OK, ntp_config_add_servers(config, list));
    EXPECT(NTP_OK, ntp_clock_start(config, &clock));
    ntp_config_free(config);
    EXPECT(NTP_OK, ntp_clock_wait(clock, 0, 10000));
    commit(clock);
    conversions(clock, early_monotonic, early_real);
    ntp_clock_free(clock);

    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_wait(10000));
    commit(NULL);
    conversions(NULL, early_monotonic, early_real);
    CHECK(pthread_create(&waiter, NULL, wait_for_ever, NULL) == 0);
    if (argc == 1)
        children();
    /* Who begins to wait when the clock has stopped already does so for ever: half a second for one step must do. */
    while (!waiting)
        usleep(1000);
    usleep(500000);
    ntp_stop();
    CHECK(pthread_join(waiter, NULL) == 0);
    ntp_server_free(server);
    return 0;
}
