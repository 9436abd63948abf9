/* A fork: the child reads on in holdover, has no thread until it starts one, and the parent notices nothing. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static char list[32];

static int meddles;

/* A host whose own fork handler stops, starts or waits for the clock gets an answer, not a deadlock. */
static void meddle(void)
{
    if (!meddles)
        return;
    ntp_stop();
    EXPECT(NTP_ERR_SYSTEM, ntp_start(list));
    EXPECT_TEXT("starting the clock inside a fork handler");
    EXPECT(NTP_ERR_SYSTEM, ntp_wait(-1));
    EXPECT_TEXT("waiting for the clock inside a fork handler");
    EXPECT(NTP_ERR_SYSTEM, ntp_clock_wait_until_past(NULL, INT64_MAX, -1));
    EXPECT(NTP_ERR_SYSTEM, ntp_clock_sleep_until(NULL, INT64_MAX));
}

static void in_child(void)
{
    ntp_reading first, later;
    EXPECT(NTP_OK, ntp_clock_now(NULL, &first));
    int64_t bound = ntp_error_bound();

    CHECK(ntp_status() == NTP_STATE_HOLDOVER);
    CHECK(bound > 0 && bound < INT64_MAX);
    CHECK(ntp_now() >= first.unix_ns);
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_wait(-1));
    usleep(20000);
    /* Not the bound: while a correction is slewed in, the time comes closer to the middle of the interval. */
    EXPECT(NTP_OK, ntp_clock_now(NULL, &later));
    CHECK(later.latest_ns - later.earliest_ns > first.latest_ns - first.earliest_ns);

    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_wait(10000));
    CHECK(ntp_status() == NTP_STATE_SYNCHRONIZED);
    ntp_stop();
    exit(0);
}

/* What registers fork handlers in glibc: here it takes its time, once it is held up. */
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *library);

static atomic_bool held_up, held;

int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *library)
{
    int (*real)(void (*)(void), void (*)(void), void (*)(void), void *);
    *(void **)&real = dlsym(RTLD_NEXT, "__register_atfork");
    while (atomic_load(&held_up)) {
        atomic_store(&held, 1);
        usleep(1000);
    }
    return real(prepare, parent, child, library);
}

static void *starts(void *servers)
{
    EXPECT(NTP_OK, ntp_start(servers));
    return NULL;
}

/* Before anything else: another thread is in the very first call of all when this one forks. */
static void in_the_midst_of_the_first_call(void)
{
    char nobody[] = "127.0.0.1:9";
    pthread_t first;
    int status = 0;
    atomic_store(&held_up, 1);
    CHECK(pthread_create(&first, NULL, starts, nobody) == 0);
    while (!atomic_load(&held))
        usleep(1000);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(20);
        atomic_store(&held_up, 0);
        EXPECT(NTP_OK, ntp_start(nobody));
        EXPECT(NTP_ERR_TIMEOUT, ntp_wait(0));
        ntp_stop();
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    atomic_store(&held_up, 0);
    CHECK(pthread_join(first, NULL) == 0);
    ntp_stop();
}

int main(void)
{
    alarm(60);
    /* Before ours are: so they run within. */
    CHECK(pthread_atfork(meddle, meddle, meddle) == 0);
    in_the_midst_of_the_first_call();
    meddles = 1;
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
