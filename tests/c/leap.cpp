// As leap.c: the raw counter is replaced while a clock runs. By a descriptor and by a callback, C++ hears of all that follows.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <ntpclock.hpp>
#include <poll.h>
#include <string>
#include <sys/syscall.h>
#include <unistd.h>

using namespace std::chrono_literals;

#define CHECK(condition) \
    ((condition) ? void() : (std::cerr << __FILE__ << ":" << __LINE__ << ": " << #condition << '\n', std::exit(1)))

namespace {

std::atomic<std::time_t> leap_s{0};

bool readable(int fd) {
    pollfd polled{fd, POLLIN, 0};
    return ::poll(&polled, 1, 10'000) == 1;
}

struct told {
    bool disrupted = false, synchronized = false, stepped = false;

    void add(ntp::events events) {
        disrupted |= events.disrupted();
        synchronized |= events.synchronized();
        stepped |= events.stepped();
    }

    bool all() const { return disrupted && synchronized && stepped; }
};

template <class Clock>
void hears_of_it(Clock clock) {
    std::atomic<std::uint32_t> called{0};
    clock.on_event([&called](ntp::events events) { called |= events.c(); });
    CHECK(clock.wait_for(10s));
    CHECK(readable(clock.event_fd()));
    const ntp::events first = clock.take_events();
    CHECK(first.synchronized() && !first.disrupted() && !first.stepped());
    // What was published last holds by now, and is told.
    ::usleep(500'000);
    called = 0;

    const std::uint32_t former = clock.now().epoch();
    leap_s -= 20;
    told taken;
    while (!taken.all()) {
        CHECK(readable(clock.event_fd()));
        taken.add(clock.take_events());
    }
    told heard;
    for (int tries = 0; !heard.all(); ++tries) {
        CHECK(tries < 10'000);
        ::usleep(1'000);
        heard.add(ntp::events{called.load()});
    }
    CHECK(clock.now().epoch() > former && clock.now().state() == ntp::state::synchronized);
    clock.on_event(nullptr);
}

}  // namespace

// Comes before the C library's: for the library under test, too.
extern "C" int clock_gettime(clockid_t id, timespec* time) noexcept {
    const long result = ::syscall(SYS_clock_gettime, id, time);
    if (id == CLOCK_MONOTONIC_RAW) {
        time->tv_sec += leap_s;
    }
    return static_cast<int>(result);
}

int main() {
    const ntp::server server{ntp::server_config{}.listen("127.0.0.1:0").local(1, 1us)};
    const std::string list = "127.0.0.1:" + std::to_string(server.port());
    hears_of_it(ntp::client{ntp::config{list}.poll(0, 0)});
    hears_of_it(ntp::session{ntp::config{list}.poll(0, 0)});
}
