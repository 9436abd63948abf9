/* An exec, out of a child and out of the process itself: no descriptor of ours is handed on, whatever is under way. */

#define _DEFAULT_SOURCE
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

/* What the program is called with to look at what it was given. */
#define LOOK "look"

static void look_around(void)
{
    DIR *directory = opendir("/proc/self/fd");
    struct dirent *entry;
    CHECK(directory != NULL);
    while ((entry = readdir(directory)) != NULL) {
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || fd <= 2 || fd == dirfd(directory))
            continue;
        fprintf(stderr, "descriptor %d was handed on\n", fd);
        exit(1);
    }
    closedir(directory);
    CHECK(entries("/proc/self/task") == 2 + 1);
}

static void told(void *context, uint32_t events)
{
    (void)context;
    (void)events;
}

static void look(const char *program)
{
    execl(program, program, LOOK, (char *)NULL);
    CHECK(!"exec works");
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], LOOK) == 0) {
        look_around();
        return 0;
    }
    /* What we were given ourselves is none of ours. */
    for (int fd = 3; fd < 1024; fd++)
        close(fd);

    char list[96];
    CHECK(local_server(list) != NULL);
    /* It never answers: an exchange with it is under way for a second. */
    int silent = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    CHECK(bind(silent, (struct sockaddr *)&address, length) == 0);
    CHECK(getsockname(silent, (struct sockaddr *)&address, &length) == 0);
    snprintf(list + strlen(list), sizeof list - 32, ",127.0.0.1:%u", (unsigned)ntohs(address.sin_port));

    char state[64], byte;
    snprintf(state, sizeof state, "/tmp/ntpclock-exec-%d.state", (int)getpid());
    ntp_config *config = ntp_config_new();
    ntp_clock *clock;
    int event;
    EXPECT(NTP_OK, ntp_config_add_servers(config, list));
    EXPECT(NTP_OK, ntp_config_set_state_file(config, state));
    EXPECT(NTP_OK, ntp_clock_start(config, &clock));
    EXPECT(NTP_OK, ntp_clock_event_fd(clock, &event));
    EXPECT(NTP_OK, ntp_clock_on_event(clock, told, NULL));
    EXPECT(NTP_OK, ntp_start(list));
    CHECK(recv(silent, &byte, 1, 0) == 1);
    CHECK(entries("/proc/self/fd") > 2 + 3 + 8);

    for (int round = 0; round < 20; round++) {
        int status = 0;
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            /* One that has taken the clock up opens as many again. */
            if (round % 2 == 1)
                EXPECT(NTP_OK, ntp_clock_restart(clock));
            look(argv[0]);
        }
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    EXPECT(NTP_OK, ntp_wait(10000));
    unlink(state);
    look(argv[0]);
}
