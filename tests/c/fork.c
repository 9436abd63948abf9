/* A fork: the child reads on in holdover, has no thread until it starts one, and the parent notices nothing. */

#define _DEFAULT_SOURCE
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static char list[32];

/* A host whose own fork handler stops and starts the clock gets an answer, not a deadlock. */
static void meddle(void)
{
    ntp_stop();
    EXPECT(NTP_ERR_SYSTEM, ntp_start(list));
    EXPECT_TEXT("fork handler");
}

static void in_child(void)
{
    int64_t before = ntp_now();
    int64_t bound = ntp_error_bound();

    CHECK(ntp_status() == NTP_STATE_HOLDOVER);
    CHECK(bound > 0 && bound < INT64_MAX);
    CHECK(ntp_now() >= before);
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_wait(-1));
    usleep(20000);
    CHECK(ntp_error_bound() > bound);

    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_wait(10000));
    CHECK(ntp_status() == NTP_STATE_SYNCHRONIZED);
    ntp_stop();
    exit(0);
}

int main(void)
{
    CHECK(pthread_atfork(meddle, NULL, NULL) == 0);
    ntp_server *server = local_server(list);
    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_wait(10000));

    for (int round = 0; round < 20; round++) {
        int status = 0;
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0)
            in_child();
        CHECK(ntp_status() == NTP_STATE_SYNCHRONIZED);
        EXPECT(NTP_OK, ntp_wait(10000));
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    ntp_stop();
    ntp_server_free(server);
    return 0;
}
