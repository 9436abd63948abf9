/* What the programs in here share: a check that says where it failed, and views of this process. */
#ifndef CHECK_H
#define CHECK_H

#include <dirent.h>
#include <inttypes.h>
#include <ntpclock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition) \
    ((condition) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition), exit(1)))

/* Checks a result, and says both numbers and the sentence if it is another. */
#define EXPECT(expected, call) expect(expected, call, #call, __FILE__, __LINE__)

static inline void expect(ntp_result expected, ntp_result got, const char *call, const char *file, int line)
{
    if (got == expected)
        return;
    fprintf(stderr, "%s:%d: %s gave %d (%s), not %d\n", file, line, call, (int)got, ntp_last_error(), (int)expected);
    exit(1);
}

/* Checks that the last error of this thread speaks of `words`. */
#define EXPECT_TEXT(words) expect_text(words, __FILE__, __LINE__)

static inline void expect_text(const char *words, const char *file, int line)
{
    if (strstr(ntp_last_error(), words) != NULL)
        return;
    fprintf(stderr, "%s:%d: the last error is \"%s\", without \"%s\"\n", file, line, ntp_last_error(), words);
    exit(1);
}

/* How many entries a directory of /proc has. */
static inline int entries(const char *path)
{
    int count = 0;
    DIR *directory = opendir(path);
    CHECK(directory != NULL);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

/* A server that shows the system clock on a free port of 127.0.0.1; `list` gets it as a server list. */
static inline ntp_server *local_server(char list[32])
{
    ntp_server_config *config = ntp_server_config_new();
    ntp_server *server = NULL;
    uint16_t port = 0;
    EXPECT(NTP_OK, ntp_server_config_add_listen(config, "127.0.0.1:0"));
    EXPECT(NTP_OK, ntp_server_config_set_local(config, 1, 1000));
    EXPECT(NTP_OK, ntp_server_start(NULL, config, &server));
    ntp_server_config_free(config);
    EXPECT(NTP_OK, ntp_server_port(server, 0, &port));
    CHECK(port != 0);
    snprintf(list, 32, "127.0.0.1:%u", (unsigned)port);
    return server;
}

/* Starts the process's clock, which asks these servers as often as it may, and waits for it. */
static inline void start_polling_each_second(const char *list)
{
    ntp_config *config = ntp_config_new();
    EXPECT(NTP_OK, ntp_config_add_servers(config, list));
    EXPECT(NTP_OK, ntp_config_set_poll(config, 0, 0));
    EXPECT(NTP_OK, ntp_start_with(config));
    ntp_config_free(config);
    EXPECT(NTP_OK, ntp_wait(10000));
}

#endif
