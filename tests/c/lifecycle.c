/* The process-wide clock: before, while and after it runs, in any order of calls. */

#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <time.h>

#include "check.h"

static int64_t system_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void is_not_synchronized(void)
{
    ntp_reading reading;
    ntp_report report;
    int64_t offset = 7, bound = 7;

    int64_t before = system_clock();
    int64_t now = ntp_now();
    int64_t after = system_clock();
    CHECK(before <= now && now <= after);
    CHECK(ntp_offset() == 0);
    CHECK(ntp_error_bound() == INT64_MAX);
    CHECK(ntp_status() == NTP_STATE_UNSYNCHRONIZED);

    memset(&reading, 0xAA, sizeof reading);
    EXPECT(NTP_ERR_NOT_SYNCHRONIZED, ntp_clock_now(NULL, &reading));
    EXPECT_TEXT("UNSYNCHRONIZED");
    CHECK(before <= reading.unix_ns && reading.unix_ns <= system_clock());
    CHECK(reading.earliest_ns == INT64_MIN && reading.latest_ns == INT64_MAX);
    CHECK(reading.state == NTP_STATE_UNSYNCHRONIZED && reading.age_ns == INT64_MAX && reading.epoch == 0);
    CHECK(reading.tai_minus_utc == NTPCLOCK_TAI_UNKNOWN && reading.reserved == 0);
    for (size_t i = 0; i < sizeof reading.reserved_tail; i++)
        CHECK(reading.reserved_tail[i] == 0);

    EXPECT(NTP_ERR_NOT_SYNCHRONIZED, ntp_clock_offset(NULL, &offset, &bound));
    CHECK(offset == 0 && bound == INT64_MAX);
    EXPECT(NTP_OK, ntp_clock_report(NULL, &report, sizeof report));
    CHECK(report.state == NTP_STATE_UNSYNCHRONIZED && report.bound_ns == INT64_MAX);
}

static void is_not_running(void)
{
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_wait(0));
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_wait(-1));
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_wait(INT64_MAX));
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_clock_wait(NULL, 0, INT64_MIN));
    EXPECT_TEXT("not running");
}

static void *wait_for_ever(void *result)
{
    *(ntp_result *)result = ntp_wait(-1);
    return NULL;
}

static void *wait_beyond_every_clock(void *result)
{
    *(ntp_result *)result = ntp_clock_wait(NULL, INT64_MAX, INT64_MAX);
    return NULL;
}

int main(void)
{
    const char *list = "127.0.0.1:1,127.0.0.1:2";
    const struct timespec moment = {0, 100000000};
    pthread_t waiting[2];
    ntp_result results[2];
    size_t count = 7;

    /* Before any start; stopping is harmless. */
    is_not_synchronized();
    is_not_running();
    EXPECT(NTP_OK, ntp_clock_sources(NULL, NULL, sizeof(ntp_source_info), 0, &count));
    CHECK(count == 0);
    ntp_stop();
    ntp_stop();
    is_not_running();

    /* The environment speaks where the program does not. */
    unsetenv("NTPCLOCK_SERVERS");
    EXPECT(NTP_ERR_NO_SERVERS, ntp_start(NULL));
    EXPECT_TEXT("no server is named");
    setenv("NTPCLOCK_SERVERS", "127.0.0.1:1,:", 1);
    EXPECT(NTP_ERR_INVALID_SERVER, ntp_start(NULL));
    setenv("NTPCLOCK_SERVERS", list, 1);
    /* An empty list is one, so the environment is not asked, nor said to be lacking. */
    EXPECT(NTP_ERR_NO_SERVERS, ntp_start(""));
    CHECK(strstr(ntp_last_error(), "NTPCLOCK_SERVERS") == NULL);
    EXPECT(NTP_OK, ntp_start(NULL));

    /* Starts are counted, and of one list only. */
    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_ERR_ALREADY_RUNNING, ntp_start("127.0.0.1:3"));
    EXPECT_TEXT(list);
    EXPECT(NTP_ERR_INVALID_SERVER, ntp_start("127.0.0.1:x"));
    EXPECT(NTP_OK, ntp_clock_sources(NULL, NULL, sizeof(ntp_source_info), 0, &count));
    CHECK(count == 2);
    is_not_synchronized();
    EXPECT(NTP_ERR_TIMEOUT, ntp_wait(0));
    EXPECT(NTP_ERR_TIMEOUT, ntp_wait(300));
    EXPECT_TEXT("127.0.0.1:1");
    EXPECT_TEXT("127.0.0.1:2");
    EXPECT(NTP_ERR_TIMEOUT, ntp_clock_wait(NULL, 1000, 1));
    EXPECT_TEXT("127.0.0.1:1");
    ntp_stop();
    EXPECT(NTP_ERR_TIMEOUT, ntp_wait(0));

    /* Who waits is told when the clock stops. */
    CHECK(pthread_create(&waiting[0], NULL, wait_for_ever, &results[0]) == 0);
    CHECK(pthread_create(&waiting[1], NULL, wait_beyond_every_clock, &results[1]) == 0);
    nanosleep(&moment, NULL);
    ntp_stop();
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_join(waiting[i], NULL) == 0);
        EXPECT(NTP_ERR_STOPPED, results[i]);
    }
    is_not_running();
    ntp_stop();
    is_not_running();

    /* A stopped clock may take another list. */
    EXPECT(NTP_OK, ntp_start("127.0.0.1:3"));
    EXPECT(NTP_ERR_TIMEOUT, ntp_wait(0));
    ntp_stop();
    is_not_running();
    return 0;
}
