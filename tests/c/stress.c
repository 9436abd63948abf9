/* Everything at once, for some seconds (the argument, or 2): readers of every kind, waits, events, reports, starts and stops, and a
 * clock that publishes all the while. For a checker of races to look at; it has checks of its own too. */

#define _DEFAULT_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static char list[32];
static atomic_int over;
static ntp_clock *own;
/* What some thread has read last: no other may read less afterwards. */
static atomic_int_least64_t seen;
static atomic_uint_least64_t told_times;
#ifdef PLANTED_RACE
/* So that a checker of races shows that it finds one. */
static uint_least64_t readings;
#define COUNT(what) ((what)++)
#else
static atomic_uint_least64_t readings;
#define COUNT(what) atomic_fetch_add_explicit(&(what), 1, memory_order_relaxed)
#endif

static void see(int64_t read, int64_t before)
{
    CHECK(read >= before);
    int64_t last = atomic_load(&seen);
    while (last < read && !atomic_compare_exchange_weak(&seen, &last, read))
        continue;
    COUNT(readings);
}

static void *reads_the_time(void *unused)
{
    while (!over) {
        int64_t before = atomic_load(&seen);
        see(ntp_now(), before);
    }
    return unused;
}

static void *reads_everything(void *unused)
{
    ntp_reading reading, converted;
    ntp_source_info source;
    ntp_report report;
    size_t count;
    int64_t offset, bound;
    while (!over) {
        int64_t before = atomic_load(&seen);
        EXPECT(NTP_OK, ntp_clock_now(NULL, &reading));
        see(reading.unix_ns, before);
        EXPECT(NTP_OK, ntp_clock_now_checked(NULL, &converted));
        CHECK(converted.unix_ns >= reading.unix_ns && converted.epoch == reading.epoch);
        EXPECT(NTP_OK, ntp_clock_report(NULL, &report, sizeof report));
        EXPECT(NTP_OK, ntp_clock_sources(NULL, &source, sizeof source, 1, &count));
        EXPECT(NTP_OK, ntp_clock_offset(NULL, &offset, &bound));
        EXPECT(NTP_OK, ntp_clock_convert(NULL, NTP_TIMESCALE_RAW, reading.raw_ns, &converted));
        EXPECT(NTP_OK, ntp_clock_wait_until_past(NULL, reading.unix_ns, -1));
        ntp_clock_take_events(NULL);
    }
    return unused;
}

static void told(void *context, uint32_t events)
{
    (void)events;
    atomic_fetch_add((atomic_uint_least64_t *)context, 1);
    ntp_now();
}

static void *starts_and_stops(void *unused)
{
    while (!over) {
        EXPECT(NTP_OK, ntp_start(list));
        EXPECT(NTP_OK, ntp_clock_restart(NULL));
        EXPECT(NTP_OK, ntp_clock_on_event(NULL, told, &told_times));
        ntp_stop();

        ntp_config *config = ntp_config_new();
        ntp_clock *clock;
        ntp_reading reading;
        EXPECT(NTP_OK, ntp_config_add_servers(config, list));
        EXPECT(NTP_OK, ntp_config_add_servers(config, "localhost:1"));
        EXPECT(NTP_OK, ntp_clock_start(config, &clock));
        ntp_config_free(config);
        ntp_clock_wait(clock, 0, 20);
        ntp_clock_now(clock, &reading);
        ntp_clock_free(clock);
    }
    return unused;
}

static void *reads_its_own(void *unused)
{
    ntp_reading last, next;
    EXPECT(NTP_OK, ntp_clock_now(own, &last));
    while (!over) {
        EXPECT(NTP_OK, ntp_clock_now(own, &next));
        CHECK(next.epoch == last.epoch && next.unix_ns >= last.unix_ns);
        last = next;
    }
    return unused;
}

static void *(*const lives[])(void *) = { reads_the_time, reads_the_time, reads_everything, starts_and_stops, reads_its_own };

#define LIVES (sizeof lives / sizeof lives[0])

int main(int argc, char **argv)
{
    pthread_t threads[LIVES];
    ntp_server *server = local_server(list);
    ntp_config *config = ntp_config_new();
    EXPECT(NTP_OK, ntp_config_add_servers(config, list));
    EXPECT(NTP_OK, ntp_config_set_poll(config, 0, 0));
    EXPECT(NTP_OK, ntp_start_with(config));
    EXPECT(NTP_OK, ntp_clock_start(config, &own));
    EXPECT(NTP_OK, ntp_wait(10000));
    EXPECT(NTP_OK, ntp_clock_wait(own, 0, 10000));
    ntp_config_free(config);
    atomic_store(&seen, ntp_now());
    for (size_t life = 0; life < LIVES; life++)
        CHECK(pthread_create(&threads[life], NULL, lives[life], NULL) == 0);
    sleep(argc > 1 ? (unsigned)atoi(argv[1]) : 2);
    atomic_store(&over, 1);
    for (size_t life = 0; life < LIVES; life++)
        CHECK(pthread_join(threads[life], NULL) == 0);
    CHECK(ntp_status() == NTP_STATE_SYNCHRONIZED && told_times > 0);
    EXPECT(NTP_OK, ntp_clock_on_event(NULL, NULL, NULL));
    ntp_clock_free(own);
    ntp_stop();
    ntp_server_free(server);
    printf("%" PRIu64 " readings\n", (uint64_t)readings);
    return 0;
}
