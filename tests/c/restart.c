/* Forked children that go on with their parent's clock: on demand, by themselves, as workers of a master that has loaded
 * everything beforehand, and out of the midst of whatever the parent's other threads do. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

#define WORKERS 4
#define FORKS 400

static char list[32];

static int threads(void)
{
    return entries("/proc/self/task") - 2;
}

/* Forks; the child does `act`, and is killed if it hangs. */
static pid_t child(void (*act)(ntp_clock *), ntp_clock *clock)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60);
        act(clock);
        _exit(0);
    }
    return child;
}

static void join(pid_t child)
{
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* From the parent's line to the child's own there is no step, and no way back. */
static void goes_on_from(ntp_clock *clock, const ntp_reading *first)
{
    ntp_reading next, last = *first;
    do {
        EXPECT(NTP_OK, ntp_clock_now(clock, &next));
        CHECK(next.epoch == first->epoch && next.unix_ns >= last.unix_ns);
        last = next;
    } while (next.state != NTP_STATE_SYNCHRONIZED);
}

static void restarts_on_demand(ntp_clock *clock)
{
    ntp_reading first;
    CHECK(threads() == 1);
    EXPECT(NTP_OK, ntp_clock_now(clock, &first));
    CHECK(first.state == NTP_STATE_HOLDOVER && first.epoch != 0);
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_clock_wait(clock, 0, -1));
    EXPECT(NTP_OK, ntp_clock_restart(clock));
    goes_on_from(clock, &first);
    EXPECT(NTP_OK, ntp_clock_wait(clock, 0, 10000));
    EXPECT(NTP_OK, ntp_clock_restart(clock));
    CHECK(threads() == 2);
}

static void restarts_by_itself(ntp_clock *clock)
{
    ntp_reading first;
    for (int reading = 0; reading < 1000; reading++) {
        EXPECT(NTP_OK, ntp_clock_now(clock, &first));
        EXPECT(NTP_OK, ntp_clock_now_checked(clock, &first));
        CHECK(first.state == NTP_STATE_HOLDOVER);
    }
    CHECK(threads() == 1);
    EXPECT(NTP_OK, ntp_clock_wait(clock, 0, 10000));
    CHECK(threads() == 2);
    goes_on_from(clock, &first);
}

static void is_stopped(ntp_clock *clock)
{
    ntp_stop();
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_clock_restart(clock));
    CHECK(threads() == 1);
}

/* The parent has started it twice: so the second stop ends it. */
static void keeps_the_count(ntp_clock *clock)
{
    EXPECT(NTP_OK, ntp_clock_restart(clock));
    ntp_stop();
    CHECK(threads() == 2);
    ntp_stop();
    CHECK(threads() == 1);
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_wait(0));
}

/* `ntp_start` names the servers alone, to a child as to a clock that runs; all else is as its parent has configured it. */
static ntp_config *configured;

static void starts_by_its_servers(ntp_clock *clock)
{
    ntp_reading first;
    EXPECT(NTP_OK, ntp_clock_now(clock, &first));
    CHECK(first.state == NTP_STATE_HOLDOVER && first.epoch != 0);
    EXPECT(NTP_OK, ntp_start(list));
    goes_on_from(clock, &first);
    EXPECT(NTP_OK, ntp_start_with(configured));
    ntp_stop();
    ntp_stop();
    CHECK(threads() == 1);
}

static void by_its_servers(void)
{
    configured = ntp_config_new();
    EXPECT(NTP_OK, ntp_config_add_servers(configured, list));
    EXPECT(NTP_OK, ntp_config_set_poll(configured, 3, 6));
    EXPECT(NTP_OK, ntp_start_with(configured));
    EXPECT(NTP_OK, ntp_wait(10000));
    join(child(starts_by_its_servers, NULL));
    ntp_stop();
    ntp_config_free(configured);
}

/* A grandchild is a child of a child. */
static void has_children_itself(ntp_clock *clock)
{
    restarts_on_demand(clock);
    join(child(restarts_on_demand, clock));
    EXPECT(NTP_OK, ntp_clock_wait(clock, 0, 10000));
}

static void on_demand_and_by_itself(void)
{
    ntp_config *config = ntp_config_new();
    ntp_clock *clock;
    EXPECT(NTP_OK, ntp_config_add_servers(config, list));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_config_set_restart_after_fork(config, 2));
    EXPECT_TEXT("`restart` is 2");
    EXPECT(NTP_OK, ntp_clock_start(config, &clock));
    EXPECT(NTP_OK, ntp_clock_wait(clock, 0, 10000));
    EXPECT(NTP_OK, ntp_clock_restart(clock));
    join(child(restarts_on_demand, clock));
    join(child(has_children_itself, clock));
    ntp_clock_free(clock);

    EXPECT(NTP_OK, ntp_config_set_restart_after_fork(config, 1));
    EXPECT(NTP_OK, ntp_clock_start(config, &clock));
    EXPECT(NTP_OK, ntp_clock_wait(clock, 0, 10000));
    join(child(restarts_by_itself, clock));
    ntp_clock_free(clock);

    EXPECT(NTP_ERR_NOT_RUNNING, ntp_clock_restart(NULL));
    EXPECT(NTP_OK, ntp_start_with(config));
    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_start_with(config));
    ntp_stop();
    EXPECT(NTP_OK, ntp_wait(10000));
    join(child(restarts_by_itself, NULL));
    join(child(keeps_the_count, NULL));
    EXPECT(NTP_OK, ntp_config_set_min_agreeing(config, 2));
    EXPECT(NTP_ERR_ALREADY_RUNNING, ntp_start_with(config));
    ntp_stop();
    join(child(is_stopped, NULL));
    ntp_stop();
    ntp_config_free(config);
}

/* A page that processes share is kept by whoever leads, here the parent: its child reads it as well as ever, and follows. */
static void follows(ntp_clock *clock)
{
    ntp_reading first;
    EXPECT(NTP_OK, ntp_clock_now(clock, &first));
    CHECK(first.state == NTP_STATE_SYNCHRONIZED && threads() == 1);
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_clock_wait(clock, 0, -1));
    EXPECT(NTP_OK, ntp_clock_restart(clock));
    EXPECT(NTP_OK, ntp_clock_wait(clock, 0, 10000));
    EXPECT(NTP_OK, ntp_clock_restart(clock));
    CHECK(threads() == 2);
    goes_on_from(clock, &first);
}

static void on_a_shared_page(void)
{
    char path[64], lock[80];
    snprintf(path, sizeof path, "/run/ntpclock-restart-%d", (int)getpid());
    snprintf(lock, sizeof lock, "%s.lock", path);
    ntp_config *config = ntp_config_new();
    ntp_clock *clock;
    EXPECT(NTP_OK, ntp_config_add_servers(config, list));
    EXPECT(NTP_OK, ntp_config_set_shared_page(config, path));
    EXPECT(NTP_OK, ntp_clock_start(config, &clock));
    EXPECT(NTP_OK, ntp_clock_wait(clock, 0, 10000));
    join(child(follows, clock));
    EXPECT(NTP_OK, ntp_clock_wait(clock, 0, 10000));
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_start_with(config));
    EXPECT_TEXT("shared page");
    ntp_config_free(config);
    ntp_clock_free(clock);
    CHECK(unlink(path) == 0 && unlink(lock) == 0);
}

/* The master starts the clock before it makes its workers, as `gunicorn --preload` would. */
static void works(ntp_clock *clock)
{
    restarts_on_demand(clock);
    for (int round = 0; round < 50; round++) {
        CHECK(ntp_status() == NTP_STATE_SYNCHRONIZED);
        usleep(10000);
    }
    ntp_stop();
}

static void master_and_workers(void)
{
    ntp_reading before, after;
    pid_t workers[WORKERS];
    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_wait(10000));
    EXPECT(NTP_OK, ntp_clock_now(NULL, &before));
    const int own = threads();
    for (int worker = 0; worker < WORKERS; worker++)
        workers[worker] = child(works, NULL);
    for (int worker = 0; worker < WORKERS; worker++) {
        CHECK(ntp_status() == NTP_STATE_SYNCHRONIZED);
        join(workers[worker]);
    }
    EXPECT(NTP_OK, ntp_clock_now(NULL, &after));
    CHECK(after.state == NTP_STATE_SYNCHRONIZED && after.epoch == before.epoch);
    CHECK(threads() == own);
    ntp_stop();
}

static atomic_bool over;
static atomic_int forked;

/* Takes every lock the library has, again and again; and starts clocks, which publish. */
static void *meddles(void *unused)
{
    ntp_config *config = ntp_config_new();
    ntp_clock *own = NULL;
    ntp_reading reading;
    ntp_report report;
    EXPECT(NTP_OK, ntp_config_add_servers(config, list));
    while (!atomic_load(&over)) {
        EXPECT(NTP_OK, ntp_clock_report(NULL, &report, sizeof report));
        ntp_clock_take_events(NULL);
        ntp_clock_convert(NULL, NTP_TIMESCALE_RAW, 1, &reading);
        if (report.exchanges % 2 == 0) {
            ntp_clock_free(own);
            EXPECT(NTP_OK, ntp_clock_start(config, &own));
        }
    }
    ntp_clock_free(own);
    ntp_config_free(config);
    return unused;
}

static void *reads(void *unused)
{
    ntp_reading last, next;
    ntp_clock_now(NULL, &last);
    while (!atomic_load(&over)) {
        EXPECT(NTP_OK, ntp_clock_now(NULL, &next));
        CHECK(next.state == NTP_STATE_SYNCHRONIZED && next.epoch == last.epoch && next.unix_ns >= last.unix_ns);
        last = next;
    }
    return unused;
}

static void uses_everything(ntp_clock *clock)
{
    ntp_reading reading;
    ntp_report report;
    int fd;
    EXPECT(NTP_OK, ntp_clock_now(clock, &reading));
    CHECK(reading.state == NTP_STATE_HOLDOVER && reading.earliest_ns < reading.latest_ns);
    EXPECT(NTP_OK, ntp_clock_report(clock, &report, sizeof report));
    ntp_clock_take_events(clock);
    EXPECT(NTP_OK, ntp_clock_event_fd(clock, &fd));
    EXPECT(NTP_OK, ntp_clock_restart(clock));
    EXPECT(NTP_OK, ntp_clock_now(clock, &reading));
    ntp_stop();
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_clock_restart(clock));
}

static void *forks(void *unused)
{
    while (atomic_fetch_add(&forked, 1) < FORKS)
        join(child(uses_everything, NULL));
    return unused;
}

static void forks_of_other_threads(void)
{
    pthread_t forking[2], others[3];
    /* One that publishes as often as it can. */
    start_polling_each_second(list);
    for (int other = 0; other < 3; other++)
        CHECK(pthread_create(&others[other], NULL, other == 0 ? reads : meddles, NULL) == 0);
    for (int thread = 0; thread < 2; thread++)
        CHECK(pthread_create(&forking[thread], NULL, forks, NULL) == 0);
    for (int thread = 0; thread < 2; thread++)
        CHECK(pthread_join(forking[thread], NULL) == 0);
    CHECK(ntp_status() == NTP_STATE_SYNCHRONIZED);
    atomic_store(&over, 1);
    for (int other = 0; other < 3; other++)
        CHECK(pthread_join(others[other], NULL) == 0);
    EXPECT(NTP_OK, ntp_wait(10000));
    ntp_stop();
}

/* The disk takes as long as it is told to. */
static atomic_bool slow, syncing;

int fsync(int fd)
{
    (void)fd;
    atomic_store(&syncing, 1);
    while (atomic_load(&slow))
        usleep(1000);
    return 0;
}

static void *stops(void *unused)
{
    ntp_stop();
    return unused;
}

static atomic_bool started;

static void *starts(void *unused)
{
    EXPECT(NTP_OK, ntp_start(list));
    atomic_store(&started, 1);
    return unused;
}

/* Its parent was about to stop the clock, and is not waited for. */
static void starts_anew(ntp_clock *clock)
{
    atomic_store(&slow, 0);
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_clock_restart(clock));
    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_wait(10000));
    ntp_stop();
}

/* A stop waits until the state is saved; a fork does not, but a start does: a page has one writer at a time. */
static void while_the_disk_takes_its_time(void)
{
    char path[64];
    pthread_t stopping, starting;
    ntp_config *config = ntp_config_new();
    snprintf(path, sizeof path, "/run/ntpclock-restart-%d", (int)getpid());
    EXPECT(NTP_OK, ntp_config_add_servers(config, list));
    EXPECT(NTP_OK, ntp_config_set_state_file(config, path));
    EXPECT(NTP_OK, ntp_start_with(config));
    EXPECT(NTP_OK, ntp_wait(10000));
    ntp_config_free(config);
    alarm(60);
    atomic_store(&syncing, 0);
    atomic_store(&slow, 1);
    CHECK(pthread_create(&stopping, NULL, stops, NULL) == 0);
    while (!atomic_load(&syncing))
        usleep(1000);
    join(child(starts_anew, NULL));
    CHECK(pthread_create(&starting, NULL, starts, NULL) == 0);
    usleep(100000);
    CHECK(!atomic_load(&started));
    atomic_store(&slow, 0);
    CHECK(pthread_join(stopping, NULL) == 0 && pthread_join(starting, NULL) == 0);
    EXPECT(NTP_OK, ntp_wait(10000));
    ntp_stop();
    alarm(0);
    CHECK(unlink(path) == 0);
}

/* In a time namespace of its own, where all clocks but UTC are an hour ahead. */
static void is_an_hour_ahead(ntp_clock *clock)
{
    ntp_reading reading;
    struct timespec system;
    const uint32_t before = (ntp_clock_now(clock, &reading), reading.epoch);
    EXPECT(NTP_OK, ntp_clock_restart(clock));
    ntp_clock_now(clock, &reading);
    CHECK(reading.state == NTP_STATE_DISRUPTED || reading.epoch == before + 1);
    EXPECT(NTP_OK, ntp_clock_wait(clock, 0, 10000));
    EXPECT(NTP_OK, ntp_clock_now(clock, &reading));
    CHECK(clock_gettime(CLOCK_REALTIME, &system) == 0);
    CHECK(reading.epoch == before + 1 && llabs(reading.unix_ns / 1000000000 - system.tv_sec) < 5);
}

/* Not the vDSO's, which reads the processor's counter. */
int clock_gettime(clockid_t id, struct timespec *time)
{
    return (int)syscall(SYS_clock_gettime, id, time);
}

/* Whoever unshares it stays where it was; its children do not. Where the processor's counter may not be read,
 * the kernel's raw one is, of which each namespace has its own. */
static void unshares(ntp_clock *clock)
{
    static const char ahead[] = "monotonic 3600 0\nboottime 3600 0\n";
    CHECK(prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0) == 0 || errno == EINVAL);
    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_wait(10000));
    CHECK(unshare(CLONE_NEWTIME) == 0);
    const int offsets = open("/proc/self/timens_offsets", O_WRONLY);
    CHECK(write(offsets, ahead, sizeof ahead - 1) == sizeof ahead - 1 && close(offsets) == 0);
    join(child(is_an_hour_ahead, clock));
    ntp_stop();
}

int main(void)
{
    ntp_server *server = local_server(list);
    /* First, for the page of a clock that has run here may be read by what the child is forbidden. */
    join(child(unshares, NULL));
    on_demand_and_by_itself();
    by_its_servers();
    on_a_shared_page();
    master_and_workers();
    forks_of_other_threads();
    while_the_disk_takes_its_time();
    ntp_server_free(server);
    return 0;
}
