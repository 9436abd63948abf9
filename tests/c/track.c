/* track SERVERS SHIFT_NS SECONDS: watches ntp_now() beside the clock of the server.
 *
 * The server's clock is the system clock plus SHIFT_NS. It is read just before and just after each reading:
 * the true time lay between the two, and a reading is only blamed for what it is off by beyond that.
 */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ntpclock.h"

static int64_t system_clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s SERVERS SHIFT_NS SECONDS\n", argv[0]);
        return 2;
    }
    const int64_t shift = strtoll(argv[2], NULL, 10);
    const int64_t seconds = strtoll(argv[3], NULL, 10);
    /* One exchange that was held up leaves an error of half its delay, and a bound that says so: a program that needs
     * better than a millisecond waits for that bound. */
    if (ntp_start(argv[1]) != NTP_OK || ntp_clock_wait(NULL, 1000000, 40000) != NTP_OK) {
        fprintf(stderr, "no time from %s: %s\n", argv[1], ntp_last_error());
        return 1;
    }

    const size_t capacity = (size_t)seconds * 1000;
    int64_t *errors = calloc(capacity, sizeof *errors);
    if (errors == NULL) {
        fprintf(stderr, "no memory for %zu samples\n", capacity);
        return 1;
    }
    size_t samples = 0, outside = 0, backwards = 0, unsynchronized = 0;
    int64_t last = INT64_MIN;
    uint32_t last_epoch = 0;
    const int64_t end = system_clock_ns() + seconds * 1000000000;
    while (samples < capacity && system_clock_ns() < end) {
        const int64_t before = system_clock_ns() + shift;
        const int64_t now = ntp_now();
        const int64_t after = system_clock_ns() + shift;
        const int64_t early = before - now, late = now - after;
        errors[samples++] = early > 0 ? early : late > 0 ? late : 0;

        ntp_reading reading;
        const int64_t opened = system_clock_ns() + shift;
        const ntp_result result = ntp_clock_now(NULL, &reading);
        const int64_t closed = system_clock_ns() + shift;
        if (result != NTP_OK || reading.state != NTP_STATE_SYNCHRONIZED) {
            unsynchronized++;
        }
        if (reading.earliest_ns > closed || reading.latest_ns < opened) {
            if (outside++ == 0) {
                fprintf(stderr, "true time in [%" PRId64 ", %" PRId64 "], interval [%" PRId64 ", %" PRId64 "]\n",
                        opened, closed, reading.earliest_ns, reading.latest_ns);
            }
        }
        if (reading.unix_ns < now || (reading.epoch == last_epoch && now < last)) {
            backwards++;
        }
        last = reading.unix_ns;
        last_epoch = reading.epoch;
        const struct timespec pause = {0, 1000000};
        nanosleep(&pause, NULL);
    }
    ntp_stop();

    qsort(errors, samples, sizeof *errors, ascending);
    const int64_t p99 = samples == 0 ? INT64_MAX : errors[(samples - 1) * 99 / 100];
    const int64_t worst = samples == 0 ? INT64_MAX : errors[samples - 1];
    free(errors);
    printf("samples=%zu p99_ns=%" PRId64 " worst_ns=%" PRId64 " outside=%zu backwards=%zu unsynchronized=%zu\n", samples,
           p99, worst, outside, backwards, unsynchronized);
    return 0;
}
