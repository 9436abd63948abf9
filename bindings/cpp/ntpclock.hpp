/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * ntpclock.hpp - ntpclock for C++17 and later: a thin layer over ntpclock.h, header only.
 *
 *   ntp::clock     the process-wide clock as a <chrono> clock (Cpp17Clock): ntp::clock::now()
 *   ntp::session   starts the process-wide clock, and stops it at the end of its scope
 *   ntp::client    a clock of one's own
 *   ntp::config    how a clock behaves       ntp::reading   a time and the interval that holds UTC
 *   ntp::server    answers NTP clients       ntp::query     asks one server once
 *   ntp::compare   tells which of two readings is certainly of the earlier instant
 *   ntp::error     what every failing call throws: a std::system_error in ntp::error_category()
 *
 * ntp::clock is no object, as std::chrono::system_clock is none: an object with a static now() would
 * read the process-wide clock where its own was meant. Hence ntp::client for the object.
 *
 * Owners can be moved, not copied. What ntpclock.h says of threads holds here: any number of threads may
 * read one client or session; configurations and the moving of owners belong to one thread at a time.
 */
#ifndef NTPCLOCK_HPP
#define NTPCLOCK_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "ntpclock.h"

namespace ntp {

using std::chrono::nanoseconds;

/** UTC. On system_clock's scale, so that it subtracts from, prints as and converts like its time points. */
using time_point = std::chrono::time_point<std::chrono::system_clock, nanoseconds>;

/** Why a call failed. Newer libraries may use values that are not listed. */
enum class errc : int {
    invalid_argument = NTP_ERR_INVALID_ARGUMENT,
    invalid_server = NTP_ERR_INVALID_SERVER,
    no_servers = NTP_ERR_NO_SERVERS,
    unsupported = NTP_ERR_UNSUPPORTED,
    already_running = NTP_ERR_ALREADY_RUNNING,
    not_running = NTP_ERR_NOT_RUNNING,
    malformed = NTP_ERR_MALFORMED,
    not_synchronized = NTP_ERR_NOT_SYNCHRONIZED,
    timeout = NTP_ERR_TIMEOUT,
    stopped = NTP_ERR_STOPPED,
    resolve = NTP_ERR_RESOLVE,
    bad_reply = NTP_ERR_BAD_REPLY,
    bound_exceeded = NTP_ERR_BOUND_EXCEEDED,
    unconvertible = NTP_ERR_UNCONVERTIBLE,
    key_exchange = NTP_ERR_KEY_EXCHANGE,
    system = NTP_ERR_SYSTEM,
    internal = NTP_ERR_INTERNAL,
    state_file = NTP_ERR_STATE_FILE,
    shared_page = NTP_ERR_SHARED_PAGE,
};

/** How far a clock's interval can be trusted. */
enum class state : int {
    unsynchronized = NTP_STATE_UNSYNCHRONIZED,
    synchronized = NTP_STATE_SYNCHRONIZED,
    holdover = NTP_STATE_HOLDOVER,
    disrupted = NTP_STATE_DISRUPTED,
};

/** What selection thinks of a source. */
enum class selection : int {
    unreachable = NTP_SELECTION_UNREACHABLE,
    truechimer = NTP_SELECTION_TRUECHIMER,
    falseticker = NTP_SELECTION_FALSETICKER,
    unusable = NTP_SELECTION_UNUSABLE,
    duplicate = NTP_SELECTION_DUPLICATE,
    candidate = NTP_SELECTION_CANDIDATE,
};

/** What a source has of Network Time Security. */
enum class nts_state : int {
    off = NTP_NTS_OFF,
    no_keys = NTP_NTS_NO_KEYS,
    provisional = NTP_NTS_PROVISIONAL,
    unreviewed = NTP_NTS_UNREVIEWED,
    authenticated = NTP_NTS_AUTHENTICATED,
};

/** The leap indicator (RFC 5905). */
enum class leap : int {
    none = NTP_LEAP_NONE,
    insert = NTP_LEAP_INSERT,
    remove = NTP_LEAP_DELETE,
    unknown = NTP_LEAP_UNKNOWN,
};

/** Why an answer, or a source, was refused. */
enum class reason : int {
    malformed = NTP_REASON_MALFORMED,
    origin = NTP_REASON_ORIGIN,
    authentication = NTP_REASON_AUTHENTICATION,
    nak = NTP_REASON_NAK,
    rate = NTP_REASON_RATE,
    deny = NTP_REASON_DENY,
    kiss = NTP_REASON_KISS,
    unsynchronized = NTP_REASON_UNSYNCHRONIZED,
    loop = NTP_REASON_LOOP,
    no_timestamp = NTP_REASON_NO_TIMESTAMP,
    root_distance = NTP_REASON_ROOT_DISTANCE,
    hold = NTP_REASON_HOLD,
    negative_delay = NTP_REASON_NEGATIVE_DELAY,
    late = NTP_REASON_LATE,
    silence = NTP_REASON_SILENCE,
    network = NTP_REASON_NETWORK,
    contradiction = NTP_REASON_CONTRADICTION,
    falseticker = NTP_REASON_FALSETICKER,
    no_cookie = NTP_REASON_NO_COOKIE,
};

/** What authenticated servers are to those that are not. See ntp_authentication. */
enum class authentication : int {
    ignore = NTP_AUTHENTICATION_IGNORE,
    mix = NTP_AUTHENTICATION_MIX,
    require = NTP_AUTHENTICATION_REQUIRE,
};

/** What a server is given beside its name; the members are those of NTP_SERVER_... */
struct server_options {
    /** The id of the key that its answers must be authenticated by; 0 for none. */
    std::uint32_t key = 0;
    bool require = false;
    bool prefer = false;
    bool trust = false;
    /** Network Time Security; " nts" behind the name does the same. */
    bool nts = false;
};

/** How two readings lie to one another. */
enum class relation : int {
    before = NTP_RELATION_BEFORE,
    overlap = NTP_RELATION_OVERLAP,
    after = NTP_RELATION_AFTER,
};

/** The clocks of a machine that stamps are taken on. */
enum class timescale : int {
    raw = NTP_TIMESCALE_RAW,
    monotonic = NTP_TIMESCALE_MONOTONIC,
    boottime = NTP_TIMESCALE_BOOTTIME,
    realtime = NTP_TIMESCALE_REALTIME,
};

/** What has happened to a clock. Expect bits that are not listed here. */
class events {
public:
    constexpr events() noexcept = default;
    constexpr explicit events(std::uint32_t bits) noexcept : bits_{bits} {}

    constexpr bool synchronized() const noexcept { return has(NTP_EVENT_SYNCHRONIZED); }
    constexpr bool lost() const noexcept { return has(NTP_EVENT_LOST); }
    constexpr bool disrupted() const noexcept { return has(NTP_EVENT_DISRUPTED); }
    constexpr bool stepped() const noexcept { return has(NTP_EVENT_STEPPED); }
    /** Whether anything has happened. */
    constexpr explicit operator bool() const noexcept { return bits_ != 0; }
    /** As C has it. */
    constexpr std::uint32_t c() const noexcept { return bits_; }

private:
    constexpr bool has(std::uint32_t bit) const noexcept { return (bits_ & bit) != 0; }

    std::uint32_t bits_ = 0;
};

/** Names as in the documentation: "SYNCHRONIZED", "truechimer". The text is static. */
inline const char* name(state value) noexcept {
    return ntp_state_name(static_cast<std::int32_t>(value));
}
inline const char* name(selection value) noexcept {
    return ntp_selection_name(static_cast<std::int32_t>(value));
}
inline const char* name(reason value) noexcept {
    return ntp_reason_name(static_cast<std::int32_t>(value));
}

inline const char* name(nts_state value) noexcept {
    return ntp_nts_state_name(static_cast<std::int32_t>(value));
}

/** The version of the library that is running; NTPCLOCK_VERSION_STRING is the header's. */
inline const char* version() noexcept {
    return ntp_version_string();
}

/** The sentence of this thread's last failure; after a wait_for() that gave false, what each source suffered. */
inline std::string last_error() {
    return ntp_last_error();
}

/** The category of ntp::errc. Codes compare equal to the std::errc that says the same. */
inline const std::error_category& error_category() noexcept {
    class category final : public std::error_category {
    public:
        const char* name() const noexcept override {
            return "ntp";
        }
        std::string message(int code) const override {
            return ntp_result_message(code);
        }
        std::error_condition default_error_condition(int code) const noexcept override {
            switch (static_cast<errc>(code)) {
            case errc::invalid_argument:
            case errc::invalid_server:
            case errc::no_servers:
                return std::errc::invalid_argument;
            case errc::unsupported:
                return std::errc::not_supported;
            case errc::timeout:
                return std::errc::timed_out;
            case errc::stopped:
                return std::errc::operation_canceled;
            default:
                return {code, *this};
            }
        }
    };
    static const category instance;
    return instance;
}

inline std::error_code make_error_code(errc value) noexcept {
    return {static_cast<int>(value), error_category()};
}

/** What a failing call throws: code() says which failure, what() also what it concerns. */
class error : public std::system_error {
public:
    error(int result, const std::string& detail) : std::system_error{result, error_category(), detail} {}
};

namespace detail {

/** Throws what `result` says, unless it is success. */
inline void check(ntp_result result) {
    if (result != NTP_OK) {
        throw error{static_cast<int>(result), ntp_last_error()};
    }
}

inline std::int64_t to_unix(time_point time) noexcept {
    return time.time_since_epoch().count();
}

inline time_point to_time(std::int64_t unix_ns) noexcept {
    return time_point{nanoseconds{unix_ns}};
}

/** A duration for which INT64_MAX stands for "not known". */
inline std::optional<nanoseconds> known(std::int64_t ns) noexcept {
    if (ns == std::numeric_limits<std::int64_t>::max()) {
        return std::nullopt;
    }
    return nanoseconds{ns};
}

/** Handles are freed by the function that belongs to their type. */
struct release {
    void operator()(ntp_config* config) const noexcept { ntp_config_free(config); }
    void operator()(ntp_clock* clock) const noexcept { ntp_clock_free(clock); }
    void operator()(ntp_server_config* config) const noexcept { ntp_server_config_free(config); }
    void operator()(ntp_server* server) const noexcept { ntp_server_free(server); }
};

template <class Handle>
using owner = std::unique_ptr<Handle, release>;

/** The handle, or an error for owners that were moved from: a NULL clock would mean the process-wide one. */
template <class Handle>
Handle* held(const owner<Handle>& handle) {
    if (!handle) {
        throw error{NTP_ERR_INVALID_ARGUMENT, "moved from"};
    }
    return handle.get();
}

/** A string as C has it; an error for one that C would cut: behind a NUL nothing would be read. */
inline const char* text(const char* name, const std::string& value) {
    const std::size_t end = value.find('\0');
    if (end != std::string::npos) {
        throw error{NTP_ERR_INVALID_ARGUMENT,
                    "`" + std::string{name} + "` has a NUL in it, behind `" + value.substr(0, end) + "`"};
    }
    return value.c_str();
}

/** The bound to wait for: for C nothing and less is any bound, here it is none that a clock could have. */
inline std::int64_t to_max_bound(nanoseconds bound) {
    if (bound < nanoseconds::zero()) {
        throw error{NTP_ERR_INVALID_ARGUMENT,
                    "`bound` is " + std::to_string(bound.count()) + " ns; it must not be below zero"};
    }
    return bound == nanoseconds::zero() ? 1 : bound.count();
}

/** Any timeout in whole milliseconds, rounded up so that a short one does not become none, and held at the longest. */
template <class Rep, class Period>
std::int64_t to_ms(std::chrono::duration<Rep, Period> timeout) {
    // Compared in floating point, since hours::max() in milliseconds would overflow.
    using rough = std::chrono::duration<long double, std::milli>;
    constexpr std::int64_t longest = std::numeric_limits<std::int64_t>::max();
    if (!(rough{timeout}.count() > 0)) {
        return 0;
    }
    if (rough{timeout}.count() >= static_cast<long double>(longest)) {
        return longest;
    }
    return static_cast<std::int64_t>(std::chrono::ceil<std::chrono::milliseconds>(timeout).count());
}

}  // namespace detail

/** One reading of a clock: the time, and the interval that holds UTC. */
class reading {
public:
    explicit reading(const ntp_reading& raw) noexcept : raw_{raw} {}

    time_point time() const noexcept { return detail::to_time(raw_.unix_ns); }
    /** UTC is not before this; time_point::min() when unknown. */
    time_point earliest() const noexcept { return detail::to_time(raw_.earliest_ns); }
    /** UTC is not after this; time_point::max() when unknown. */
    time_point latest() const noexcept { return detail::to_time(raw_.latest_ns); }

    /** UTC lies in time() ± this; nothing when unknown. */
    std::optional<nanoseconds> error_bound() const noexcept {
        if (earliest() == time_point::min() || latest() == time_point::max()) {
            return std::nullopt;
        }
        const nanoseconds before = time() - earliest();
        const nanoseconds after = latest() - time();
        return before < after ? after : before;
    }

    ntp::state state() const noexcept { return static_cast<ntp::state>(raw_.state); }
    /** Whether the interval means something: synchronized or in holdover. */
    explicit operator bool() const noexcept {
        return state() == ntp::state::synchronized || state() == ntp::state::holdover;
    }

    /** Within one epoch readings never run backwards; 0 before the first synchronisation. */
    std::uint32_t epoch() const noexcept { return raw_.epoch; }
    /** The raw counter: one origin per boot, never slewed. */
    nanoseconds raw() const noexcept { return nanoseconds{raw_.raw_ns}; }
    /** Since the newest exchange that counted; nothing before the first. */
    std::optional<nanoseconds> age() const noexcept { return detail::known(raw_.age_ns); }
    ntp::leap leap() const noexcept { return static_cast<ntp::leap>(raw_.leap); }
    std::optional<std::chrono::seconds> tai_minus_utc() const noexcept {
        if (raw_.tai_minus_utc == NTPCLOCK_TAI_UNKNOWN) {
            return std::nullopt;
        }
        return std::chrono::seconds{raw_.tai_minus_utc};
    }

    /** Whether interval and estimate rest on authenticated sources alone, whose certificates hold at that very time. */
    bool authenticated() const noexcept { return flag(NTP_FLAG_AUTHENTICATED); }
    /** The time rests on a source whose certificate could be checked at no trustworthy time yet. */
    bool provisional() const noexcept { return flag(NTP_FLAG_PROVISIONAL); }
    bool slewing() const noexcept { return flag(NTP_FLAG_SLEWING); }
    /** Reserved: no version sets it yet. */
    bool smeared() const noexcept { return flag(NTP_FLAG_SMEARED); }
    bool leap_pending() const noexcept { return flag(NTP_FLAG_LEAP_PENDING); }
    /** Whether other servers of the pools contradict those that are polled. See ntp_config_set_khronos. */
    bool vetoed() const noexcept { return flag(NTP_FLAG_VETOED); }

    /** As C has it. */
    const ntp_reading& c() const noexcept { return raw_; }

private:
    bool flag(std::uint32_t bit) const noexcept { return (raw_.flags & bit) != 0; }

    ntp_reading raw_;
};

/** Whether `first` is certainly of an earlier or of a later instant than `second`, of whatever clock or host. */
inline relation compare(const reading& first, const reading& second) noexcept {
    return static_cast<relation>(ntp_reading_compare(&first.c(), &second.c()));
}

/** When a clock of the machine will show that some point of UTC has come: its values, not UTC. */
struct deadline {
    /** The best guess. */
    nanoseconds stamp;
    /** Before this UTC has certainly not come there. */
    nanoseconds earliest;
    /** From this on it certainly has. */
    nanoseconds latest;
};

/** UTC minus the system clock: add it to the system clock. */
struct offset {
    /** 0 before the first synchronisation. */
    nanoseconds value;
    /** The true offset lies within ± this; nothing when unknown. */
    std::optional<nanoseconds> bound;
};

/** One source as the clock sees it; the members are ntp_source_info's. */
struct source : ntp_source_info {
    explicit source(const ntp_source_info& info) noexcept : ntp_source_info(info) {}

    ntp::selection verdict() const noexcept { return static_cast<ntp::selection>(selection); }
    /** Nothing while it tells no time, or we have none. */
    std::optional<nanoseconds> offset() const noexcept { return detail::known(offset_ns); }
    std::optional<nanoseconds> delay() const noexcept { return detail::known(delay_ns); }
    std::optional<nanoseconds> estimated_error() const noexcept { return detail::known(estimated_error_ns); }
    std::optional<nanoseconds> bound() const noexcept { return detail::known(bound_ns); }
    std::optional<nanoseconds> age() const noexcept { return detail::known(age_ns); }
    /** What it has of Network Time Security; the members nts_... tell more. */
    ntp::nts_state security() const noexcept { return static_cast<ntp::nts_state>(nts); }
    bool authenticated() const noexcept { return (options & NTP_SERVER_AUTHENTICATED) != 0; }
    /** How often it, or an answer of it, was refused for this reason. */
    std::uint64_t refused(ntp::reason why) const noexcept { return refusals[static_cast<std::size_t>(why)]; }
};

/** What can be asked of a clock, whoever owns it. `Owner` tells the handle: NULL for the process-wide clock. */
template <class Owner>
class readable {
public:
    /** Reads the clock: no lock, no system call. Fails only for an owner that was moved from. */
    reading now() const {
        ntp_reading raw;
        // The reading is filled whatever the result says, and its state() tells the same.
        static_cast<void>(ntp_clock_now(handle(), &raw));
        return reading{raw};
    }

    /** As now(), but disrupted if the machine was suspended and the clock's thread has not run since. See ntp_clock_now_checked. */
    reading now_checked() const {
        ntp_reading raw;
        static_cast<void>(ntp_clock_now_checked(handle(), &raw));
        return reading{raw};
    }

    /** Why the clock's thread is not woken when the machine resumes from a suspend; nothing if all is well. */
    std::optional<std::string> resume_watch_fault() const {
        return fault(ntp_clock_check_resume_watch(handle()), NTP_ERR_SYSTEM);
    }

    /** UTC minus the system clock at the call. */
    ntp::offset offset() const {
        std::int64_t value = 0;
        std::int64_t bound = 0;
        // Both are filled whatever the result says; a bound that is not known tells the same.
        static_cast<void>(ntp_clock_offset(handle(), &value, &bound));
        return {nanoseconds{value}, detail::known(bound)};
    }

    /**
     * Waits for ever until the clock is synchronised, with an error bound of at most `bound` if given: no clock ever has
     * one of 0, and below that it throws errc::invalid_argument.
     */
    void wait(nanoseconds bound = nanoseconds::max()) const {
        detail::check(ntp_clock_wait(handle(), detail::to_max_bound(bound), -1));
    }

    /** The same up to `timeout`. False if it ran out; last_error() then names each source and its last fault. */
    template <class Rep, class Period>
    bool wait_for(std::chrono::duration<Rep, Period> timeout, nanoseconds bound = nanoseconds::max()) const {
        const ntp_result result = ntp_clock_wait(handle(), detail::to_max_bound(bound), detail::to_ms(timeout));
        if (result == NTP_ERR_TIMEOUT) {
            return false;
        }
        detail::check(result);
        return true;
    }

    /** Reads the clock for a caller that needs an error bound of at most `max_bound`; throws errc::bound_exceeded. */
    reading now_within(nanoseconds max_bound) const {
        ntp_reading raw;
        detail::check(ntp_clock_now_within(handle(), max_bound.count(), &raw));
        return reading{raw};
    }

    /** Whether UTC is certainly after `time`; false also when nothing is known. */
    bool after(time_point time) const { return ntp_clock_after(handle(), detail::to_unix(time)) != 0; }
    /** Whether UTC is certainly before `time`; false also when nothing is known. */
    bool before(time_point time) const { return ntp_clock_before(handle(), detail::to_unix(time)) != 0; }

    /** Commit wait: returns when UTC is certainly after `time`. See ntp_clock_wait_until_past. */
    void wait_until_past(time_point time) const {
        detail::check(ntp_clock_wait_until_past(handle(), detail::to_unix(time), -1));
    }
    /** Waits up to `timeout`; false if it ran out. Throws errc::not_synchronized if nothing was known of UTC then. */
    template <class Rep, class Period>
    bool wait_until_past(time_point time, std::chrono::duration<Rep, Period> timeout) const {
        const ntp_result result =
            ntp_clock_wait_until_past(handle(), detail::to_unix(time), detail::to_ms(timeout));
        if (result == NTP_ERR_TIMEOUT) {
            return false;
        }
        detail::check(result);
        return true;
    }

    /** Returns when the clock shows `time`, however it is corrected meanwhile. */
    void sleep_until(time_point time) const {
        detail::check(ntp_clock_sleep_until(handle(), detail::to_unix(time)));
    }

    /** Where UTC was when a clock of this machine showed `stamp`. Throws errc::unconvertible. See ntp_clock_convert. */
    reading convert(timescale scale, nanoseconds stamp) const {
        ntp_reading raw;
        detail::check(ntp_clock_convert(handle(), static_cast<std::int32_t>(scale), stamp.count(), &raw));
        return reading{raw};
    }
    /** What a std::chrono::steady_clock, which is CLOCK_MONOTONIC on Linux, was read as. */
    reading convert(std::chrono::steady_clock::time_point stamp) const {
        return convert(timescale::monotonic, stamp.time_since_epoch());
    }
    /** When a clock of this machine, but the system clock, will show that UTC is `time`. See ntp_clock_deadline. */
    ntp::deadline deadline(timescale scale, time_point time) const {
        ntp_deadline raw;
        detail::check(ntp_clock_deadline(
            handle(), static_cast<std::int32_t>(scale), detail::to_unix(time), &raw, sizeof raw));
        return {nanoseconds{raw.stamp_ns}, nanoseconds{raw.earliest_ns}, nanoseconds{raw.latest_ns}};
    }

    /** A descriptor that is readable while there are events to take; it stays the clock's. See ntp_clock_event_fd. */
    int event_fd() const {
        int descriptor = -1;
        detail::check(ntp_clock_event_fd(handle(), &descriptor));
        return descriptor;
    }

    /** What has happened since this was last asked. */
    events take_events() const { return events{ntp_clock_take_events(handle())}; }

    /**
     * Has `callback` called with whatever happens, on a thread of the library's; an empty one takes back what this owner
     * was given. See ntp_clock_on_event for what it may do, which is nearly everything. It must not throw. One thread at
     * a time.
     *
     * It is taken back at the end of the client, or of the session that was given it. A clock has one callback: that of
     * another session replaces it, and stays when this one ends.
     */
    void on_event(std::function<void(events)> callback) {
        // The callback may replace itself: whoever calls it holds it.
        using held = std::shared_ptr<const std::function<void(events)>>;
        std::unique_ptr<held> next;
        if (callback) {
            next = std::make_unique<held>(std::make_shared<const std::function<void(events)>>(std::move(callback)));
        }
        const auto call = [](void* context, std::uint32_t bits) noexcept {
            const held running = *static_cast<held*>(context);
            (*running)(events{bits});
        };
        // Before it can be called, since it may replace itself.
        callback_.swap(next);
        const ntp_result given = callback_ ? ntp_clock_on_event(handle(), call, callback_.get())
            : next                         ? ntp_clock_on_event(handle(), nullptr, next.get())
                                           : NTP_OK;
        if (given != NTP_OK) {
            callback_.swap(next);
            detail::check(given);
        }
    }

    /** The clock's state in numbers. */
    ntp_report report() const {
        ntp_report report;
        detail::check(ntp_clock_report(handle(), &report, sizeof report));
        return report;
    }

    /** One entry a source. */
    std::vector<source> sources() const {
        // A pool may resolve between two calls: ask again until all had room.
        std::vector<ntp_source_info> found(8);
        std::size_t count = 0;
        for (;;) {
            detail::check(ntp_clock_sources(handle(), found.data(), sizeof found[0], found.size(), &count));
            if (count <= found.size()) {
                found.resize(count);
                return std::vector<source>(found.begin(), found.end());
            }
            found.resize(count);
        }
    }

    /** In a forked child: makes the clock's thread anew; elsewhere harmless. See ntp_clock_restart. */
    void restart() const { detail::check(ntp_clock_restart(handle())); }

    /** Why the state file was refused at the start, or could not be written last; nothing if all is well. */
    std::optional<std::string> state_file_fault() const {
        return fault(ntp_clock_check_state_file(handle()), NTP_ERR_STATE_FILE);
    }

protected:
    readable() = default;
    ~readable() = default;
    readable(readable&&) noexcept = default;
    readable& operator=(readable&&) noexcept = default;

    void swap_callbacks(readable& other) noexcept { callback_.swap(other.callback_); }
    /** Ends the callback that this owner has given the process-wide clock, unless another one has replaced it. */
    void take_callback_back() noexcept {
        if (callback_) {
            // Fails for no reason that a destructor could do something about.
            static_cast<void>(ntp_clock_on_event(nullptr, nullptr, callback_.get()));
        }
    }

private:
    /** What the library calls; it outlives the registration, since owners end that first. */
    std::unique_ptr<std::shared_ptr<const std::function<void(events)>>> callback_;

    const ntp_clock* handle() const { return static_cast<const Owner&>(*this).c(); }

    /** The sentence behind `result` if that is `told`, nothing after success. */
    static std::optional<std::string> fault(ntp_result result, ntp_result told) {
        if (result == told) {
            return last_error();
        }
        detail::check(result);
        return std::nullopt;
    }
};

/** The process-wide clock as a <chrono> clock. Before the first synchronisation it shows the system clock. */
struct clock {
    using duration = nanoseconds;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = ntp::time_point;
    static constexpr bool is_steady = false;

    clock() = delete;

    static time_point now() noexcept { return detail::to_time(ntp_now()); }

    /** Quicker, for one thread's intervals: ntp_now_relaxed() says what it must not be compared with. */
    static time_point now_relaxed() noexcept { return detail::to_time(ntp_now_relaxed()); }
};

/** How a clock behaves. Setters give back the configuration, so that they can be chained. */
class config {
public:
    config() : handle_{ntp_config_new()} {}
    explicit config(const std::string& servers) : config{} { add_servers(servers); }

    config& add_servers(const std::string& list) {
        return done(ntp_config_add_servers(detail::held(handle_), detail::text("list", list)));
    }
    /** The same, with a key and a degree of trust. See ntp_config_add_servers_with. */
    config& add_servers(const std::string& list, const server_options& options) {
        const std::uint32_t bits = (options.require ? NTP_SERVER_REQUIRE : 0U)
            | (options.prefer ? NTP_SERVER_PREFER : 0U) | (options.trust ? NTP_SERVER_TRUST : 0U)
            | (options.nts ? NTP_SERVER_NTS : 0U);
        return done(ntp_config_add_servers_with(detail::held(handle_), detail::text("list", list), bits, options.key));
    }
    /** Reads the symmetric keys in the file at `path`, which nobody else may read. See ntp_config_load_keys. */
    config& load_keys(const std::string& path) {
        return done(ntp_config_load_keys(detail::held(handle_), detail::text("path", path)));
    }
    config& authentication(ntp::authentication mode) {
        return done(ntp_config_set_authentication(detail::held(handle_), static_cast<std::int32_t>(mode)));
    }
    /** Trusts the certificates in the file at `path` (PEM) to vouch for servers with NTS, beside those of the platform. */
    config& add_trusted_certificates(const std::string& path) {
        return done(ntp_config_add_trusted_certificates(detail::held(handle_), detail::text("path", path)));
    }
    /** Whether the certificates that the platform trusts vouch for servers with NTS. */
    config& platform_trust(bool trusted) {
        return done(ntp_config_set_platform_trust(detail::held(handle_), trusted ? 1 : 0));
    }
    /** Whether other servers of the pools are asked now and then. See ntp_config_set_khronos. */
    config& khronos(bool enabled) {
        return done(ntp_config_set_khronos(detail::held(handle_), enabled ? 1 : 0));
    }
    /** Shortest and longest poll interval, as exponents of 2 in seconds. */
    config& poll(std::int32_t min_exponent, std::int32_t max_exponent) {
        return done(ntp_config_set_poll(detail::held(handle_), min_exponent, max_exponent));
    }
    config& fault_limit(std::int32_t sources) {
        return done(ntp_config_set_fault_limit(detail::held(handle_), sources));
    }
    /** Asks servers when their last reply really left (RFC 9769). */
    config& interleaved(bool is_interleaved = true) {
        return done(ntp_config_set_interleaved(detail::held(handle_), is_interleaved ? 1 : 0));
    }
    config& min_agreeing(std::int32_t sources) {
        return done(ntp_config_set_min_agreeing(detail::held(handle_), sources));
    }
    config& step_threshold(nanoseconds threshold) {
        return done(ntp_config_set_step_threshold(detail::held(handle_), threshold.count()));
    }
    config& bound_cap(nanoseconds cap) {
        return done(ntp_config_set_bound_cap(detail::held(handle_), cap.count()));
    }
    config& drift_limit(double short_ppm, nanoseconds knee, double long_ppm) {
        return done(ntp_config_set_drift_limit(detail::held(handle_), short_ppm, knee.count(), long_ppm));
    }
    config& frequency_limit_ppm(double ppm) {
        return done(ntp_config_set_frequency_limit(detail::held(handle_), ppm));
    }
    /** Starts warm from the file at `path`, and saves the state there; see state_file_fault(). */
    config& state_file(const std::string& path) {
        return done(ntp_config_set_state_file(detail::held(handle_), detail::text("path", path)));
    }
    /** Shares the page at `path` with other processes; see ntp_config_set_shared_page. */
    config& shared_page(const std::string& path) {
        return done(ntp_config_set_shared_page(detail::held(handle_), detail::text("path", path)));
    }
    /** Whether a forked child restarts the clock by itself. See ntp_config_set_restart_after_fork. */
    config& restart_after_fork(bool restart) {
        return done(ntp_config_set_restart_after_fork(detail::held(handle_), restart ? 1 : 0));
    }

    /** As C has it. */
    const ntp_config* c() const { return detail::held(handle_); }

private:
    config& done(ntp_result result) {
        detail::check(result);
        return *this;
    }

    detail::owner<ntp_config> handle_;
};

/** The process-wide clock, running: starts are counted, and the last session's end stops it. */
class session : public readable<session> {
public:
    /** Takes the servers from the environment variable NTPCLOCK_SERVERS. */
    session() { detail::check(ntp_start(nullptr)); }
    /** A comma-separated list, as for ntp_start. */
    explicit session(const std::string& servers) { detail::check(ntp_start(detail::text("servers", servers))); }
    /** With all that can be configured. */
    explicit session(const config& wishes) { detail::check(ntp_start_with(wishes.c())); }

    session(session&& other) noexcept
        : readable{std::move(other)}, started_{std::exchange(other.started_, false)} {}
    session& operator=(session&& other) noexcept {
        session taken{std::move(other)};
        swap_callbacks(taken);
        std::swap(started_, taken.started_);
        return *this;
    }
    ~session() {
        take_callback_back();
        if (started_) {
            ntp_stop();
        }
    }

    /** As C has it: NULL, the process-wide clock; an error for a session that was moved from, which has started none. */
    const ntp_clock* c() const {
        if (!started_) {
            throw error{NTP_ERR_INVALID_ARGUMENT, "moved from"};
        }
        return nullptr;
    }

private:
    bool started_ = true;
};

/** A clock of one's own, with its own thread and sources; it stops at the end of its scope. */
class client : public readable<client> {
public:
    explicit client(const config& wishes) {
        ntp_clock* started = nullptr;
        detail::check(ntp_clock_start(wishes.c(), &started));
        handle_.reset(started);
    }
    explicit client(const std::string& servers) : client{config{servers}} {}

    client(client&& other) noexcept = default;
    client& operator=(client&& other) noexcept {
        // The clock first: until it is freed it may call its callback.
        handle_ = std::move(other.handle_);
        readable::operator=(std::move(other));
        return *this;
    }
    ~client() = default;

    /** Why the page that processes share cannot be used, or is not where it was; nothing if all is well. */
    std::optional<std::string> shared_page_fault() const {
        return fault(ntp_clock_check_shared_page(c()), NTP_ERR_SHARED_PAGE);
    }

    /** As C has it; an error for a client that was moved from. */
    const ntp_clock* c() const { return detail::held(handle_); }

private:
    static std::optional<std::string> fault(ntp_result result, ntp_result expected) {
        if (result == expected) {
            return last_error();
        }
        detail::check(result);
        return std::nullopt;
    }

    detail::owner<ntp_clock> handle_;
};

/** Where a server listens, and whose time it serves. */
class server_config {
public:
    server_config() : handle_{ntp_server_config_new()} {}

    /** `address`, `address:port` or `[v6]:port`; port 0 picks a free one. */
    server_config& listen(const std::string& address) {
        detail::check(ntp_server_config_add_listen(detail::held(handle_), detail::text("address", address)));
        return *this;
    }
    /** Serves the system clock without any upstream; the dispersion is the caller's claim. */
    server_config& local(std::int32_t stratum, nanoseconds root_dispersion) {
        detail::check(ntp_server_config_set_local(detail::held(handle_), stratum, root_dispersion.count()));
        return *this;
    }

    /** Answers clients of `address/length`, and no others but those of other such prefixes; the longest one counts. */
    server_config& allow(const std::string& prefix) {
        detail::check(ntp_server_config_allow(detail::held(handle_), detail::text("prefix", prefix)));
        return *this;
    }
    /** Ignores clients of `address/length`; the longest prefix counts. */
    server_config& deny(const std::string& prefix) {
        detail::check(ntp_server_config_deny(detail::held(handle_), detail::text("prefix", prefix)));
        return *this;
    }
    /** Answers each address so often a second over time, and so often at once; 0 a second answers everything. */
    server_config& rate_limit(std::int64_t per_second, std::int64_t burst) {
        detail::check(ntp_server_config_set_rate_limit(detail::held(handle_), per_second, burst));
        return *this;
    }
    /** Unless set, one for each processor. */
    server_config& threads(std::int32_t number) {
        detail::check(ntp_server_config_set_threads(detail::held(handle_), number));
        return *this;
    }
    /** Says nothing while the clock is not synchronised, instead of saying so. */
    server_config& silent_unless_synchronized(bool is_silent = true) {
        detail::check(ntp_server_config_set_silent_unless_synchronized(detail::held(handle_), is_silent ? 1 : 0));
        return *this;
    }

    /** Serves Network Time Security beside plain NTP, with these files in PEM; see ntp_server_config_set_nts. */
    server_config& nts(const std::string& certificate, const std::string& private_key) {
        const char* const chain = detail::text("certificate", certificate);
        detail::check(ntp_server_config_set_nts(detail::held(handle_), chain, detail::text("private_key", private_key)));
        return *this;
    }
    /** Exchanges keys at this port; 0 picks a free one. Unless set, 4460. */
    server_config& nts_port(std::int32_t port) {
        detail::check(ntp_server_config_set_nts_port(detail::held(handle_), port));
        return *this;
    }
    /** Seals cookies with keys that servers share; see ntp_server_config_set_nts_cookie_keys. */
    server_config& nts_cookie_keys(const std::string& path) {
        detail::check(ntp_server_config_set_nts_cookie_keys(detail::held(handle_), detail::text("path", path)));
        return *this;
    }

    /** As C has it. */
    const ntp_server_config* c() const { return detail::held(handle_); }

private:
    detail::owner<ntp_server_config> handle_;
};

/** Answers NTP clients until the end of its scope. */
class server {
public:
    /** Serves the process-wide clock, or what `wishes` says. */
    explicit server(const server_config& wishes) : server{nullptr, wishes} {}
    server(const client& clock, const server_config& wishes) : server{clock.c(), wishes} {}

    /** The port of the address that was listed as number `index`. */
    std::uint16_t port(std::size_t index = 0) const {
        std::uint16_t port = 0;
        detail::check(ntp_server_port(detail::held(handle_), index, &port));
        return port;
    }

    /** The port at which keys are exchanged, of address number `index`. */
    std::uint16_t nts_port(std::size_t index = 0) const {
        std::uint16_t port = 0;
        detail::check(ntp_server_nts_port(detail::held(handle_), index, &port));
        return port;
    }

    /** What it has done since its start. */
    ntp_server_counters statistics() const {
        ntp_server_counters counters;
        detail::check(ntp_server_statistics(detail::held(handle_), &counters, sizeof counters));
        return counters;
    }

private:
    server(const ntp_clock* clock, const server_config& wishes) {
        ntp_server* started = nullptr;
        detail::check(ntp_server_start(clock, wishes.c(), &started));
        handle_.reset(started);
    }

    detail::owner<ntp_server> handle_;
};

/** What one exchange told; the members are ntp_query_result's. */
struct query_result : ntp_query_result {
    explicit query_result(const ntp_query_result& result) noexcept : ntp_query_result(result) {}

    nanoseconds offset() const noexcept { return nanoseconds{offset_ns}; }
    nanoseconds bound() const noexcept { return nanoseconds{bound_ns}; }
    nanoseconds delay() const noexcept { return nanoseconds{delay_ns}; }
    time_point time() const noexcept { return detail::to_time(unix_ns); }
};

/** Asks one server once, with the certificates that `wishes` trusts; see ntp_query_with. */
template <class Rep, class Period>
query_result query(const config& wishes, const std::string& server, std::chrono::duration<Rep, Period> timeout) {
    ntp_query_result result;
    const char* const name = detail::text("server", server);
    detail::check(ntp_query_with(wishes.c(), name, detail::to_ms(timeout), &result, sizeof result));
    return query_result{result};
}

/** Asks one server once: no clock, nothing kept. A name is looked up by the helper thread of the process. */
template <class Rep, class Period>
query_result query(const std::string& server, std::chrono::duration<Rep, Period> timeout) {
    ntp_query_result result;
    detail::check(ntp_query(detail::text("server", server), detail::to_ms(timeout), &result, sizeof result));
    return query_result{result};
}

}  // namespace ntp

template <>
struct std::is_error_code_enum<ntp::errc> : std::true_type {};

#endif
