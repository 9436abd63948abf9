/* Nonsense is refused by name, and nothing is written. */

#define _GNU_SOURCE
#include <unistd.h>

#include "check.h"

static void null_pointers(ntp_config *config, ntp_clock *clock)
{
    ntp_server_config *server_config = ntp_server_config_new();
    ntp_clock *no_clock = (ntp_clock *)&config;
    ntp_server *no_server = (ntp_server *)&config;
    ntp_server_counters counters;
    ntp_query_result result;
    int64_t number = 7;
    uint16_t port = 7;
    size_t count = 7;

    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_add_servers(NULL, "127.0.0.1"));
    EXPECT_TEXT("`config` is NULL");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_add_servers(config, NULL));
    EXPECT_TEXT("`servers` is NULL");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_add_servers_with(NULL, "127.0.0.1", 0, 0));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_add_servers_with(config, NULL, 0, 0));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_load_keys(NULL, "keys"));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_load_keys(config, NULL));
    EXPECT_TEXT("`path` is NULL");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_authentication(NULL, NTP_AUTHENTICATION_MIX));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_add_servers_with(NULL, "127.0.0.1", NTP_SERVER_NTS, 0));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_add_servers_with(config, NULL, NTP_SERVER_NTS, 0));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_add_trusted_certificates(NULL, "ca.pem"));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_add_trusted_certificates(config, NULL));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_platform_trust(NULL, 1));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_query_with(config, NULL, 10, &result, sizeof result));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_query_with(NULL, "127.0.0.1", 10, NULL, sizeof result));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_poll(NULL, 4, 10));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_fault_limit(NULL, 1));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_min_agreeing(NULL, 1));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_interleaved(NULL, 1));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_step_threshold(NULL, 1));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_bound_cap(NULL, 1));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_frequency_limit(NULL, 1.0));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_state_file(NULL, "state"));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_state_file(config, NULL));
    EXPECT_TEXT("`path` is NULL");
    EXPECT(NTP_OK, ntp_clock_check_state_file(NULL));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_shared_page(NULL, "page"));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_shared_page(config, NULL));
    EXPECT_TEXT("`path` is NULL");
    EXPECT(NTP_OK, ntp_clock_check_shared_page(NULL));

    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_start(config, NULL));
    EXPECT_TEXT("`clock` is NULL");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_start(NULL, &no_clock));
    EXPECT_TEXT("`config` is NULL");
    CHECK(no_clock == NULL);
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_now(clock, NULL));
    EXPECT_TEXT("`reading` is NULL");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_offset(clock, NULL, &number));
    EXPECT_TEXT("`offset_ns` is NULL");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_offset(clock, &number, NULL));
    EXPECT_TEXT("`bound_ns` is NULL");
    CHECK(number == 7);
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_report(clock, NULL, sizeof(ntp_report)));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_sources(clock, NULL, sizeof(ntp_source_info), 1, &count));
    EXPECT_TEXT("`sources` is NULL");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_sources(clock, NULL, sizeof(ntp_source_info), 0, NULL));
    EXPECT_TEXT("`count` is NULL");
    CHECK(count == 7);

    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_query(NULL, 10, &result, sizeof result));
    EXPECT_TEXT("`server` is NULL");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_query("127.0.0.1", 10, NULL, sizeof result));
    EXPECT_TEXT("`result` is NULL");

    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_add_listen(NULL, "127.0.0.1:0"));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_add_listen(server_config, NULL));
    EXPECT_TEXT("`address` is NULL");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_set_local(NULL, 1, 0));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_allow(NULL, "127.0.0.1"));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_allow(server_config, NULL));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_deny(NULL, "127.0.0.1"));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_deny(server_config, NULL));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_set_rate_limit(NULL, 1, 1));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_set_threads(NULL, 1));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_set_silent_unless_synchronized(NULL, 1));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_start(clock, server_config, NULL));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_start(clock, NULL, &no_server));
    CHECK(no_server == NULL);
    /* It names no address to listen on. */
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_start(clock, server_config, &no_server));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_port(NULL, 0, &port));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_statistics(NULL, &counters, sizeof counters));
    CHECK(port == 7);

    ntp_server_config_free(server_config);
    ntp_config_free(NULL);
    ntp_clock_free(NULL);
    ntp_server_config_free(NULL);
    ntp_server_free(NULL);
}

static void texts(ntp_config *config)
{
    static char large[100000];
    ntp_server_config *server_config = ntp_server_config_new();
    ntp_query_result result;
    const char *broken = "127.0.0.1,\xff\xfe";

    memset(large, 'a', sizeof large - 1);
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_start(large));
    EXPECT_TEXT("`servers` is longer than 16384 bytes");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_add_servers(config, large));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_query(large, 10, &result, sizeof result));
    EXPECT_TEXT("`server`");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_add_listen(server_config, large));
    EXPECT_TEXT("`address`");

    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_start(broken));
    EXPECT_TEXT("`servers` is not UTF-8 from byte 10 on");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_add_servers(config, broken));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_query(broken, 10, &result, sizeof result));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_add_listen(server_config, broken));

    EXPECT(NTP_ERR_INVALID_SERVER, ntp_start("127.0.0.1,,127.0.0.2"));
    EXPECT(NTP_ERR_INVALID_SERVER, ntp_start("127.0.0.1:port"));
    EXPECT_TEXT("127.0.0.1:port");
    EXPECT(NTP_ERR_INVALID_SERVER, ntp_config_add_servers(config, "[::1"));
    EXPECT(NTP_ERR_INVALID_SERVER, ntp_query("127.0.0.1:0", 10, &result, sizeof result));
    EXPECT(NTP_ERR_NO_SERVERS, ntp_start(""));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_add_listen(server_config, "no.literal.example"));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_allow(server_config, "192.0.2.1/24"));
    EXPECT_TEXT("192.0.2.1/24");
    EXPECT(NTP_OK, ntp_server_config_allow(server_config, "192.0.2.0/24"));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_deny(server_config, "192.0.2.0/24"));
    EXPECT_TEXT("both allowed and denied");
    ntp_server_config_free(server_config);
}

static void numbers(ntp_config *config)
{
    static const int32_t wild32[] = {INT32_MIN, -1, 1000, INT32_MAX};
    static const int64_t wild64[] = {INT64_MIN, -1, INT64_MAX};
    ntp_server_config *server_config = ntp_server_config_new();
    double zero = 0.0;

    for (size_t i = 0; i < sizeof wild32 / sizeof wild32[0]; i++) {
        EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_poll(config, wild32[i], wild32[i]));
        EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_min_agreeing(config, wild32[i]));
        EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_set_local(server_config, wild32[i], 0));
        EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_set_threads(server_config, wild32[i]));
        CHECK(strcmp(ntp_state_name(wild32[i]), "UNKNOWN") == 0);
        EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_authentication(config, wild32[i]));
        CHECK(strcmp(ntp_selection_name(wild32[i]), "unknown") == 0);
        CHECK(strcmp(ntp_reason_name(wild32[i]), "unknown") == 0);
        CHECK(strstr(ntp_result_message(wild32[i]), "success") == NULL);
    }
    for (size_t i = 0; i < sizeof wild64 / sizeof wild64[0]; i++) {
        EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_step_threshold(config, wild64[i]));
        EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_bound_cap(config, wild64[i]));
        EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_set_local(server_config, 1, wild64[i]));
        EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_set_rate_limit(server_config, wild64[i], 1));
        EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_set_rate_limit(server_config, 1, wild64[i]));
    }
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_poll(config, 6, 5));
    EXPECT_TEXT("`min_exponent` is 6, above `max_exponent`, 5");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_poll(config, 6, 18));
    EXPECT_TEXT("`max_exponent` is 18");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_poll(config, -1, 5));
    EXPECT_TEXT("`min_exponent` is -1");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_step_threshold(config, INT64_C(3600000000001)));
    EXPECT_TEXT("`step threshold` is 3600.000000001s");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_server_config_set_local(server_config, 1, INT64_C(16000000000)));
    EXPECT_TEXT("`root dispersion` is 16s");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_fault_limit(config, -1));
    EXPECT_TEXT("`sources` is -1");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_min_agreeing(config, 0));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_bound_cap(config, 0));
    EXPECT_TEXT("`bound cap` is 0ns");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_frequency_limit(config, 0.0));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_frequency_limit(config, 1.0 / zero));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_frequency_limit(config, zero / zero));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_state_file(config, "/"));
    EXPECT_TEXT("`path` of the state file is `/`, which names no file");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_add_trusted_certificates(config, "/"));
    EXPECT_TEXT("names no file");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_add_servers_with(config, "127.0.0.1", UINT32_C(1) << 31, 0));
    EXPECT_TEXT("0x80000000");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_shared_page(config, "/"));
    EXPECT_TEXT("`path` of the shared page is `/`, which names no file");

    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_add_servers_with(config, "127.0.0.1", UINT32_MAX, 0));
    EXPECT_TEXT("`options` has the bits 0xffffffe8");
    EXPECT(NTP_ERR_SYSTEM, ntp_config_load_keys(config, "/no/such/file"));
    EXPECT_TEXT("reading key file /no/such/file");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_khronos(config, 2));
    EXPECT_TEXT("`enabled` is 2");
    EXPECT(NTP_OK, ntp_config_set_khronos(config, 1));
    EXPECT(NTP_OK, ntp_config_set_authentication(config, NTP_AUTHENTICATION_IGNORE));
    EXPECT(NTP_OK, ntp_config_set_authentication(config, NTP_AUTHENTICATION_MIX));
    EXPECT(NTP_OK, ntp_config_set_poll(config, 0, 17));
    EXPECT(NTP_OK, ntp_config_set_fault_limit(config, INT32_MAX));
    EXPECT(NTP_OK, ntp_config_set_min_agreeing(config, 1));
    EXPECT(NTP_OK, ntp_config_set_step_threshold(config, 0));
    EXPECT(NTP_OK, ntp_config_set_bound_cap(config, 1));
    EXPECT(NTP_OK, ntp_config_set_frequency_limit(config, 1000.0));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_drift_limit(NULL, 1.0, 1, 1.0));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_drift_limit(config, 2.0, 1, 1.0));
    EXPECT_TEXT("short_ppm");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_drift_limit(config, 1.0, -1, 1.0));
    EXPECT_TEXT("knee_ns");
    EXPECT(NTP_OK, ntp_config_set_drift_limit(config, 0.5, INT64_C(1000000000000), 10.0));
    ntp_server_config_free(server_config);
}

static void sizes(ntp_clock *clock)
{
    unsigned char bytes[2 * sizeof(ntp_source_info)];
    ntp_report *report = (ntp_report *)bytes;
    ntp_source_info sources[2];
    ntp_query_result result;
    size_t count = 7;

    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_report(clock, report, 0));
    EXPECT_TEXT("`size` is 0");
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_report(clock, report, 3));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_report(clock, report, SIZE_MAX));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_sources(clock, sources, 0, 2, &count));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_sources(clock, sources, SIZE_MAX, 2, &count));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_sources(clock, sources, sizeof sources[0], SIZE_MAX / 2, &count));
    EXPECT_TEXT("`capacity`");
    CHECK(count == 7);
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_query("127.0.0.1", 10, &result, 7));

    /* An older program knows a prefix, a newer one more than this library. */
    memset(bytes, 0xAA, sizeof bytes);
    EXPECT(NTP_OK, ntp_clock_report(clock, report, offsetof(ntp_report, epoch)));
    CHECK(bytes[offsetof(ntp_report, epoch)] == 0xAA);
    EXPECT(NTP_OK, ntp_clock_report(clock, report, sizeof *report + 5));
    CHECK(report->configured == 2 && report->answering == 0);
    for (size_t i = 0; i < 5; i++)
        CHECK(bytes[sizeof *report + i] == 0);
    CHECK(bytes[sizeof *report + 5] == 0xAA);

    EXPECT(NTP_OK, ntp_clock_sources(clock, NULL, sizeof sources[0], 0, &count));
    CHECK(count == 2);
    EXPECT(NTP_OK, ntp_clock_sources(clock, sources, sizeof sources[0], 2, &count));
    CHECK(count == 2);
    CHECK(strcmp(sources[0].name, "127.0.0.1:1") == 0 && strcmp(sources[1].name, "127.0.0.1:2") == 0);

    /* Elements of an odd size, and room for one of them only. */
    memset(bytes, 0xAA, sizeof bytes);
    EXPECT(NTP_OK, ntp_clock_sources(clock, (ntp_source_info *)bytes, sizeof sources[0] + 3, 1, &count));
    CHECK(count == 2);
    CHECK(strcmp(((ntp_source_info *)bytes)->name, "127.0.0.1:1") == 0);
    CHECK(bytes[sizeof sources[0] + 2] == 0 && bytes[sizeof sources[0] + 3] == 0xAA);
}

/* A relative path is of the working directory at the start, not at the setter, and not later. */
static void places(void)
{
    char first[] = "/tmp/ntpclock-arguments-XXXXXX", second[] = "/tmp/ntpclock-arguments-XXXXXX", name[64], back[4096];
    ntp_config *config = ntp_config_new();
    ntp_clock *clock = NULL;
    CHECK(getcwd(back, sizeof back) != NULL && mkdtemp(first) != NULL && mkdtemp(second) != NULL);
    EXPECT(NTP_OK, ntp_config_add_servers(config, "127.0.0.1:1"));
    CHECK(chdir(first) == 0);
    EXPECT(NTP_OK, ntp_config_set_shared_page(config, "page"));
    CHECK(chdir(second) == 0);
    EXPECT(NTP_OK, ntp_clock_start(config, &clock));
    CHECK(chdir(first) == 0);
    EXPECT(NTP_OK, ntp_clock_check_shared_page(clock));
    ntp_clock_free(clock);
    CHECK(rmdir(first) == 0);
    /* Where there is no directory any more. */
    EXPECT(NTP_ERR_SHARED_PAGE, ntp_clock_start(config, &clock));
    EXPECT_TEXT("locating page: No such file or directory");
    CHECK(clock == NULL && chdir(back) == 0);
    snprintf(name, sizeof name, "%s/page", second);
    CHECK(unlink(name) == 0);
    snprintf(name, sizeof name, "%s/page.lock", second);
    CHECK(unlink(name) == 0 && rmdir(second) == 0);

    EXPECT(NTP_OK, ntp_config_set_shared_page(config, "/nowhere/page"));
    EXPECT(NTP_ERR_SHARED_PAGE, ntp_clock_start(config, &clock));
    EXPECT_TEXT("/nowhere/page.lock: it cannot be made or written: No such file or directory");
    ntp_config_free(config);
}

int main(void)
{
    ntp_config *config = ntp_config_new();
    ntp_clock *clock = NULL;
    CHECK(config != NULL);
    EXPECT(NTP_ERR_NO_SERVERS, ntp_clock_start(config, &clock));
    CHECK(clock == NULL);

    texts(config);
    EXPECT(NTP_ERR_NO_SERVERS, ntp_clock_start(config, &clock));
    EXPECT(NTP_OK, ntp_config_add_servers(config, "127.0.0.1:1, 127.0.0.1:2"));
    EXPECT(NTP_OK, ntp_clock_start(config, &clock));
    numbers(config);
    null_pointers(config, clock);
    sizes(clock);
    ntp_clock_free(clock);
    ntp_config_free(config);
    places();
    return 0;
}
