// ntpclock.hpp against a server of its own: types, errors, ownership, and the time.

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <ntpclock.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <sys/wait.h>
#include <thread>
#include <type_traits>
#include <unistd.h>

using namespace std::chrono_literals;

#define CHECK(condition) \
    ((condition) ? void() : (std::cerr << __FILE__ << ":" << __LINE__ << ": " << #condition << '\n', std::exit(1)))

namespace {

// A Cpp17Clock: its time_point may be another clock's of the same epoch.
static_assert(std::is_same_v<ntp::clock::duration, std::chrono::nanoseconds>);
static_assert(std::is_same_v<ntp::clock::time_point::duration, ntp::clock::duration>);
static_assert(std::is_same_v<ntp::clock::time_point::clock, std::chrono::system_clock>);
static_assert(std::is_same_v<decltype(ntp::clock::now()), ntp::clock::time_point>);
static_assert(!ntp::clock::is_steady && noexcept(ntp::clock::now()));
#if __cplusplus >= 202002L && defined(__cpp_lib_chrono)
static_assert(std::chrono::is_clock_v<ntp::clock>);
#endif

template <class Owner>
constexpr bool moves_only = std::is_nothrow_move_constructible_v<Owner> && std::is_nothrow_move_assignable_v<Owner>
    && !std::is_copy_constructible_v<Owner> && !std::is_copy_assignable_v<Owner>;
static_assert(moves_only<ntp::client> && moves_only<ntp::config> && moves_only<ntp::session>);
static_assert(moves_only<ntp::server> && moves_only<ntp::server_config>);

template <class Call>
void fails(ntp::errc code, std::string_view words, Call call) {
    try {
        call();
    } catch (const ntp::error& error) {
        CHECK(error.code() == code);
        CHECK(error.code().category() == ntp::error_category());
        if (std::string_view{error.what()}.find(words) == std::string_view::npos) {
            std::cerr << error.what() << " does not speak of " << words << '\n';
            std::exit(1);
        }
        return;
    }
    std::cerr << "no error was thrown, although " << words << '\n';
    std::exit(1);
}

void timeouts() {
    constexpr std::int64_t longest = INT64_MAX;
    CHECK(ntp::detail::to_ms(std::chrono::hours::max()) == longest);
    CHECK(ntp::detail::to_ms(std::chrono::seconds::max()) == longest);
    CHECK(ntp::detail::to_ms(std::chrono::milliseconds::max()) == longest);
    CHECK(ntp::detail::to_ms(std::chrono::duration<double>{1e300}) == longest);
    CHECK(ntp::detail::to_ms(std::chrono::nanoseconds::max()) == longest / 1'000'000 + 1);
    CHECK(ntp::detail::to_ms(std::chrono::hours::min()) == 0);
    CHECK(ntp::detail::to_ms(-1ns) == 0 && ntp::detail::to_ms(0s) == 0 && ntp::detail::to_ms(1ns) == 1);
    CHECK(ntp::detail::to_ms(1500us) == 2 && ntp::detail::to_ms(10s) == 10'000);
}

void errors() {
    fails(ntp::errc::invalid_server, "`a:b`", [] { ntp::config{"a:b"}; });
    fails(ntp::errc::invalid_argument, "20", [] { ntp::config{}.poll(20, 20); });
    fails(ntp::errc::invalid_argument, "cap_ns", [] { ntp::config{}.bound_cap(-1ns); });
    fails(ntp::errc::no_servers, "", [] { ntp::client{ntp::config{}}; });
    fails(ntp::errc::invalid_argument, "", [] { ntp::server{ntp::server_config{}}; });
    fails(ntp::errc::invalid_server, "", [] { static_cast<void>(ntp::query("127.0.0.1:0", 1s)); });
    CHECK(std::error_code{ntp::errc::timeout} == std::errc::timed_out);
    CHECK(std::error_code{ntp::errc::invalid_server} == std::errc::invalid_argument);
    CHECK(ntp::error_category().message(NTP_ERR_TIMEOUT) == "the time ran out");
    CHECK(std::string_view{ntp::version()} == NTPCLOCK_VERSION_STRING);
    CHECK(std::string_view{ntp::name(ntp::state::holdover)} == "HOLDOVER");
    CHECK(std::string_view{ntp::name(ntp::reason::negative_delay)} == "negative_delay");
    fails(ntp::errc::system, "/dev/null: it is no regular file", [] { ntp::config{}.load_keys("/dev/null"); });
    fails(ntp::errc::invalid_argument, "5 of 127.0.0.1:1 is none of the AES keys", [] {
        ntp::client{ntp::config{}.add_servers("127.0.0.1:1", {5, true, true, true})};
    });
    fails(ntp::errc::invalid_argument, "no server is authenticated", [] {
        ntp::client{ntp::config{"127.0.0.1:1"}.authentication(ntp::authentication::require)};
    });
}

void a_string_with_a_nul_is_refused_by_name() {
    const std::string cut{"127.0.0.1:1\0,127.0.0.1:2", 23};
    ntp::config config;
    ntp::server_config server;
    fails(ntp::errc::invalid_argument, "`list`", [&] { ntp::config{cut}; });
    fails(ntp::errc::invalid_argument, "`list`", [&] { config.add_servers(cut, {}); });
    fails(ntp::errc::invalid_argument, "`servers`", [&] { ntp::session{cut}; });
    fails(ntp::errc::invalid_argument, "`server`", [&] { static_cast<void>(ntp::query(cut, 1s)); });
    fails(ntp::errc::invalid_argument, "`server`", [&] { static_cast<void>(ntp::query(config, cut, 1s)); });
    fails(ntp::errc::invalid_argument, "`path`", [&] { config.load_keys(cut); });
    fails(ntp::errc::invalid_argument, "`path`", [&] { config.state_file(cut); });
    fails(ntp::errc::invalid_argument, "`path`", [&] { config.shared_page(cut); });
    fails(ntp::errc::invalid_argument, "`path`", [&] { config.add_trusted_certificates(cut); });
    fails(ntp::errc::invalid_argument, "`address`", [&] { server.listen(cut); });
    fails(ntp::errc::invalid_argument, "`prefix`", [&] { server.allow(cut); });
    fails(ntp::errc::invalid_argument, "`prefix`", [&] { server.deny(cut); });
    fails(ntp::errc::invalid_argument, "`certificate`", [&] { server.nts(cut, "key"); });
    fails(ntp::errc::invalid_argument, "`private_key`", [&] { server.nts("certificate", cut); });
    fails(ntp::errc::invalid_argument, "`path`", [&] { server.nts_cookie_keys(cut); });
}

void a_state_file_that_is_none_is_told() {
    const ntp::client clock{ntp::config{"127.0.0.1:1"}.state_file("/dev/null")};
    CHECK(clock.state_file_fault().value().find("/dev/null: it is no regular file") != std::string::npos);
    CHECK(!ntp::client{ntp::config{"127.0.0.1:1"}}.state_file_fault());
}

void a_shared_page_that_is_none_is_refused_and_one_that_is_taken_away_is_told() {
    fails(ntp::errc::shared_page, "/dev/null: it is no regular file",
          [] { ntp::client{ntp::config{"127.0.0.1:1"}.shared_page("/dev/null")}; });
    const std::string page = "/dev/shm/ntpclock-face-" + std::to_string(getpid());
    const ntp::client clock{ntp::config{"127.0.0.1:1"}.shared_page(page)};
    CHECK(clock.report().role == NTP_ROLE_LEADER && clock.report().leader_pid == static_cast<std::uint32_t>(getpid()));
    CHECK(!clock.shared_page_fault());
    CHECK(std::remove(page.c_str()) == 0 && std::remove((page + ".lock").c_str()) == 0);
    for (int tries = 0; !clock.shared_page_fault() && tries < 2000; ++tries) {
        std::this_thread::sleep_for(10ms);
    }
    CHECK(clock.shared_page_fault().value().find("it was removed") != std::string::npos);
}

void moved_from_owners_say_so() {
    ntp::config config{"127.0.0.1:1"};
    ntp::client first{config};
    const ntp::client second = std::move(first);
    CHECK(second.now().state() == ntp::state::unsynchronized);
    CHECK(!second.now() && !second.now().error_bound() && !second.now().age());
    CHECK(!second.wait_for(10ms) && ntp::last_error().find("127.0.0.1:1") != std::string::npos);
    // A NULL handle would silently be the process-wide clock.
    fails(ntp::errc::invalid_argument, "moved from", [&] { static_cast<void>(first.now()); });
    const ntp::config taken = std::move(config);
    fails(ntp::errc::invalid_argument, "moved from", [&] { config.fault_limit(1); });
    ntp::session begun{"127.0.0.1:1"};
    ntp::session held = std::move(begun);
    CHECK(held.now().state() == ntp::state::unsynchronized);
    fails(ntp::errc::invalid_argument, "moved from", [&] { static_cast<void>(begun.now()); });
    fails(ntp::errc::invalid_argument, "moved from", [&] { begun.on_event([](ntp::events) {}); });
    begun = std::move(held);
    CHECK(begun.now().state() == ntp::state::unsynchronized);
    fails(ntp::errc::invalid_argument, "moved from", [&] { static_cast<void>(held.take_events()); });
    ntp::session beside{"127.0.0.1:1"};
    begun = std::move(beside);
    CHECK(begun.now().state() == ntp::state::unsynchronized);
    fails(ntp::errc::invalid_argument, "moved from", [&] { static_cast<void>(beside.now()); });
}

template <class Clock>
void tells_the_truth(const Clock& clock) {
    CHECK(clock.wait_for(10s));
    clock.wait(1s);
    CHECK(!clock.wait_for(50ms, 0ns) && clock.wait_for(50ms, ntp::nanoseconds::max()));
    fails(ntp::errc::invalid_argument, "`bound` is -1 ns", [&] { static_cast<void>(clock.wait_for(50ms, -1ns)); });
    fails(ntp::errc::invalid_argument, "`bound` is -1 ns", [&] { clock.wait(-1ns); });
    const ntp::reading reading = clock.now();
    CHECK(reading && reading.state() == ntp::state::synchronized && reading.epoch() >= 1);
    CHECK(reading.earliest() <= reading.time() && reading.time() <= reading.latest());
    CHECK(reading.error_bound().value() < 1s && reading.age().value() < 60s);
    CHECK(std::chrono::abs(reading.time() - std::chrono::system_clock::now()) < 1s);
    const ntp::offset offset = clock.offset();
    CHECK(std::chrono::abs(offset.value) <= offset.bound.value());
    CHECK(clock.report().configured == 1);
    const auto sources = clock.sources();
    CHECK(sources.size() == 1 && sources[0].verdict() == ntp::selection::truechimer);
    CHECK(sources[0].delay() >= 0ns && sources[0].bound());
    CHECK(sources[0].refused(ntp::reason::origin) == 0 && !sources[0].authenticated() && !reading.authenticated());
}

template <class Clock>
void tells_instants(Clock& clock) {
    const ntp::reading before = clock.now_within(1s);
    CHECK(clock.now_checked().state() == ntp::state::synchronized && !clock.resume_watch_fault());
    fails(ntp::errc::bound_exceeded, "1 ns are allowed", [&] { static_cast<void>(clock.now_within(1ns)); });
    CHECK(!clock.after(before.latest() + 1h) && clock.before(before.latest() + 1h));
    clock.wait_until_past(before.latest());
    CHECK(clock.wait_until_past(before.latest(), 0ms) && clock.after(before.latest()));
    CHECK(!clock.wait_until_past(before.latest() + 1h, 5ms));
    clock.sleep_until(before.time() + 10ms);
    const ntp::reading after = clock.now();
    CHECK(after.time() >= before.time() + 10ms);
    CHECK(ntp::compare(before, after) == ntp::relation::before);
    CHECK(ntp::compare(after, before) == ntp::relation::after);
    CHECK(ntp::compare(after, after) == ntp::relation::overlap);

    const ntp::reading converted = clock.convert(ntp::timescale::raw, before.raw());
    CHECK(ntp::compare(before, converted) == ntp::relation::overlap && converted.raw() == before.raw());
    const auto system = std::chrono::system_clock::now();
    const ntp::reading steady = clock.convert(std::chrono::steady_clock::now());
    CHECK(steady.latest() >= system && steady.earliest() < system + 1s);
    fails(ntp::errc::unconvertible, "stepped", [&] {
        static_cast<void>(clock.convert(ntp::timescale::realtime, 0ns));
    });
    const ntp::deadline deadline = clock.deadline(ntp::timescale::monotonic, after.time() + 1s);
    CHECK(deadline.earliest <= deadline.stamp && deadline.stamp <= deadline.latest);
    CHECK(deadline.latest - std::chrono::steady_clock::now().time_since_epoch() < 2s);
}

// A callback is told the state at hand, may replace itself, and is taken back with its owner.
template <class Clock>
void tells_events(Clock clock) {
    CHECK(clock.event_fd() >= 0);
    while (!clock.take_events().synchronized()) {
        std::this_thread::sleep_for(1ms);
    }
    const auto first = std::make_shared<std::atomic<int>>(0);
    const auto second = std::make_shared<std::atomic<int>>(0);
    clock.on_event([first, second, &clock](ntp::events events) {
        CHECK(events && !events.disrupted());
        clock.on_event([second](ntp::events) { ++*second; });
        ++*first;
    });
    while (*second == 0 || *first == 0) {
        std::this_thread::sleep_for(1ms);
    }
    clock.on_event(nullptr);
    CHECK(*first == 1 && second.use_count() == 1);
    clock.on_event([second](ntp::events) { ++*second; });
    const Clock moved = std::move(clock);
    CHECK(second.use_count() > 1);
}

void a_callback_goes_with_its_client(const std::string& list) {
    const auto calls = std::make_shared<std::atomic<int>>(0);
    ntp::client first{list};
    first.on_event([calls](ntp::events) { ++*calls; });
    CHECK(first.wait_for(10s));
    first = ntp::client{list};
    CHECK(calls.use_count() == 1);
}

// Of two sessions the first ends and leaves the second one's callback alone, whether it had one itself or not.
void a_session_takes_back_its_own_callback_alone(const std::string& list) {
    for (const bool both : {false, true}) {
        std::atomic<int> calls{0};
        const auto replaced = std::make_shared<int>(0);
        std::optional<ntp::session> first{list};
        ntp::session second{list};
        CHECK(second.wait_for(10s));
        if (both) {
            first->on_event([replaced](ntp::events) {});
        }
        second.on_event([&calls](ntp::events) { ++calls; });
        while (calls == 0) {
            std::this_thread::sleep_for(1ms);
        }
        first->on_event(nullptr);
        if (both) {
            first->on_event([replaced](ntp::events) {});
            second.on_event([&calls](ntp::events) { ++calls; });
        }
        first.reset();
        CHECK(replaced.use_count() == 1);
        // Its end is told to whoever listens still.
        const int before = calls;
        ntp_stop();
        for (int tries = 0; calls == before && tries < 5000; ++tries) {
            std::this_thread::sleep_for(1ms);
        }
        CHECK(calls > before);
        CHECK(ntp_start(list.c_str()) == NTP_OK);
    }
}

// The process-wide clock by a configuration, and a child that goes on with it.
void a_child_restarts(const std::string& list) {
    const ntp::session session{ntp::config{list}.restart_after_fork(true).poll(0, 4)};
    CHECK(session.wait_for(10s) && !session.state_file_fault());
    session.restart();
    const pid_t child = fork();
    if (child == 0) {
        const ntp::reading inherited = session.now();
        CHECK(inherited.state() == ntp::state::holdover);
        session.restart();
        CHECK(session.wait_for(10s) && session.now().epoch() == inherited.epoch());
        std::_Exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(session.now().state() == ntp::state::synchronized);
}

}  // namespace

int main() {
    timeouts();
    timeouts();
    errors();
    a_string_with_a_nul_is_refused_by_name();
    a_state_file_that_is_none_is_told();
    a_shared_page_that_is_none_is_refused_and_one_that_is_taken_away_is_told();
    moved_from_owners_say_so();

    const ntp::server server{ntp::server_config{}
                                 .listen("127.0.0.1:0")
                                 .local(1, 1us)
                                 .allow("127.0.0.0/8")
                                 .deny("127.0.0.2")
                                 .rate_limit(100, 100)
                                 .threads(1)
                                 .silent_unless_synchronized()};
    const std::string list = "127.0.0.1:" + std::to_string(server.port());
    const ntp::query_result answer = ntp::query(list, 2s);
    CHECK(std::chrono::abs(answer.offset()) <= answer.bound() && answer.stratum == 1);

    CHECK(server.statistics().threads == 1 && server.statistics().denied == 0);

    ntp::client client{ntp::config{list}.poll(0, 4).interleaved()};
    tells_the_truth(client);
    tells_instants(client);
    tells_events(std::move(client));
    a_callback_goes_with_its_client(list);
    {
        const ntp::session outer{list};
        const ntp::session inner{list};
        tells_the_truth(inner);
        tells_instants(inner);
        fails(ntp::errc::already_running, list, [] { ntp::session{"127.0.0.1:1"}; });
    }
    {
        ntp::session session{list};
        CHECK(session.wait_for(10s));
        tells_events(std::move(session));
    }
    a_session_takes_back_its_own_callback_alone(list);
    a_child_restarts(list);
    const auto apart = ntp::clock::now() - std::chrono::system_clock::now();
    CHECK(std::chrono::abs(apart) < 1s);
    CHECK(ntp_wait(0) == NTP_ERR_NOT_RUNNING);
}
