// Prints the synchronised time: now [SERVERS]. Without SERVERS, $NTPCLOCK_SERVERS names them.

#include <cstdio>
#include <ctime>
#include <ntpclock.hpp>
#include <optional>
#include <string>

namespace {

double ms(ntp::nanoseconds value) {
    return std::chrono::duration<double, std::milli>(value).count();
}

std::string figure(std::optional<ntp::nanoseconds> value) {
    return value ? std::to_string(ms(*value)) : "unknown";
}

void print_time(ntp::time_point time) {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
    const std::time_t unix_time = seconds.time_since_epoch().count();
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", std::gmtime(&unix_time));
    std::printf("time    %s.%09lldZ\n", text, static_cast<long long>((time - seconds).count()));
}

}  // namespace

int main(int argc, char** argv) try {
    const ntp::session session = argc > 1 ? ntp::session{argv[1]} : ntp::session{};
    const bool in_time = session.wait_for(std::chrono::seconds{10});
    if (!in_time) {
        std::fprintf(stderr, "now: %s\n", ntp::last_error().c_str());
    }

    const ntp::reading reading = session.now();
    print_time(reading.time());
    const ntp::offset offset = session.offset();
    std::printf("offset  %+.6f ms\n", ms(offset.value));
    if (const auto bound = reading.error_bound()) {
        std::printf("bound   %.6f ms\n", ms(*bound));
    } else {
        std::printf("bound   unknown\n");
    }
    std::printf("status  %s\n\n", ntp::name(reading.state()));

    std::printf("%-12s %-32s %7s %12s %12s\n", "selection", "source", "stratum", "offset ms", "delay ms");
    for (const ntp::source& source : session.sources()) {
        std::printf("%-12s %-32s %7d %12s %12s %s\n", ntp::name(source.verdict()), source.name,
                    static_cast<int>(source.stratum), figure(source.offset()).c_str(), figure(source.delay()).c_str(),
                    source.fault);
    }
    return in_time ? 0 : 1;
} catch (const ntp::error& error) {
    std::fprintf(stderr, "now: %s\n", error.what());
    return 2;
}
