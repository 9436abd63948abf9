/* The raw counter is replaced while the clock runs: by one that shows other numbers, smaller or larger ones. */

#define _GNU_SOURCE
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

#define SECOND INT64_C(1000000000)

static _Atomic int64_t leap_s;

/* Comes before the C library's: for the library under test, too. */
int clock_gettime(clockid_t id, struct timespec *time)
{
    long result = syscall(SYS_clock_gettime, id, time);
    if (id == CLOCK_MONOTONIC_RAW)
        time->tv_sec += atomic_load(&leap_s);
    return (int)result;
}

static int64_t time_of(clockid_t id)
{
    struct timespec now;
    CHECK(clock_gettime(id, &now) == 0);
    return now.tv_sec * SECOND + now.tv_nsec;
}

/* The server shows our own system clock: that is the truth. */
static ntp_state state_of_true_reading(void)
{
    ntp_reading reading;
    int64_t before = time_of(CLOCK_REALTIME);
    ntp_clock_now(NULL, &reading);
    int64_t after = time_of(CLOCK_REALTIME);
    CHECK(reading.earliest_ns <= after && before <= reading.latest_ns);
    return reading.state;
}

/* Ample time on a busy machine. */
#define AMPLE (60 * SECOND)

static uint32_t epoch(void)
{
    ntp_reading reading;
    ntp_clock_now(NULL, &reading);
    return reading.epoch;
}

/* Until the thread has run once more nobody knows; and DISRUPTED may be over before we look. */
static void until_found_out(uint32_t former)
{
    int64_t begun = time_of(CLOCK_MONOTONIC);
    while (epoch() <= former) {
        CHECK(time_of(CLOCK_MONOTONIC) - begun < AMPLE);
        usleep(1000);
    }
    while (state_of_true_reading() != NTP_STATE_SYNCHRONIZED) {
        CHECK(time_of(CLOCK_MONOTONIC) - begun < AMPLE);
        usleep(1000);
    }
}

int main(void)
{
    char list[32];
    ntp_server *server = local_server(list);
    start_polling_each_second(list);
    /* What was published last holds by now. */
    usleep(500000);

    const int leaps[] = {-20, 20, -100};
    for (int i = 0; i < 3; i++) {
        uint32_t former = epoch();
        ntp_clock_take_events(NULL);
        atomic_fetch_add(&leap_s, leaps[i]);
        until_found_out(former);
        const uint32_t all = NTP_EVENT_DISRUPTED | NTP_EVENT_SYNCHRONIZED | NTP_EVENT_STEPPED;
        /* The thread tells of what readers see already. */
        uint32_t told = 0;
        int64_t seen = time_of(CLOCK_MONOTONIC);
        while ((told & all) != all) {
            told |= ntp_clock_take_events(NULL);
            CHECK(time_of(CLOCK_MONOTONIC) - seen < AMPLE);
            usleep(1000);
        }
        int64_t begun = time_of(CLOCK_MONOTONIC);
        while (time_of(CLOCK_MONOTONIC) - begun < SECOND) {
            state_of_true_reading();
            usleep(1000);
        }
    }

    /* Whatever was to come at a number that is far away now. */
    atomic_fetch_sub(&leap_s, 30);
    int64_t begun = time_of(CLOCK_MONOTONIC);
    ntp_stop();
    CHECK(time_of(CLOCK_MONOTONIC) - begun < 5 * SECOND);
    ntp_server_free(server);
    return 0;
}
