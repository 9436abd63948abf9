/* A host that forbids system calls, or has run out of descriptors, threads or memory: a start fails by name, or the clock works
 * without what it cannot have, and says so. One that runs survives the want, and recovers from it. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

#define CALLS 4

struct want {
    /* These system calls fail with `error`. */
    int calls[CALLS], error;
    /* What starting comes to, then waiting for the time, and what is said of it. */
    ntp_result start, wait;
    const char *said;
    /* What is said of being woken when the machine resumes. */
    const char *unwatched;
};

#define NONE NTP_OK, NTP_OK, NULL
#define DEAF(words) NTP_OK, NTP_ERR_TIMEOUT, words
#define FAILS(words) NTP_ERR_SYSTEM, NTP_ERR_NOT_RUNNING, words

static const struct want wants[] = {
    /* Needed: nothing ends a thread that has no event descriptor. */
    { { SYS_eventfd2 }, EPERM, FAILS("starting the clock's thread: Operation not permitted"), NULL },
    { { SYS_eventfd2 }, EMFILE, FAILS("starting the clock's thread: Too many open files"), NULL },
    { { SYS_clone, SYS_clone3 }, EPERM, FAILS("starting the clock's thread: Operation not permitted"), NULL },
    { { SYS_clone, SYS_clone3 }, EAGAIN, FAILS("starting the clock's thread: Resource temporarily unavailable"), NULL },
    { { SYS_mmap }, ENOMEM, FAILS("starting the clock's thread: "), NULL },
    /* Good to have. */
    { { SYS_timerfd_create }, EPERM, NONE, "Operation not permitted" },
    { { SYS_timerfd_create }, EMFILE, NONE, "Too many open files" },
    { { SYS_timerfd_create }, ENOMEM, NONE, "Cannot allocate memory" },
    { { SYS_timerfd_settime }, EPERM, NONE, "Operation not permitted" },
    { { SYS_setsockopt }, EPERM, NONE, NULL },
    { { SYS_getsockname, SYS_bind }, EPERM, NONE, NULL },
    { { SYS_prctl }, EPERM, NONE, NULL },
    { { SYS_getrandom }, EPERM, NONE, NULL },
    /* The files of /sys and /proc, and the devices. */
    { { SYS_open, SYS_openat }, ENOENT, NONE, NULL },
    { { SYS_open, SYS_openat }, EACCES, NONE, "/dev/vmclock0: Permission denied" },
    /* It then looks at its sockets again and again. */
    { { SYS_ppoll }, EPERM, NONE, NULL },
    { { SYS_ppoll }, ENOMEM, NONE, NULL },
    { { SYS_nanosleep, SYS_clock_nanosleep }, EPERM, NONE, NULL },
    { { SYS_ppoll, SYS_nanosleep, SYS_clock_nanosleep }, ENOSYS, NONE, NULL },
    /* Without these nothing is heard from a server; the clock lives, and its sources say why. */
    { { SYS_socket }, EPERM, DEAF("Operation not permitted"), NULL },
    /* What is only good to have is given up for what is needed. */
    { { SYS_socket }, EMFILE, DEAF("Too many open files"), "its descriptor was needed for a request" },
    { { SYS_socket }, ENOBUFS, DEAF("No buffer space available"), NULL },
    { { SYS_connect }, EPERM, DEAF("Operation not permitted"), NULL },
    { { SYS_sendto }, EPERM, DEAF("Operation not permitted"), NULL },
    { { SYS_recvmsg }, EPERM, DEAF("Operation not permitted"), NULL },
    { { SYS_getrandom, SYS_open, SYS_openat }, EPERM, DEAF("no random numbers: "), "/dev/vmclock0: " },
};

static char list[32];

static void forbid(const int *calls, int error)
{
    struct sock_filter rules[2 * CALLS + 2];
    unsigned short count = 0;
    rules[count++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int index = 0; index < CALLS && (index == 0 || calls[index] != 0); index++) {
        rules[count++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[index], 0, 1);
        rules[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error);
    }
    rules[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = { count, rules };
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void expect_words(const char *words)
{
    if (words != NULL)
        EXPECT_TEXT(words);
}

static void suffer(const struct want *want)
{
    ntp_reading reading;
    forbid(want->calls, want->error);
    EXPECT(want->start, ntp_start(list));
    if (want->start != NTP_OK)
        expect_words(want->said);
    EXPECT(want->wait, ntp_wait(want->wait == NTP_OK ? 10000 : 500));
    if (want->start == NTP_OK)
        expect_words(want->said);
    EXPECT(want->unwatched == NULL ? NTP_OK : NTP_ERR_SYSTEM, ntp_clock_check_resume_watch(NULL));
    expect_words(want->unwatched);
    const ntp_result read = want->wait == NTP_OK ? NTP_OK : NTP_ERR_NOT_SYNCHRONIZED;
    EXPECT(read, ntp_clock_now(NULL, &reading));
    EXPECT(read, ntp_clock_now_checked(NULL, &reading));
    CHECK(reading.unix_ns > 0);
    ntp_stop();
    EXPECT(NTP_ERR_NOT_RUNNING, ntp_wait(0));
    /* The thread has come to its own end. */
    CHECK(!(ntp_clock_take_events(NULL) & NTP_EVENT_LOST) == (want->wait != NTP_OK));
}

static void limit(int resource, rlim_t value)
{
    struct rlimit limit;
    CHECK(getrlimit(resource, &limit) == 0);
    limit.rlim_cur = value;
    CHECK(setrlimit(resource, &limit) == 0);
}

static ntp_report report(void)
{
    ntp_report report;
    EXPECT(NTP_OK, ntp_clock_report(NULL, &report, sizeof report));
    return report;
}

/* Waits until the only source suffers from `words`, which is a want of descriptors (NULL: until it has answered again). */
static void await_fault(const char *words)
{
    ntp_source_info source;
    size_t count;
    const uint64_t before = report().exchanges;
    for (time_t begun = time(NULL); time(NULL) - begun < 20; usleep(10000)) {
        /* Below a low limit, what is freed is taken at once. */
        while (words != NULL && dup(0) >= 0)
            continue;
        EXPECT(NTP_OK, ntp_clock_sources(NULL, &source, sizeof source, 1, &count));
        CHECK(count == 1);
        if (words == NULL ? report().exchanges > before + 1 : strstr(source.fault, words) != NULL)
            return;
    }
    fprintf(stderr, "never \"%s\", but \"%s\"\n", words != NULL ? words : "answers", source.fault);
    exit(1);
}

static int descriptors(void)
{
    return entries("/proc/self/fd") - 3;
}

static void start_polling(void)
{
    ntp_config *config = ntp_config_new();
    EXPECT(NTP_OK, ntp_config_add_servers(config, list));
    EXPECT(NTP_OK, ntp_config_set_poll(config, 0, 0));
    EXPECT(NTP_OK, ntp_start_with(config));
    ntp_config_free(config);
}

/* The host runs out of descriptors while the clock runs, and gets some back. */
static void survives_want_of_descriptors(const struct want *unused)
{
    ntp_reading before, after;
    (void)unused;
    start_polling();
    EXPECT(NTP_OK, ntp_wait(10000));
    EXPECT(NTP_OK, ntp_clock_now(NULL, &before));
    for (int round = 0; round < 2; round++) {
        limit(RLIMIT_NOFILE, 64);
        await_fault("Too many open files");
        EXPECT(NTP_OK, ntp_clock_now(NULL, &after));
        CHECK(after.epoch == before.epoch && after.unix_ns > before.unix_ns);
        limit(RLIMIT_NOFILE, 1024);
        await_fault(NULL);
        EXPECT(NTP_OK, ntp_wait(10000));
    }
    EXPECT(NTP_OK, ntp_clock_now(NULL, &after));
    CHECK(after.epoch == before.epoch && report().steps == 0);
    ntp_stop();
}

/* With so many descriptors left it starts, or fails by name; and in the end has all it wants. */
static void starts_with_few_descriptors(const struct want *unused)
{
    const int used = descriptors();
    int started = 0;
    (void)unused;
    for (rlim_t left = 0; left < 6; left++) {
        limit(RLIMIT_NOFILE, (rlim_t)used + left);
        if (ntp_start(list) != NTP_OK) {
            CHECK(!started);
            EXPECT_TEXT("starting the clock's thread: Too many open files");
            continue;
        }
        started = 1;
        /* One to be woken by and one to ask with are enough. */
        if (left >= 2)
            EXPECT(NTP_OK, ntp_wait(10000));
        else
            EXPECT(NTP_ERR_TIMEOUT, ntp_wait(300));
        ntp_clock_check_resume_watch(NULL);
        ntp_stop();
    }
    CHECK(started);
    /* The want of one thing that is only good to have is made up for. */
    limit(RLIMIT_NOFILE, (rlim_t)used + 1);
    start_polling();
    while (ntp_clock_check_resume_watch(NULL) == NTP_OK)
        usleep(1000);
    EXPECT(NTP_ERR_SYSTEM, ntp_clock_check_resume_watch(NULL));
    EXPECT_TEXT("watching for a resume of the machine: Too many open files");
    limit(RLIMIT_NOFILE, 1024);
    for (time_t begun = time(NULL); ntp_clock_check_resume_watch(NULL) != NTP_OK; usleep(10000))
        CHECK(time(NULL) - begun < 30);
    EXPECT(NTP_OK, ntp_wait(10000));
    ntp_stop();
}

static void told(void *context, uint32_t events)
{
    (void)context;
    (void)events;
}

/* As many threads as a user may have who is nobody else here. */
static void starts_with_few_threads(const struct want *unused)
{
    ntp_config *config = ntp_config_new();
    ntp_clock *clock;
    (void)unused;
    /* The limit counts all threads of that user, in whatever process. */
    const uid_t user = 1000000 + (uid_t)getpid();
    CHECK(setresuid(user, user, user) == 0);
    limit(RLIMIT_NPROC, 1);
    EXPECT(NTP_ERR_SYSTEM, ntp_start(list));
    EXPECT_TEXT("starting the clock's thread: Resource temporarily unavailable");
    /* One for the engine, none that helps it. */
    limit(RLIMIT_NPROC, 2);
    EXPECT(NTP_OK, ntp_config_add_servers(config, "localhost:1"));
    EXPECT(NTP_OK, ntp_clock_start(config, &clock));
    EXPECT(NTP_ERR_TIMEOUT, ntp_clock_wait(clock, 0, 300));
    EXPECT_TEXT("localhost:1: cannot be resolved: no thread for what takes time: Resource temporarily unavailable");
    EXPECT(NTP_ERR_SYSTEM, ntp_clock_on_event(clock, told, NULL));
    EXPECT_TEXT("starting the thread of a callback: Resource temporarily unavailable");
    ntp_clock_free(clock);
    ntp_config_free(config);
    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_wait(10000));
    ntp_stop();
}

/* An address space in which no stack finds room any more. */
static void starts_without_memory(const struct want *unused)
{
    long pages = 0;
    (void)unused;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%ld", &pages) == 1);
    fclose(file);
    limit(RLIMIT_AS, (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + 64 * 1024);
    EXPECT(NTP_ERR_SYSTEM, ntp_start(list));
    EXPECT_TEXT("starting the clock's thread: ");
    limit(RLIMIT_AS, RLIM_INFINITY);
    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_wait(10000));
    ntp_stop();
}

/* A socket at which nobody ever answers, though it can be connected with; its port. */
static unsigned silence(int kind)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t length = sizeof address;
    const int fd = socket(AF_INET, kind, 0);
    CHECK(fd > 2 && bind(fd, (struct sockaddr *)&address, length) == 0 && (kind == SOCK_DGRAM || listen(fd, 9) == 0));
    CHECK(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
    return ntohs(address.sin_port);
}

/* Whether a number is taken for longer than it takes to look into a file. */
static int is_taken(int fd)
{
    for (int round = 0; round < 50; round++) {
        if (fcntl(fd, F_GETFD) == -1)
            return 0;
        usleep(1000);
    }
    return 1;
}

/* A daemon that has closed its standard files may print all the same, or put others there: nothing of ours stays among them. */
static void takes_no_standard_descriptor(const struct want *unused)
{
    char path[64], lock[80], own[32], silent[80];
    ntp_clock *leader, *follower;
    int fd;
    (void)unused;
    snprintf(silent, sizeof silent, "127.0.0.1:%u,127.0.0.1:%u nts", silence(SOCK_DGRAM), silence(SOCK_STREAM));
    snprintf(path, sizeof path, "/run/ntpclock-standard-%d", (int)getpid());
    snprintf(lock, sizeof lock, "%s.lock", path);
    ntp_config *config = ntp_config_new();
    for (int standard = 0; standard < 3; standard++)
        close(standard);

    ntp_server *server = local_server(own);
    EXPECT(NTP_OK, ntp_start(own));
    EXPECT(NTP_OK, ntp_config_add_servers(config, silent));
    EXPECT(NTP_OK, ntp_config_set_shared_page(config, path));
    EXPECT(NTP_OK, ntp_clock_start(config, &leader));
    EXPECT(NTP_OK, ntp_clock_start(config, &follower));
    EXPECT(NTP_OK, ntp_clock_on_event(NULL, told, NULL));
    EXPECT(NTP_OK, ntp_clock_event_fd(NULL, &fd));
    EXPECT(NTP_OK, ntp_wait(10000));
    for (int round = 0; round < 30; round++) {
        usleep(20000);
        CHECK(!is_taken(0) && !is_taken(1) && !is_taken(2));
    }
    ntp_clock_free(follower);
    ntp_clock_free(leader);
    ntp_stop();
    ntp_config_free(config);
    ntp_server_free(server);
    CHECK(unlink(path) == 0 && unlink(lock) == 0);
}

/* In a process of its own: a filter is for ever. */
static pid_t child(void (*act)(const struct want *), const struct want *want)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60);
        act(want);
        _exit(0);
    }
    return child;
}

static void (*const others[])(const struct want *) = {
    survives_want_of_descriptors, starts_with_few_descriptors, starts_with_few_threads, starts_without_memory,
    takes_no_standard_descriptor,
};

#define WANTS (sizeof wants / sizeof wants[0])
#define OTHERS (sizeof others / sizeof others[0])

/* In a process of its own too, so that ours has no thread yet, whose stack another could have. */
static pid_t serve(int told)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(local_server(list) != NULL);
        CHECK(write(told, list, sizeof list) == sizeof list);
        for (;;)
            pause();
    }
    return child;
}

int main(void)
{
    int told[2];
    /* What we were given: descriptors are counted. */
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
    CHECK(pipe(told) == 0);
    const pid_t server = serve(told[1]);
    CHECK(read(told[0], list, sizeof list) == sizeof list);
    close(told[0]);
    close(told[1]);
    pid_t children[WANTS + OTHERS];
    int status, failed = 0;
    for (size_t row = 0; row < WANTS + OTHERS; row++)
        children[row] = row < WANTS ? child(suffer, &wants[row]) : child(others[row - WANTS], NULL);
    for (size_t row = 0; row < WANTS + OTHERS; row++) {
        CHECK(waitpid(children[row], &status, 0) == children[row]);
        if (status != 0)
            fprintf(stderr, "row %zu: status %#x\n", row, (unsigned)status);
        failed |= status;
    }
    CHECK(kill(server, SIGKILL) == 0 && waitpid(server, NULL, 0) == server);
    return failed != 0;
}
