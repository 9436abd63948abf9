/* Threads are cancelled in whatever they call: the call is finished, the thread ends behind it, and the process goes on. */

#define _GNU_SOURCE
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static char list[32], silent[32];
static ntp_config *config;
static ntp_clock *clock_;

static void told(void *context, uint32_t events)
{
    (void)context;
    (void)events;
}

static void started_and_freed(void)
{
    ntp_clock *own;
    EXPECT(NTP_OK, ntp_clock_start(config, &own));
    ntp_clock_free(own);
}

static void started_and_stopped(void)
{
    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_wait(10000));
    ntp_stop();
}

static void started_with(void)
{
    EXPECT(NTP_OK, ntp_start_with(config));
    ntp_stop();
}

static void restarted(void)
{
    EXPECT(NTP_OK, ntp_clock_restart(clock_));
}

static void waited(void)
{
    EXPECT(NTP_ERR_TIMEOUT, ntp_clock_wait(clock_, 1, 200));
}

static void waited_until_past(void)
{
    EXPECT(NTP_ERR_TIMEOUT, ntp_clock_wait_until_past(clock_, ntp_now() + 3600000000000, 200));
}

static void slept(void)
{
    ntp_reading reading;
    EXPECT(NTP_OK, ntp_clock_now(clock_, &reading));
    EXPECT(NTP_OK, ntp_clock_sleep_until(clock_, reading.unix_ns + 200000000));
}

static void asked(void)
{
    ntp_query_result result;
    EXPECT(NTP_OK, ntp_query(list, 10000, &result, sizeof result));
}

static void asked_in_vain(void)
{
    ntp_query_result result;
    EXPECT(NTP_ERR_TIMEOUT, ntp_query(silent, 300, &result, sizeof result));
}

static void asked_by_name(void)
{
    ntp_query_result result;
    CHECK(ntp_query("localhost:9", 300, &result, sizeof result) != NTP_OK);
}

static void called_back(void)
{
    EXPECT(NTP_OK, ntp_clock_on_event(clock_, told, NULL));
    EXPECT(NTP_OK, ntp_clock_on_event(clock_, NULL, NULL));
}

static void polled(void)
{
    int fd;
    EXPECT(NTP_OK, ntp_clock_event_fd(clock_, &fd));
    (void)ntp_clock_take_events(clock_);
}

static void looked_into(void)
{
    ntp_report report;
    ntp_source_info source;
    size_t count;
    EXPECT(NTP_OK, ntp_clock_report(clock_, &report, sizeof report));
    EXPECT(NTP_OK, ntp_clock_sources(clock_, &source, sizeof source, 1, &count));
    EXPECT(NTP_OK, ntp_clock_check_state_file(clock_));
    EXPECT(NTP_OK, ntp_clock_check_shared_page(clock_));
    (void)ntp_clock_check_resume_watch(clock_);
}

static void converted(void)
{
    ntp_reading reading;
    ntp_deadline deadline;
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    const int64_t monotonic = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    EXPECT(NTP_OK, ntp_clock_convert(clock_, NTP_TIMESCALE_MONOTONIC, monotonic, &reading));
    EXPECT(NTP_OK, ntp_clock_deadline(clock_, NTP_TIMESCALE_MONOTONIC, reading.unix_ns, &deadline, sizeof deadline));
}

static void read_in_every_way(void)
{
    ntp_reading reading;
    int64_t offset;
    int64_t bound;
    EXPECT(NTP_OK, ntp_clock_now(clock_, &reading));
    EXPECT(NTP_OK, ntp_clock_now_checked(clock_, &reading));
    EXPECT(NTP_ERR_BOUND_EXCEEDED, ntp_clock_now_within(clock_, 0, &reading));
    EXPECT(NTP_OK, ntp_clock_offset(clock_, &offset, &bound));
    /* Fails, and has its sentence kept. */
    EXPECT(NTP_ERR_INVALID_ARGUMENT, ntp_clock_now(clock_, NULL));
    CHECK(ntp_clock_after(clock_, 0) && !ntp_clock_before(clock_, 0));
    CHECK(ntp_now() > 0 && ntp_now_relaxed() > 0 && ntp_version_string() != NULL);
    (void)ntp_offset();
    (void)ntp_error_bound();
    (void)ntp_status();
}

static void configured(void)
{
    ntp_config *own = ntp_config_new();
    EXPECT(NTP_ERR_SYSTEM, ntp_config_load_keys(own, "/nowhere/keys"));
    EXPECT(NTP_OK, ntp_config_add_servers(own, list));
    ntp_config_free(own);
}

static void served(void)
{
    char other[32];
    ntp_server_counters counters;
    ntp_server *server = local_server(other);
    EXPECT(NTP_OK, ntp_server_statistics(server, &counters, sizeof counters));
    ntp_server_free(server);
}

static const struct {
    const char *name;
    void (*call)(void);
} calls[] = {
    { "ntp_clock_start, ntp_clock_free", started_and_freed },
    { "ntp_start, ntp_wait, ntp_stop", started_and_stopped },
    { "ntp_start_with", started_with },
    { "ntp_clock_restart", restarted },
    { "ntp_clock_wait", waited },
    { "ntp_clock_wait_until_past", waited_until_past },
    { "ntp_clock_sleep_until", slept },
    { "ntp_query", asked },
    { "ntp_query of a silent server", asked_in_vain },
    { "ntp_query of a name", asked_by_name },
    { "ntp_clock_on_event", called_back },
    { "ntp_clock_event_fd, ntp_clock_take_events", polled },
    { "ntp_clock_report and the like", looked_into },
    { "ntp_clock_convert, ntp_clock_deadline", converted },
    { "readings", read_in_every_way },
    { "ntp_config_load_keys and the like", configured },
    { "ntp_server_start, ntp_server_free", served },
};

/* What a thread is to call, whether it is cancelled before, and whether the call came to its end. */
struct order {
    void (*call)(void);
    int pending;
    volatile int returned;
    pthread_barrier_t ready;
};

static void *work(void *argument)
{
    struct order *order = argument;
    int state;
    CHECK(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL) == 0);
    pthread_barrier_wait(&order->ready);
    if (order->pending)
        pthread_barrier_wait(&order->ready);
    /* Whoever forbids it finds it forbidden afterwards. */
    (void)ntp_clock_take_events(NULL);
    CHECK(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state) == 0 && state == PTHREAD_CANCEL_DISABLE);
    order->call();
    order->returned = 1;
    CHECK(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state) == 0 && state == PTHREAD_CANCEL_ENABLE);
    for (;;)
        pause();
    return NULL;
}

/* Cancels a thread before its call, or `after` microseconds into it. */
static void cancel(void (*call)(void), useconds_t after)
{
    pthread_t thread;
    void *end;
    struct order order = { .call = call, .pending = after == 0 };
    CHECK(pthread_barrier_init(&order.ready, NULL, 2) == 0);
    CHECK(pthread_create(&thread, NULL, work, &order) == 0);
    pthread_barrier_wait(&order.ready);
    usleep(after);
    CHECK(pthread_cancel(thread) == 0);
    if (order.pending)
        pthread_barrier_wait(&order.ready);
    CHECK(pthread_join(thread, &end) == 0);
    /* Not returned: the call was left, or its result was another, and the sentence about that a cancellation point. */
    CHECK(end == PTHREAD_CANCELED && order.returned);
    CHECK(pthread_barrier_destroy(&order.ready) == 0);
}

int main(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t length = sizeof address;
    const int deaf = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(deaf >= 0 && bind(deaf, (struct sockaddr *)&address, length) == 0);
    CHECK(getsockname(deaf, (struct sockaddr *)&address, &length) == 0);
    snprintf(silent, sizeof silent, "127.0.0.1:%u", (unsigned)ntohs(address.sin_port));

    ntp_server *server = local_server(list);
    config = ntp_config_new();
    EXPECT(NTP_OK, ntp_config_add_servers(config, list));
    EXPECT(NTP_OK, ntp_config_set_poll(config, 0, 0));
    EXPECT(NTP_OK, ntp_clock_start(config, &clock_));
    EXPECT(NTP_OK, ntp_clock_wait(clock_, 0, 10000));

    for (size_t n = 0; n < sizeof calls / sizeof *calls; n++) {
        cancel(calls[n].call, 0);
        for (useconds_t after = 20; after < 5000; after *= 4)
            cancel(calls[n].call, after);
        EXPECT(NTP_OK, ntp_clock_wait(clock_, 0, 10000));
    }

    /* No lock was left behind, and no start: one stop was for each. */
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_wait(0));
    start_polling_each_second(list);
    ntp_stop();
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_wait(0));
    ntp_clock_free(clock_);
    ntp_config_free(config);
    ntp_server_free(server);
    close(deaf);
    return 0;
}
