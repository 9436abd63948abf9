/* Events: by a descriptor in an epoll, by a callback that does as it likes, and in forked children. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static char list[32];

static int readable(int fd, int timeout_ms)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN, .revents = 0};
    return poll(&polled, 1, timeout_ms) == 1;
}

static ntp_clock *start(const char *servers)
{
    ntp_clock *clock = NULL;
    ntp_config *config = ntp_config_new();
    EXPECT(NTP_OK, ntp_config_add_servers(config, servers));
    EXPECT(NTP_OK, ntp_config_set_poll(config, 0, 0));
    EXPECT(NTP_OK, ntp_clock_start(config, &clock));
    ntp_config_free(config);
    return clock;
}

/* Edges only: each event is one, whether or not the one before it was taken. */
static void an_event_loop_is_woken(void)
{
    ntp_clock *clock = start(list);
    struct epoll_event wanted = {.events = EPOLLIN | EPOLLET, .data = {.u32 = 7}}, got;
    int fd = -1, again = -2, loop = epoll_create1(EPOLL_CLOEXEC);

    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_event_fd(clock, NULL));
    EXPECT(NTP_OK, ntp_clock_event_fd(clock, &fd));
    EXPECT(NTP_OK, ntp_clock_event_fd(clock, &again));
    CHECK(fd >= 0 && fd == again);
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) && (fcntl(fd, F_GETFL) & O_NONBLOCK));
    CHECK(epoll_ctl(loop, EPOLL_CTL_ADD, fd, &wanted) == 0);
    CHECK(epoll_wait(loop, &got, 1, 10000) == 1 && got.data.u32 == 7);
    CHECK(ntp_clock_take_events(clock) == NTP_EVENT_SYNCHRONIZED);
    CHECK(ntp_clock_take_events(clock) == 0 && !readable(fd, 0));
    close(loop);
    ntp_clock_free(clock);
    CHECK(fcntl(fd, F_GETFD) == -1);
}

/* Late listeners learn what happened before; the process-wide clock keeps its descriptor over starts. */
static void the_process_wide_clock_tells_of_stops_and_starts(void)
{
    int fd = -1, later = -2;
    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_wait(10000));
    EXPECT(NTP_OK, ntp_clock_event_fd(NULL, &fd));
    CHECK(readable(fd, 10000) && ntp_clock_take_events(NULL) == NTP_EVENT_SYNCHRONIZED);
    ntp_stop();
    CHECK(readable(fd, 10000) && ntp_clock_take_events(NULL) == NTP_EVENT_LOST);
    EXPECT(NTP_OK, ntp_start(list));
    CHECK(readable(fd, 10000));
    CHECK(ntp_clock_take_events(NULL) == (NTP_EVENT_SYNCHRONIZED | NTP_EVENT_STEPPED));
    EXPECT(NTP_OK, ntp_clock_event_fd(NULL, &later));
    CHECK(later == fd);
    ntp_stop();
}

/* Stopped as soon as readers see the time, before the thread has looked again. */
static void what_came_and_went_is_told(void)
{
    (void)ntp_clock_take_events(NULL);
    for (int round = 0; round < 20; round++) {
        EXPECT(NTP_OK, ntp_start(list));
        EXPECT(NTP_OK, ntp_wait(10000));
        ntp_stop();
        CHECK(ntp_clock_take_events(NULL) == (NTP_EVENT_SYNCHRONIZED | NTP_EVENT_LOST | NTP_EVENT_STEPPED));
    }
}

static void a_child_has_events_of_its_own(void)
{
    int fd = -1, own = -2, status = 0;
    EXPECT(NTP_OK, ntp_clock_event_fd(NULL, &fd));
    /* Whatever earlier runs have left. */
    (void)ntp_clock_take_events(NULL);
    EXPECT(NTP_OK, ntp_start(list));
    CHECK(readable(fd, 10000));
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        EXPECT(NTP_OK, ntp_clock_event_fd(NULL, &own));
        CHECK(own == fd && !readable(fd, 0) && ntp_clock_take_events(NULL) == 0);
        EXPECT(NTP_OK, ntp_start(list));
        CHECK(readable(fd, 10000));
        CHECK(ntp_clock_take_events(NULL) & NTP_EVENT_SYNCHRONIZED);
        ntp_stop();
        exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    /* The child has taken nothing of ours. */
    CHECK(readable(fd, 0) && (ntp_clock_take_events(NULL) & NTP_EVENT_SYNCHRONIZED));
    ntp_stop();
}

/* A child that closes everything, as daemons do, and opens files of its own, keeps those; its events have another number. */
static void a_child_keeps_what_it_opens_under_a_number_of_ours(void)
{
    int fd = -1, own = -2, status = 0;
    struct stat before, after;
    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_wait(10000));
    EXPECT(NTP_OK, ntp_clock_event_fd(NULL, &fd));
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        for (int number = 3; number < 256; number++)
            close(number);
        while (open("/dev/null", O_RDONLY) < fd)
            continue;
        CHECK(fstat(fd, &before) == 0);
        EXPECT(NTP_OK, ntp_clock_restart(NULL));
        EXPECT(NTP_OK, ntp_wait(10000));
        EXPECT(NTP_OK, ntp_clock_event_fd(NULL, &own));
        CHECK(own > fd && readable(own, 10000) && (ntp_clock_take_events(NULL) & NTP_EVENT_SYNCHRONIZED));
        ntp_stop();
        CHECK(fstat(fd, &after) == 0 && after.st_rdev == before.st_rdev && S_ISCHR(after.st_mode));
        exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ntp_stop();
}

/* What the callbacks below share with the main thread. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    ntp_clock *clock;
    uint32_t seen;
    int calls;
} told = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, 0, 0};

static void note(void *context, uint32_t events)
{
    CHECK(context == &told);
    pthread_mutex_lock(&told.mutex);
    told.seen |= events;
    told.calls++;
    pthread_cond_signal(&told.changed);
    pthread_mutex_unlock(&told.mutex);
}

static void await(uint32_t events)
{
    pthread_mutex_lock(&told.mutex);
    while ((told.seen & events) != events)
        pthread_cond_wait(&told.changed, &told.mutex);
    told.seen = 0;
    pthread_mutex_unlock(&told.mutex);
}

static void await_call(void)
{
    pthread_mutex_lock(&told.mutex);
    while (told.calls == 0)
        pthread_cond_wait(&told.changed, &told.mutex);
    told.calls = 0;
    pthread_mutex_unlock(&told.mutex);
}

static void a_callback_is_called_until_it_is_taken_back(void)
{
    ntp_clock *clock = start(list);
    EXPECT(NTP_OK, ntp_clock_on_event(clock, note, &told));
    await(NTP_EVENT_SYNCHRONIZED);
    EXPECT(NTP_OK, ntp_clock_on_event(clock, NULL, NULL));
    told.calls = 0;
    /* Registered late, it is told the state at hand. */
    EXPECT(NTP_OK, ntp_clock_on_event(clock, note, &told));
    await(NTP_EVENT_SYNCHRONIZED);
    ntp_clock_free(clock);
    await_call();
}

static void stop_everything(void *context, uint32_t events)
{
    ntp_stop();
    EXPECT(NTP_OK, ntp_start(list));
    ntp_stop();
    EXPECT(NTP_OK, ntp_clock_on_event(NULL, NULL, NULL));
    note(context, events);
}

static void free_the_clock(void *context, uint32_t events)
{
    /* Its owner has let go of it. */
    ntp_clock_free(told.clock);
    note(context, events);
}

/* No deadlock, whoever stops first. */
static void a_callback_may_stop_and_free(void)
{
    for (int round = 0; round < 5; round++) {
        EXPECT(NTP_OK, ntp_start(list));
        EXPECT(NTP_OK, ntp_clock_on_event(NULL, stop_everything, &told));
        /* First it is told what is left of the round before, or that this one is synchronised: then it stops us. */
        ntp_result waited = ntp_wait(10000);
        CHECK(waited == NTP_OK || waited == NTP_ERR_STOPPED || waited == NTP_ERR_NOT_RUNNING);
        ntp_stop();
        await_call();
        EXPECT(NTP_OK, ntp_clock_on_event(NULL, NULL, NULL));
        ntp_stop();
    }
    told.seen = 0;
    told.clock = start(list);
    EXPECT(NTP_OK, ntp_clock_on_event(told.clock, free_the_clock, &told));
    await(NTP_EVENT_SYNCHRONIZED);
}

static volatile pid_t forked;

static void fork_once(void *context, uint32_t events)
{
    if (forked == 0) {
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0)
            return;
        forked = child;
    }
    note(context, events);
}

/* The callback's thread is all that such a child has: when the callback returns there, the child ends. */
static void a_child_of_a_callback_ends_when_that_returns(void)
{
    int status = -1;
    ntp_clock *clock = start(list);
    EXPECT(NTP_OK, ntp_clock_on_event(clock, fork_once, &told));
    await(NTP_EVENT_SYNCHRONIZED);
    for (int round = 0; round < 1000 && waitpid(forked, &status, WNOHANG) == 0; round++)
        usleep(10000);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ntp_clock_free(clock);
}

/* With any argument, only what leaves no thread or process behind that a memory checker would have to understand. */
int main(int argc, char **argv)
{
    (void)argv;
    ntp_server *server = local_server(list);
    alarm(120);
    an_event_loop_is_woken();
    the_process_wide_clock_tells_of_stops_and_starts();
    what_came_and_went_is_told();
    a_callback_is_called_until_it_is_taken_back();
    if (argc == 1) {
        a_child_has_events_of_its_own();
        a_child_keeps_what_it_opens_under_a_number_of_ours();
        a_callback_may_stop_and_free();
        a_child_of_a_callback_ends_when_that_returns();
    }
    ntp_server_free(server);
    return 0;
}
