/* A whole process that is stopped for 2 s (SIGSTOP) is not a suspended machine: its counter runs on, and so does its clock. */

#define _DEFAULT_SOURCE
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

#define SECOND INT64_C(1000000000)

static int64_t system_time(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return now.tv_sec * SECOND + now.tv_nsec;
}

/* The server shows our own system clock: that is the truth. */
static void check_reading(uint32_t epoch)
{
    ntp_reading plain, checked;
    int64_t before = system_time();
    EXPECT(NTP_OK, ntp_clock_now(NULL, &plain));
    EXPECT(NTP_OK, ntp_clock_now_checked(NULL, &checked));
    int64_t after = system_time();
    CHECK(plain.earliest_ns <= after && before <= plain.latest_ns);
    CHECK(checked.earliest_ns <= after && before <= checked.latest_ns);
    CHECK(plain.unix_ns <= checked.unix_ns);
    CHECK(plain.epoch == epoch && checked.epoch == epoch);
}

/* Tells through `ready` when the clock runs; reads until it has been stopped, and for 3 s after that. */
static void in_child(int ready)
{
    char list[32];
    ntp_reading reading;
    ntp_server *server = local_server(list);
    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_wait(10000));
    EXPECT(NTP_OK, ntp_clock_now(NULL, &reading));
    CHECK(write(ready, "", 1) == 1);

    const int64_t begun = system_time();
    int64_t last = begun, resumed = 0;
    while (resumed == 0 || last - resumed < 3 * SECOND) {
        check_reading(reading.epoch);
        int64_t now = system_time();
        if (now - last > 3 * SECOND / 2)
            resumed = now;
        CHECK(resumed != 0 || now - begun < 60 * SECOND);
        last = now;
        usleep(500);
    }
    ntp_stop();
    ntp_server_free(server);
    exit(0);
}

int main(void)
{
    int ready[2], status = 0;
    char byte;
    CHECK(pipe(ready) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        in_child(ready[1]);
    close(ready[1]);
    CHECK(read(ready[0], &byte, 1) == 1);
    usleep(300000);
    CHECK(kill(child, SIGSTOP) == 0);
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    sleep(2);
    CHECK(kill(child, SIGCONT) == 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return 0;
}
