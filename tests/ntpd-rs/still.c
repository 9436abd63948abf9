/*
 * Preloaded into a daemon that would steer this machine's clock: every wish to set it is taken for granted, and nothing
 * is done. What only reads goes on to the kernel. The kernel would refuse the wishes as well (`run.sh` takes the right
 * away), but upon that the daemon ends.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

int clock_adjtime(clockid_t clock, struct timex *wish)
{
    wish->modes = 0;
    return (int)syscall(SYS_clock_adjtime, clock, wish);
}

int ntp_adjtime(struct timex *wish)
{
    return clock_adjtime(CLOCK_REALTIME, wish);
}
