/* Reading allocates nothing, in whatever state, not even in a thread's first call; so it may be done in a signal handler, one
 * that interrupts the allocator too. The allocator of this program counts. */

#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void __libc_free(void *memory);

/* Of this thread: what it has allocated, and whether it is about to. */
static _Thread_local volatile int allocations, allocating;

#define ALLOCATE(call) \
    allocations++; \
    allocating++; \
    void *memory = call; \
    allocating--; \
    return memory

void *malloc(size_t size)
{
    ALLOCATE(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    ALLOCATE(__libc_calloc(count, size));
}

void *realloc(void *former, size_t size)
{
    ALLOCATE(__libc_realloc(former, size));
}

void free(void *memory)
{
    allocating++;
    __libc_free(memory);
    allocating--;
}

/* The machine was suspended for so long, as far as its clocks tell. */
static volatile time_t suspended;

int clock_gettime(clockid_t id, struct timespec *time)
{
    const long result = syscall(SYS_clock_gettime, id, time);
    time->tv_sec += id == CLOCK_BOOTTIME ? suspended : 0;
    return (int)result;
}

/* Every reading there is; what `ntp_clock_now` comes to. */
static ntp_result read_all(const ntp_clock *clock)
{
    ntp_reading reading;
    int64_t offset, bound;
    const ntp_result result = ntp_clock_now(clock, &reading);
    ntp_clock_now_checked(clock, &reading);
    ntp_clock_offset(clock, &offset, &bound);
    if (ntp_now() <= 0 || ntp_now_relaxed() <= 0 || ntp_error_bound() < 0 || ntp_clock_after(clock, INT64_MAX))
        abort();
    ntp_clock_before(clock, 0);
    ntp_offset();
    ntp_status();
    return result;
}

static const ntp_clock *clock_read;

static void *reads_first(void *result)
{
    const int before = allocations;
    *(ntp_result *)result = read_all(clock_read);
    CHECK(allocations == before);
    if (*(ntp_result *)result != NTP_OK)
        EXPECT_TEXT("no synchronised time: the clock is");
    return NULL;
}

/* What reading comes to in a thread that has called nothing of the library before. */
static ntp_result read_in_a_new_thread(const ntp_clock *clock)
{
    pthread_t thread;
    ntp_result result;
    clock_read = clock;
    CHECK(pthread_create(&thread, NULL, reads_first, &result) == 0 && pthread_join(thread, NULL) == 0);
    return result;
}

static volatile sig_atomic_t interrupted;

static void handler(int signal)
{
    (void)signal;
    const int before = allocations;
    read_all(clock_read);
    if (allocations != before)
        abort();
    interrupted += allocating > 0;
}

/* Allocates, and fails with sentences that are composed, until the handler has interrupted the allocator often enough. */
static void *allocates(void *unused)
{
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
    const struct itimerspec often = { { 0, 50000 }, { 0, 50000 } }, never = { { 0, 0 }, { 0, 0 } };
    timer_t timer;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    CHECK(pthread_sigmask(SIG_UNBLOCK, &signals, NULL) == 0);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 && timer_settime(timer, 0, &often, NULL) == 0);
    for (interrupted = 0; interrupted < 100;) {
        free(malloc(100));
        EXPECT(NTP_ERR_INVALID_SERVER, ntp_start("127.0.0.1:x"));
    }
    CHECK(timer_settime(timer, 0, &never, NULL) == 0 && timer_delete(timer) == 0);
    return unused;
}

/* The thread is a new one: its first failure of all may be one in the handler. */
static void read_in_a_handler(const ntp_clock *clock)
{
    pthread_t thread;
    clock_read = clock;
    CHECK(pthread_create(&thread, NULL, allocates, NULL) == 0 && pthread_join(thread, NULL) == 0);
}

int main(void)
{
    char list[32];
    ntp_clock *clock;
    sigset_t signals;
    struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    CHECK(pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0);
    alarm(60);

    EXPECT(NTP_ERR_NOT_SYNCHRONIZED, read_in_a_new_thread(NULL));
    read_in_a_handler(NULL);
    ntp_server *server = local_server(list);
    ntp_config *config = ntp_config_new();
    EXPECT(NTP_OK, ntp_config_add_servers(config, list));
    EXPECT(NTP_OK, ntp_config_set_poll(config, 0, 0));
    EXPECT(NTP_OK, ntp_clock_start(config, &clock));
    EXPECT(NTP_OK, ntp_start_with(config));
    EXPECT(NTP_OK, ntp_wait(10000));
    EXPECT(NTP_OK, ntp_clock_wait(clock, 0, 10000));
    EXPECT(NTP_OK, read_in_a_new_thread(NULL));
    EXPECT(NTP_OK, read_in_a_new_thread(clock));
    read_in_a_handler(NULL);
    read_in_a_handler(clock);

    ntp_server_free(server);
    ntp_clock_free(clock);
    while (ntp_status() != NTP_STATE_HOLDOVER)
        usleep(10000);
    EXPECT(NTP_OK, read_in_a_new_thread(NULL));
    suspended = 9;
    while (ntp_status() != NTP_STATE_DISRUPTED)
        usleep(10000);
    EXPECT(NTP_ERR_NOT_SYNCHRONIZED, read_in_a_new_thread(NULL));
    read_in_a_handler(NULL);
    ntp_stop();
    ntp_config_free(config);
    return 0;
}
