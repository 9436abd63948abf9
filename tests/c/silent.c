/* A reading makes no system call, in whatever state: who reads has forbidden itself all but `write` and `exit`, and would be
 * killed. Where the kernel counts by what programs can read themselves, as it does on any machine of today. */

#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define READINGS 20000

/* Says on `result` that all is well, and ends; killed by the kernel if it does anything else. */
static void read_in_silence(int result)
{
    ntp_reading reading;
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog filter = { sizeof steps / sizeof *steps, steps };
    /* (The kernel's strict mode would forbid the processor's counter, too.) */
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
    int64_t last = ntp_now();
    char fine = 'y';
    for (int count = 0; count < READINGS; count++) {
        int64_t offset, bound;
        const int64_t now = ntp_now();
        if (now < last)
            fine = 'n';
        last = now;
        ntp_now_relaxed();
        ntp_error_bound();
        ntp_status();
        ntp_clock_now(NULL, &reading);
        ntp_clock_offset(NULL, &offset, &bound);
        ntp_clock_after(NULL, now);
    }
    (void)!write(result, &fine, 1);
    /* Of this very thread: to end all of them is forbidden. */
    syscall(SYS_exit, 0);
}

/* In a process of its own, brought into `state`; by the raw counter, or, if `later`, by the processor's where the kernel counts
 * by that. */
static void readings_are_silent(ntp_state state, int later)
{
    int result[2];
    CHECK(pipe(result) == 0);
    const pid_t reader = fork();
    CHECK(reader >= 0);
    if (reader == 0) {
        char list[64];
        ntp_reading reading;
        local_server(list);
        if (state != NTP_STATE_UNSYNCHRONIZED) {
            EXPECT(NTP_OK, ntp_start(list));
            EXPECT(NTP_OK, ntp_wait(10000));
            sleep(later ? 3 : 0);
        }
        if (state == NTP_STATE_HOLDOVER) {
            ntp_stop();
            usleep(200000);
        }
        ntp_clock_now(NULL, &reading);
        CHECK(reading.state == state);
        read_in_silence(result[1]);
    }
    close(result[1]);
    /* Its other threads keep it alive, and the pipe open. */
    char fine = 0;
    struct pollfd told = { .fd = result[0], .events = POLLIN };
    CHECK(poll(&told, 1, 30000) == 1 && read(result[0], &fine, 1) == 1 && fine == 'y');
    CHECK(kill(reader, SIGKILL) == 0 && waitpid(reader, NULL, 0) == reader);
}

int main(void)
{
    readings_are_silent(NTP_STATE_UNSYNCHRONIZED, 0);
    readings_are_silent(NTP_STATE_SYNCHRONIZED, 0);
    readings_are_silent(NTP_STATE_SYNCHRONIZED, 1);
    readings_are_silent(NTP_STATE_HOLDOVER, 1);
    return 0;
}
