// Objects that live before and after main, and as long as their threads: their ends read, stop and start clocks.

#include <atomic>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <ntpclock.hpp>
#include <thread>

using namespace std::chrono_literals;

#define CHECK(condition) \
    ((condition) ? void() : (std::cerr << __FILE__ << ":" << __LINE__ << ": " << #condition << '\n', std::_Exit(1)))

namespace {

// The first to be made and the last to go: by then there is nothing left but the reading.
struct first {
    first() { CHECK(ntp::clock::now().time_since_epoch() > 0ns && ntp_status() == NTP_STATE_UNSYNCHRONIZED); }
    ~first() {
        CHECK(ntp::clock::now().time_since_epoch() > 0ns && ntp_status() == NTP_STATE_HOLDOVER);
        CHECK(ntp_wait(0) == NTP_ERR_NOT_RUNNING);
        // Whoever wants to may begin again.
        CHECK(ntp_start("127.0.0.1:1") == NTP_OK);
        ntp_stop();
    }
} const witness;

struct upstream {
    ntp::server server{ntp::server_config{}.listen("127.0.0.1:0").local(1, 1us)};
    std::string list = "127.0.0.1:" + std::to_string(server.port());
} const machine;

// Made before main, and ended after it.
const ntp::session process{machine.list};
std::unique_ptr<ntp::client> client = std::make_unique<ntp::client>(machine.list);

std::atomic<bool> over{false};

struct reader {
    std::thread thread{[] {
        while (!over) {
            static_cast<void>(ntp::clock::now());
            static_cast<void>(client->now());
        }
    }};
    ~reader() {
        over = true;
        thread.join();
    }
} const reading;

struct with_its_thread {
    ~with_its_thread() {
        CHECK(client->now() && ntp::clock::now().time_since_epoch() > 0ns);
        CHECK(ntp_start("a:b") == NTP_ERR_INVALID_SERVER);
        static_cast<void>(ntp::last_error());
    }
};
thread_local const with_its_thread local;

}  // namespace

int main() {
    CHECK(process.wait_for(10s) && client->wait_for(10s));
    client->on_event([](ntp::events) { static_cast<void>(ntp::clock::now()); });
    static_cast<void>(&local);
    std::thread{[] { static_cast<void>(&local); }}.join();
}
