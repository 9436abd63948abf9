/* A host whose filter of system calls forbids timer descriptors: the clock works without, and says so. */

#define _DEFAULT_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

static void forbid_timers(void)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_timerfd_create, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof rules / sizeof rules[0], rules };
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

int main(void)
{
    char list[32];
    ntp_reading reading;

    forbid_timers();
    ntp_server *server = local_server(list);
    EXPECT(NTP_OK, ntp_clock_check_resume_watch(NULL));
    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_wait(10000));
    EXPECT(NTP_ERR_SYSTEM, ntp_clock_check_resume_watch(NULL));
    EXPECT_TEXT("watching for a resume of the machine: Operation not permitted");
    EXPECT(NTP_OK, ntp_clock_now(NULL, &reading));
    EXPECT(NTP_OK, ntp_clock_now_checked(NULL, &reading));
    ntp_stop();
    ntp_server_free(server);
    return 0;
}
