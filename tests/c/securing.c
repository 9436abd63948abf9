/* securing CERTIFICATE KEY CERTIFICATES: serves NTS, and has authenticated time from itself. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <string.h>

#include "ntpclock.h"

static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, ntp_last_error());
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s CERTIFICATE KEY CERTIFICATES\n", argv[0]);
        return 2;
    }
    ntp_server_config *wishes = ntp_server_config_new();
    uint16_t port = 0;
    if (ntp_server_config_set_nts_port(wishes, 0) != NTP_ERR_INVALID_ARGUMENT ||
        ntp_server_config_set_nts_cookie_keys(wishes, "/x") != NTP_ERR_INVALID_ARGUMENT ||
        ntp_server_config_set_nts(wishes, NULL, argv[2]) != NTP_ERR_INVALID_ARGUMENT ||
        strstr(ntp_last_error(), "certificate") == NULL ||
        ntp_server_config_set_nts(NULL, argv[1], argv[2]) != NTP_ERR_INVALID_ARGUMENT) {
        return failed("nonsense was taken");
    }
    if (ntp_server_config_add_listen(wishes, "127.0.0.1:0") != NTP_OK ||
        ntp_server_config_set_local(wishes, 3, 2000000) != NTP_OK ||
        ntp_server_config_set_nts(wishes, argv[1], argv[2]) != NTP_OK ||
        ntp_server_config_set_nts_port(wishes, 65536) != NTP_ERR_INVALID_ARGUMENT ||
        ntp_server_config_set_nts_port(wishes, -1) != NTP_ERR_INVALID_ARGUMENT ||
        ntp_server_config_set_nts_port(wishes, 0) != NTP_OK) {
        return failed("configuration");
    }
    ntp_server *server = NULL;
    if (ntp_server_start(NULL, wishes, &server) != NTP_OK || ntp_server_nts_port(server, 0, &port) != NTP_OK) {
        return failed("no server");
    }
    if (ntp_server_nts_port(server, 1, &port) != NTP_ERR_INVALID_ARGUMENT ||
        ntp_server_nts_port(server, 0, NULL) != NTP_ERR_INVALID_ARGUMENT) {
        return failed("there is no such address");
    }
    char entry[64];
    snprintf(entry, sizeof entry, "127.0.0.1:%u nts", (unsigned)port);
    ntp_config *config = ntp_config_new();
    ntp_query_result answer;
    if (ntp_config_add_trusted_certificates(config, argv[3]) != NTP_OK ||
        ntp_config_set_platform_trust(config, 0) != NTP_OK ||
        ntp_query_with(config, entry, 10000, &answer, sizeof answer) != NTP_OK) {
        return failed("no answer");
    }
    ntp_server_counters told = {0};
    for (int turn = 0; turn < 2000 && told.nts_replies == 0; turn++) {
        if (ntp_server_statistics(server, &told, sizeof told) != NTP_OK) {
            return failed("no statistics");
        }
    }
    ntp_server_free(server);
    ntp_server_config_free(wishes);
    ntp_config_free(config);
    printf("%s, %u key exchange\n", answer.authenticated ? "authenticated" : "not authenticated",
           (unsigned)told.key_exchanges);
    return 0;
}
