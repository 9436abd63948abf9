/* secure EXCHANGER CERTIFICATES: has authenticated time, from a server that CERTIFICATES vouch for.
 * secure EXCHANGER CERTIFICATES OTHERS: beside others, and says what the time is worth until these have answered. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <string.h>

#include "ntpclock.h"

static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, ntp_last_error());
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: %s EXCHANGER CERTIFICATES [OTHERS]\n", argv[0]);
        return 2;
    }
    ntp_config *config = ntp_config_new();
    if (ntp_config_add_servers_with(config, argv[1], NTP_SERVER_NTS, 0) != NTP_OK ||
        ntp_config_add_trusted_certificates(config, argv[2]) != NTP_OK ||
        ntp_config_set_platform_trust(config, 0) != NTP_OK) {
        return failed("configuration");
    }
    if (argc == 4 && ntp_config_add_servers_with(config, argv[3], NTP_SERVER_NTS, 0) != NTP_OK) {
        return failed("others");
    }
    ntp_clock *clock = NULL;
    if (ntp_clock_start(config, &clock) != NTP_OK || ntp_clock_wait(clock, -1, 20000) != NTP_OK) {
        return failed("no time");
    }
    ntp_reading reading;
    if (ntp_clock_now(clock, &reading) != NTP_OK) {
        return failed("no reading");
    }
    ntp_source_info source;
    size_t count = 0;
    if (ntp_clock_sources(clock, &source, sizeof source, 1, &count) != NTP_OK || count == 0) {
        return failed("no source");
    }
    if (argc == 4) {
        const uint32_t both = NTP_FLAG_PROVISIONAL | NTP_FLAG_AUTHENTICATED;
        printf("%s, source %s\n", (reading.flags & both) == NTP_FLAG_PROVISIONAL ? "provisional" : "not provisional",
               ntp_nts_state_name((int32_t)source.nts));
        ntp_clock_free(clock);
        ntp_config_free(config);
        return 0;
    }
    ntp_query_result answer;
    char entry[NTPCLOCK_NAME_SIZE];
    snprintf(entry, sizeof entry, "%s nts", argv[1]);
    if (ntp_query_with(config, entry, 10000, &answer, sizeof answer) != NTP_OK) {
        return failed("no answer");
    }
    /* Without these certificates nobody vouches for the server. */
    if (ntp_query(entry, 10000, &answer, sizeof answer) != NTP_ERR_KEY_EXCHANGE || strlen(ntp_last_error()) == 0) {
        return failed("a stranger was trusted");
    }
    const char *authenticated = (reading.flags & NTP_FLAG_AUTHENTICATED) != 0 && source.nts == NTP_NTS_AUTHENTICATED
                                    ? ntp_nts_state_name((int32_t)source.nts)
                                    : "not authenticated";
    printf("%s, cipher %d, query %s\n", authenticated, source.nts_algorithm,
           answer.authenticated ? "authenticated" : "not authenticated");
    ntp_clock_free(clock);
    ntp_config_free(config);
    return 0;
}
