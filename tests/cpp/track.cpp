// track SERVERS SHIFT_NS SECONDS: watches ntp::clock beside the clock of the server, as tests/c/track.c does.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "ntpclock.hpp"

namespace {

using std::chrono::nanoseconds;

std::int64_t system_clock_ns() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return std::chrono::duration_cast<nanoseconds>(now).count();
}

std::int64_t ntp_clock_ns() {
    return std::chrono::duration_cast<nanoseconds>(ntp::clock::now().time_since_epoch()).count();
}

int track(const char* servers, std::int64_t shift, std::int64_t seconds) {
    // As in track.c: a program that needs better than a millisecond waits for that bound.
    if (ntp_start(servers) != NTP_OK || ntp_clock_wait(nullptr, 1000000, 40000) != NTP_OK) {
        std::fprintf(stderr, "no time from %s: %s\n", servers, ntp_last_error());
        return 1;
    }
    std::vector<std::int64_t> errors;
    std::size_t outside = 0, backwards = 0, unsynchronized = 0;
    std::int64_t last = INT64_MIN;
    std::uint32_t last_epoch = 0;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    while (std::chrono::steady_clock::now() < end) {
        const auto before = system_clock_ns() + shift;
        const auto now = ntp_clock_ns();
        const auto after = system_clock_ns() + shift;
        errors.push_back(std::max({before - now, now - after, std::int64_t{0}}));

        ntp_reading reading;
        const auto opened = system_clock_ns() + shift;
        const auto result = ntp_clock_now(nullptr, &reading);
        const auto closed = system_clock_ns() + shift;
        if (result != NTP_OK || reading.state != NTP_STATE_SYNCHRONIZED) {
            ++unsynchronized;
        }
        if (reading.earliest_ns > closed || reading.latest_ns < opened) {
            ++outside;
        }
        if (reading.unix_ns < now || (reading.epoch == last_epoch && now < last)) {
            ++backwards;
        }
        last = reading.unix_ns;
        last_epoch = reading.epoch;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ntp_stop();

    std::sort(errors.begin(), errors.end());
    const auto p99 = errors.empty() ? INT64_MAX : errors[(errors.size() - 1) * 99 / 100];
    const auto worst = errors.empty() ? INT64_MAX : errors.back();
    std::printf("samples=%zu p99_ns=%lld worst_ns=%lld outside=%zu backwards=%zu unsynchronized=%zu\n", errors.size(),
                static_cast<long long>(p99), static_cast<long long>(worst), outside, backwards, unsynchronized);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: %s SERVERS SHIFT_NS SECONDS\n", argv[0]);
        return 2;
    }
    try {
        return track(argv[1], std::stoll(argv[2]), std::stoll(argv[3]));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
