/* share MODE SERVERS PAGE BOARD PLACE: one of several processes that read one page, watched by tests/sharing.
 *
 * The board is a file that all of them map. There stands, for each epoch, the newest time that any of them has read: nobody may
 * read less afterwards. And for each process, what it found. The servers show the system clock, which is read before and after each
 * reading: the truth lay between the two.
 *
 * Modes: read; fork (a child that has no thread reads on at the next place); exec (goes over to another program once it has
 * read a while); free (frees its clock, and lives on); filtered (the host forbids pidfd_open); deaf (the host forbids the
 * processor's counter: prints how the start went); closed (its standard input, output and error are closed, and it prints all the
 * same).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "check.h"

#define EPOCHS 64
#define PLACES 32

/* What a process found; tests/sharing reads it in this order. */
struct place {
    _Atomic int64_t readings;
    _Atomic int64_t backwards;
    _Atomic int64_t outside;
    _Atomic int64_t lost;         /* neither SYNCHRONIZED nor HOLDOVER */
    _Atomic int64_t held_over;    /* HOLDOVER */
    _Atomic int64_t epoch;
    _Atomic int64_t role;
    _Atomic int64_t leader_pid;
    _Atomic int64_t faults;
    _Atomic int64_t events;
};

struct board {
    _Atomic int64_t over;
    _Atomic int64_t newest[EPOCHS];
    struct place places[PLACES];
};

static struct board *board;

static int64_t system_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void forbid_pidfd_open(void)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_open, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof rules / sizeof rules[0], rules };
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

#ifdef __x86_64__
/* The kernel's own clock_gettime runs in our process and reads the counter too: what faults is done in the process's stead,
 * as debuggers that record a run do. */
static void read_counter_for(int number, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *instruction = (const unsigned char *)registers[REG_RIP];
    (void)number;
    (void)info;
    if (instruction[0] != 0x0f || (instruction[1] != 0x31 && instruction[1] != 0x01))
        _exit(9);
    prctl(PR_SET_TSC, PR_TSC_ENABLE, 0, 0, 0);
    const uint64_t ticks = __builtin_ia32_rdtsc();
    prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0);
    registers[REG_RAX] = (greg_t)(ticks & UINT32_MAX);
    registers[REG_RDX] = (greg_t)(ticks >> 32);
    /* rdtsc, or rdtscp, whose processor number nobody here asks for. */
    registers[REG_RIP] += instruction[1] == 0x31 ? 2 : 3;
}

static void forbid_counter(void)
{
    struct sigaction action = { .sa_sigaction = read_counter_for, .sa_flags = SA_SIGINFO };
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    CHECK(prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0) == 0);
}
#else
static void forbid_counter(void)
{
}
#endif

static void look(const ntp_clock *clock, struct place *place, uint32_t *last_epoch)
{
    ntp_reading reading;
    const uint32_t epoch = *last_epoch;
    /* What others have read in this epoch or in the next one before we read. */
    const int64_t seen[2] = { board->newest[epoch % EPOCHS], board->newest[(epoch + 1) % EPOCHS] };
    const int64_t opened = system_clock_ns();
    const ntp_result result = ntp_clock_now(clock, &reading);
    const int64_t closed = system_clock_ns();

    place->readings++;
    if (result != NTP_OK) {
        place->lost++;
        return;
    }
    if (reading.state == NTP_STATE_HOLDOVER)
        place->held_over++;
    if (reading.earliest_ns > closed || reading.latest_ns < opened) {
        if (place->outside++ == 0)
            fprintf(stderr, "%d: true time in [%" PRId64 ", %" PRId64 "], interval [%" PRId64 ", %" PRId64 "]\n",
                    (int)getpid(), opened, closed, reading.earliest_ns, reading.latest_ns);
    }
    if (reading.epoch < epoch) {
        if (place->backwards++ == 0)
            fprintf(stderr, "%d: epoch %" PRIu32 " after %" PRIu32 "\n", (int)getpid(), reading.epoch, epoch);
    } else if (reading.epoch - epoch < 2 && reading.unix_ns < seen[reading.epoch - epoch]) {
        if (place->backwards++ == 0)
            fprintf(stderr, "%d: %" PRId64 " ns earlier than what another has read, in epoch %" PRIu32 "\n",
                    (int)getpid(), seen[reading.epoch - epoch] - reading.unix_ns, reading.epoch);
    }
    _Atomic int64_t *newest = &board->newest[reading.epoch % EPOCHS];
    int64_t former = *newest;
    while (former < reading.unix_ns && !atomic_compare_exchange_weak(newest, &former, reading.unix_ns))
        ;
    *last_epoch = reading.epoch;
    place->epoch = reading.epoch;
}

static int prints;

static void read_on(const ntp_clock *clock, struct place *place, int64_t readings)
{
    uint32_t epoch = 0;
    for (int64_t count = 0; !board->over && (readings < 0 || count < readings); count++) {
        look(clock, place, &epoch);
        /* Whatever has these numbers now. */
        if (prints) {
            static const char noise[4096] = "noise";
            for (int standard = 1; standard < 3; standard++)
                if (write(standard, noise, sizeof noise) < 0)
                    errno = 0;
        }
        if (count % 64 == 0) {
            ntp_report report;
            EXPECT(NTP_OK, ntp_clock_report(clock, &report, sizeof report));
            place->role = report.role;
            place->leader_pid = report.leader_pid;
            place->faults = ntp_clock_check_shared_page(clock) != NTP_OK;
            place->events |= ntp_clock_take_events(clock);
        }
        const struct timespec pause = { 0, 100000 };
        nanosleep(&pause, NULL);
    }
}

int main(int argc, char **argv)
{
    CHECK(argc == 6);
    const char *mode = argv[1];
    ntp_clock *clock;

    int fd = open(argv[4], O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(board != MAP_FAILED);
    struct place *place = &board->places[atoi(argv[5])];

    const int closed = strcmp(mode, "closed") == 0;
    for (int standard = 0; closed && standard < 3; standard++)
        CHECK(close(standard) == 0);
    if (strcmp(mode, "filtered") == 0)
        forbid_pidfd_open();
    if (strcmp(mode, "deaf") == 0)
        forbid_counter();
    ntp_config *config = ntp_config_new();
    EXPECT(NTP_OK, ntp_config_add_servers(config, argv[2]));
    EXPECT(NTP_OK, ntp_config_set_poll(config, 0, 0));
    EXPECT(NTP_OK, ntp_config_set_shared_page(config, argv[3]));
    const ntp_result started = ntp_clock_start(config, &clock);
    if (strcmp(mode, "deaf") == 0) {
        printf("%d %s\n", (int)started, started == NTP_OK ? "" : ntp_last_error());
        ntp_clock_free(clock);
        return 0;
    }
    EXPECT(NTP_OK, started);
    ntp_config_free(config);
    EXPECT(NTP_OK, ntp_clock_wait(clock, 0, 20000));

    prints = closed;
    if (strcmp(mode, "fork") == 0) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0)
            place++;
    } else if (strcmp(mode, "exec") == 0) {
        read_on(clock, place, 2000);
        execlp("sleep", "sleep", "1000", (char *)NULL);
        return 1;
    } else if (strcmp(mode, "free") == 0) {
        read_on(clock, place, 2000);
        ntp_clock_free(clock);
        while (!board->over)
            usleep(10000);
        return 0;
    }
    read_on(clock, place, -1);
    ntp_clock_free(clock);
    return 0;
}
