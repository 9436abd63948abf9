/* A clock of one's own against a server of one's own: it synchronises and tells the truth about it. */

#define _POSIX_C_SOURCE 200809L
#include <time.h>

#include "check.h"

static int64_t system_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void one_exchange(const char *list)
{
    ntp_query_result result;
    memset(&result, 0xAA, sizeof result);
    EXPECT(NTP_OK, ntp_query(list, 2000, &result, sizeof result));
    CHECK(result.stratum == 1 && result.version == 4);
    CHECK(strcmp(result.address, list) == 0);
    /* The server shows our own system clock: the true offset is 0. */
    CHECK(result.bound_ns > 0 && llabs(result.offset_ns) <= result.bound_ns);
    CHECK(llabs(result.unix_ns - system_clock()) < 1000000000);
    for (size_t i = 0; i < sizeof result.reserved; i++)
        CHECK(result.reserved[i] == 0);

    memset(&result, 0xAA, sizeof result);
    EXPECT(NTP_OK, ntp_query(list, 2000, &result, sizeof result.offset_ns));
    CHECK(result.offset_ns != (int64_t)0xAAAAAAAAAAAAAAAA);
    CHECK(result.bound_ns == (int64_t)0xAAAAAAAAAAAAAAAA);
}

static void counts(const ntp_server *server)
{
    ntp_server_counters counters;
    int64_t patience = system_clock() + 5000000000;
    memset(&counters, 0xAA, sizeof counters);
    /* Its threads tell of their work when they are done with it. */
    do
        EXPECT(NTP_OK, ntp_server_statistics(server, &counters, sizeof counters));
    while (counters.replies < 2 && system_clock() < patience);
    CHECK(counters.requests == 2 && counters.replies == 2 && counters.limited == 0 && counters.unsent == 0);
    CHECK(counters.threads >= 1 && counters.receive_buffer_bytes > 0 && counters.reserved == 0);
    memset(&counters, 0xAA, sizeof counters);
    EXPECT(NTP_OK, ntp_server_statistics(server, &counters, sizeof counters.requests));
    CHECK(counters.requests == 2 && counters.replies == 0xAAAAAAAAAAAAAAAA);
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_statistics(server, NULL, sizeof counters));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_statistics(server, &counters, 0));
}

int main(void)
{
    char list[32];
    ntp_server *server = local_server(list);
    ntp_config *config = ntp_config_new();
    ntp_clock *clock = NULL;
    ntp_reading reading, last;
    ntp_report report;
    ntp_source_info source;
    int64_t offset = 0, bound = 0;
    uint16_t port = 7;
    size_t count = 0;

    one_exchange(list);
    counts(server);
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_port(server, 1, &port));
    EXPECT_TEXT("`index` is 1");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_port(server, 0, NULL));
    CHECK(port == 7);

    EXPECT(NTP_OK, ntp_config_add_servers_with(config, list, NTP_SERVER_REQUIRE | NTP_SERVER_TRUST, 0));
    EXPECT(NTP_OK, ntp_config_set_poll(config, 0, 4));
    EXPECT(NTP_OK, ntp_clock_start(config, &clock));
    ntp_config_free(config);
    EXPECT(NTP_OK, ntp_clock_wait(clock, 0, 10000));
    EXPECT(NTP_OK, ntp_clock_wait(clock, 500000000, 10000));
    EXPECT(NTP_ERR_TIMEOUT, ntp_clock_wait(clock, 1, 10));

    EXPECT(NTP_OK, ntp_clock_now(clock, &last));
    for (int i = 0; i < 100000; i++) {
        EXPECT(NTP_OK, ntp_clock_now(clock, &reading));
        CHECK(reading.earliest_ns <= reading.unix_ns && reading.unix_ns <= reading.latest_ns);
        CHECK(reading.state == NTP_STATE_SYNCHRONIZED && reading.epoch >= 1);
        CHECK(reading.epoch != last.epoch || reading.unix_ns >= last.unix_ns);
        CHECK(reading.raw_ns >= last.raw_ns);
        last = reading;
    }
    CHECK(reading.earliest_ns <= system_clock());
    EXPECT(NTP_OK, ntp_clock_offset(clock, &offset, &bound));
    CHECK(llabs(offset) <= bound);

    EXPECT(NTP_OK, ntp_clock_report(clock, &report, sizeof report));
    CHECK(report.state == NTP_STATE_SYNCHRONIZED && report.configured == 1 && report.answering == 1);
    CHECK(report.stratum == 2 && report.exchanges >= 1 && report.epoch == reading.epoch);
    EXPECT(NTP_OK, ntp_clock_sources(clock, &source, sizeof source, 1, &count));
    CHECK(count == 1 && source.selection == NTP_SELECTION_TRUECHIMER && source.stratum == 1);
    CHECK(strcmp(source.name, list) == 0 && strcmp(source.address, list) == 0 && source.fault[0] == '\0');
    CHECK((source.reach & 1) == 1);
    CHECK(source.options == (NTP_SERVER_REQUIRE | NTP_SERVER_TRUST) && source.key_id == 0 && report.flags == 0);
    for (size_t i = 0; i < NTPCLOCK_REASONS; i++)
        CHECK(source.refusals[i] == 0);
    CHECK(strcmp(ntp_reason_name(NTP_REASON_FALSETICKER), "falseticker") == 0);

    /* The process-wide clock knows nothing of it. */
    CHECK(ntp_status() == NTP_STATE_UNSYNCHRONIZED);
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_wait(0));

    ntp_clock_free(clock);
    ntp_server_free(server);
    return 0;
}
