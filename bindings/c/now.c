/* Prints the synchronised time: now [SERVERS]. Without SERVERS, $NTPCLOCK_SERVERS names them. */

#include <inttypes.h>
#include <ntpclock.h>
#include <stdio.h>
#include <time.h>

static double ms(int64_t ns)
{
    return (double)ns / 1e6;
}

/* A figure of a source, which may be unknown. */
static const char *figure(char text[32], int64_t ns)
{
    if (ns == INT64_MAX)
        return "unknown";
    snprintf(text, 32, "%.6f", ms(ns));
    return text;
}

static void print_time(int64_t unix_ns)
{
    time_t seconds = (time_t)(unix_ns / 1000000000);
    char text[32];
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime(&seconds));
    printf("time    %s.%09" PRId64 "Z\n", text, unix_ns % 1000000000);
}

static void print_sources(void)
{
    ntp_source_info sources[64];
    size_t count = 0;
    if (ntp_clock_sources(NULL, sources, sizeof sources[0], 64, &count) != NTP_OK) {
        fprintf(stderr, "now: %s\n", ntp_last_error());
        return;
    }
    printf("%-12s %-32s %7s %12s %12s\n", "selection", "source", "stratum", "offset ms", "delay ms");
    for (size_t i = 0; i < count && i < 64; i++) {
        const ntp_source_info *source = &sources[i];
        char offset[32], delay[32];
        printf("%-12s %-32s %7d %12s %12s %s\n", ntp_selection_name((int32_t)source->selection), source->name,
               source->stratum, figure(offset, source->offset_ns), figure(delay, source->delay_ns), source->fault);
    }
}

int main(int argc, char **argv)
{
    if (ntp_start(argc > 1 ? argv[1] : NULL) != NTP_OK) {
        fprintf(stderr, "now: %s\n", ntp_last_error());
        return 2;
    }
    ntp_result waited = ntp_wait(10000);
    if (waited != NTP_OK)
        fprintf(stderr, "now: %s\n", ntp_last_error());

    print_time(ntp_now());
    printf("offset  %+.6f ms\n", ms(ntp_offset()));
    int64_t bound = ntp_error_bound();
    if (bound == INT64_MAX)
        printf("bound   unknown\n");
    else
        printf("bound   %.6f ms\n", ms(bound));
    printf("status  %s\n\n", ntp_state_name((int32_t)ntp_status()));
    print_sources();

    ntp_stop();
    return waited == NTP_OK ? 0 : 1;
}
