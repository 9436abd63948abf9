/* Events in a loop of libuv: the descriptor is watched as any other, and stays the clock's. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>
#include <uv.h>

#include "check.h"

static char list[32];
static uv_loop_t loop;
static uv_poll_t poll_of_events;
static uv_timer_t timer;
static int ticks_of_timer, told, closed;

static void is_closed(uv_handle_t *handle)
{
    (void)handle;
    closed++;
}

/* Synchronised; lost, when we stop it; synchronised again, and stepped, when we start it. Then nothing keeps the loop. */
static void is_readable(uv_poll_t *handle, int status, int events)
{
    static const uint32_t expected[] = {
        NTP_EVENT_SYNCHRONIZED, NTP_EVENT_LOST, NTP_EVENT_SYNCHRONIZED | NTP_EVENT_STEPPED,
    };
    CHECK(handle == &poll_of_events && status == 0 && events == UV_READABLE);
    CHECK(ntp_clock_take_events(NULL) == expected[told]);
    switch (told++) {
    case 0:
        ntp_stop();
        break;
    case 1:
        EXPECT(NTP_OK, ntp_start(list));
        break;
    default:
        CHECK(uv_poll_stop(handle) == 0);
        uv_close((uv_handle_t *)handle, is_closed);
        uv_close((uv_handle_t *)&timer, is_closed);
    }
}

static void ticks(uv_timer_t *handle)
{
    CHECK(handle == &timer);
    ticks_of_timer++;
}

int main(void)
{
    int fd = -1;
    ntp_server *server = local_server(list);
    alarm(60);
    EXPECT(NTP_OK, ntp_start(list));
    EXPECT(NTP_OK, ntp_clock_event_fd(NULL, &fd));
    CHECK(uv_loop_init(&loop) == 0);
    CHECK(uv_poll_init(&loop, &poll_of_events, fd) == 0);
    CHECK(uv_poll_start(&poll_of_events, UV_READABLE, is_readable) == 0);
    CHECK(uv_timer_init(&loop, &timer) == 0 && uv_timer_start(&timer, ticks, 0, 1) == 0);
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0 && uv_loop_close(&loop) == 0);
    CHECK(told == 3 && closed == 2 && ticks_of_timer > 0);
    /* The loop has left it open, and as it was. */
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) && (fcntl(fd, F_GETFL) & O_NONBLOCK));
    ntp_stop();
    ntp_server_free(server);
    return 0;
}
