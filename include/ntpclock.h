/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * ntpclock.h - synchronised UTC with an honest error bound, from NTP, inside your program.
 *
 * Generated from src/capi; do not edit. `BLESS=1 cargo test --test header` writes it anew.
 *
 * Pointers must be valid as each function's contract says; beyond that no call crashes: NULL and
 * nonsense give NTP_ERR_INVALID_ARGUMENT, and a bug in the library gives NTP_ERR_INTERNAL.
 *
 * No call is a cancellation point: a request to cancel a thread (pthread_cancel) that is in a call, or comes to one,
 * waits until the call has returned, which takes a waiting call as long as it was to wait. A thread that may be
 * cancelled at any instruction (PTHREAD_CANCEL_ASYNCHRONOUS) must make no call.
 */

#ifndef NTPCLOCK_H
#define NTPCLOCK_H

#include <stddef.h>
#include <stdint.h>

/** The version this header belongs to; `ntp_version_string` tells the library's. */
#define NTPCLOCK_VERSION_MAJOR 0
#define NTPCLOCK_VERSION_MINOR 1
#define NTPCLOCK_VERSION_PATCH 0
#define NTPCLOCK_VERSION_STRING "0.1.0"
/** The version as one number: 1.2.3 is 10203. */
#define NTPCLOCK_VERSION_NUMBER \
    (NTPCLOCK_VERSION_MAJOR * 10000 + NTPCLOCK_VERSION_MINOR * 100 + NTPCLOCK_VERSION_PATCH)

/**
 * `ntp_reading.flags` and `ntp_report.flags`: what is published rests on authenticated sources alone, whose
 * certificates hold at that very time.
 */
#define NTP_FLAG_AUTHENTICATED (1 << 0)

/**
 * `ntp_reading.flags`: the time rests on a source whose certificate could be checked at no trustworthy time yet: the
 * system clock is out of the question, and too few sources agree.
 */
#define NTP_FLAG_PROVISIONAL (1 << 1)

/**
 * `ntp_reading.flags`: a correction is being slewed in, at up to 500 ppm.
 */
#define NTP_FLAG_SLEWING (1 << 2)

/**
 * `ntp_reading.flags`: reserved for sources that smear a leap second; no version sets it yet.
 */
#define NTP_FLAG_SMEARED (1 << 3)

/**
 * `ntp_reading.flags`: a leap second is announced.
 */
#define NTP_FLAG_LEAP_PENDING (1 << 4)

/**
 * `ntp_reading.flags` and `ntp_report.flags`: other servers of the pools contradict those that are polled, so that
 * what these say is not believed, and what was published before may be wrong (`ntp_config_set_khronos`).
 */
#define NTP_FLAG_VETOED (1 << 5)

/**
 * A server's option: nothing is published unless at least one of the required sources agrees with it.
 */
#define NTP_SERVER_REQUIRE (1 << 0)

/**
 * A server's option: as long as preferred sources are believed, the others have no part in the estimate. The interval
 * stays what all agree on.
 */
#define NTP_SERVER_PREFER (1 << 1)

/**
 * A server's option: as long as trusted sources answer, they alone say where UTC lies; whoever misses that is a
 * falseticker. The interval then rests on them: at most (t-1)/3 of the t trusted ones lie, unless set otherwise.
 */
#define NTP_SERVER_TRUST (1 << 2)

/**
 * `ntp_source_info.options`: the source's answers are authenticated; others are refused.
 */
#define NTP_SERVER_AUTHENTICATED (1 << 3)

/**
 * Room in `ntp_source_info.refusals` for reasons, known and to come.
 */
#define NTPCLOCK_REASONS 32

/**
 * A server's option: Network Time Security; ` nts` behind the name does the same.
 */
#define NTP_SERVER_NTS (1 << 4)

/**
 * `ntp_reading.tai_minus_utc` when it is not known: INT16_MIN.
 */
#define NTPCLOCK_TAI_UNKNOWN INT16_MIN

/**
 * Room for an entry of a server list and its NUL.
 */
#define NTPCLOCK_NAME_SIZE 272

/**
 * Room for an address with a port and its NUL.
 */
#define NTPCLOCK_ADDRESS_SIZE 64

/**
 * Room for a source's last fault and its NUL.
 */
#define NTPCLOCK_FAULT_SIZE 256

/**
 * The clock became SYNCHRONIZED.
 */
#define NTP_EVENT_SYNCHRONIZED (1 << 0)

/**
 * The clock is no longer SYNCHRONIZED but in HOLDOVER, or no longer that but UNSYNCHRONIZED; also by its stop.
 */
#define NTP_EVENT_LOST (1 << 1)

/**
 * The clock became DISRUPTED: nothing older is to be trusted.
 */
#define NTP_EVENT_DISRUPTED (1 << 2)

/**
 * A new epoch has begun, and not the first: readings of before and after are not on one line.
 */
#define NTP_EVENT_STEPPED (1 << 3)

/**
 * What a call came to. Zero is success, every failure is negative.
 *
 * Numbers are never reused and never change their meaning: -1 to -19 are the caller's mistake, the
 * same call will fail again; -20 to -39 mean not now, the same call may succeed later; from -40 on the
 * system or the library itself is at fault. Expect numbers that this header does not list: a newer
 * library may have found a new way to fail.
 */
typedef enum {
    /**
     * The call did what it says.
     */
    NTP_OK = 0,
    /**
     * A pointer is NULL, a string is over-long or not UTF-8, or a value makes no sense.
     */
    NTP_ERR_INVALID_ARGUMENT = -1,
    /**
     * An entry of a server list does not follow the grammar.
     */
    NTP_ERR_INVALID_SERVER = -2,
    /**
     * No server is named: the list is empty or, where the environment was to name them, NTPCLOCK_SERVERS is
     * not set.
     */
    NTP_ERR_NO_SERVERS = -3,
    /**
     * The thing asked for is not part of this build.
     */
    NTP_ERR_UNSUPPORTED = -4,
    /**
     * The process-wide clock already runs with another server list, or with other settings.
     */
    NTP_ERR_ALREADY_RUNNING = -5,
    /**
     * The clock was never started, or is stopped already.
     */
    NTP_ERR_NOT_RUNNING = -6,
    /**
     * A file does not have the form it should.
     */
    NTP_ERR_MALFORMED = -7,
    /**
     * No synchronised time is to be had.
     */
    NTP_ERR_NOT_SYNCHRONIZED = -20,
    /**
     * The time ran out.
     */
    NTP_ERR_TIMEOUT = -21,
    /**
     * The clock was stopped while the call waited.
     */
    NTP_ERR_STOPPED = -22,
    /**
     * A host name has no address.
     */
    NTP_ERR_RESOLVE = -23,
    /**
     * A server's reply could not be used.
     */
    NTP_ERR_BAD_REPLY = -24,
    /**
     * The error bound is larger than the caller allows.
     */
    NTP_ERR_BOUND_EXCEEDED = -25,
    /**
     * Nothing honest can be said of a stamp.
     */
    NTP_ERR_UNCONVERTIBLE = -26,
    /**
     * A server was to be asked with Network Time Security, and there are no keys to do so.
     */
    NTP_ERR_KEY_EXCHANGE = -29,
    /**
     * The operating system refused something.
     */
    NTP_ERR_SYSTEM = -40,
    /**
     * A bug in ntpclock.
     */
    NTP_ERR_INTERNAL = -41,
    /**
     * A state file was refused, or could not be written; the clock runs all the same.
     */
    NTP_ERR_STATE_FILE = -42,
    /**
     * A page that processes share, or its lock file, cannot be used; or it was taken away from a clock that runs on
     * all the same.
     */
    NTP_ERR_SHARED_PAGE = -43,
} ntp_result;

/**
 * How far a clock's interval can be trusted.
 */
typedef enum {
    /**
     * Never synchronised (the reading is the system clock's), or the bound has passed its cap.
     */
    NTP_STATE_UNSYNCHRONIZED = 0,
    /**
     * Exchanges are fresh and enough sources agree.
     */
    NTP_STATE_SYNCHRONIZED = 1,
    /**
     * No fresh exchange, or no agreement, or a forked child: the interval is valid and growing.
     */
    NTP_STATE_HOLDOVER = 2,
    /**
     * Suspend, migration or a counter fault: not to be trusted until judged anew.
     */
    NTP_STATE_DISRUPTED = 3,
} ntp_state;

/**
 * Whose work the time is that a clock shows.
 */
typedef enum {
    /**
     * The clock's own: it shares no page.
     */
    NTP_ROLE_ALONE = 0,
    /**
     * The clock's own, and it writes the page that others share.
     */
    NTP_ROLE_LEADER = 1,
    /**
     * That of another clock, which leads; nobody's, where none is left.
     */
    NTP_ROLE_FOLLOWER = 2,
} ntp_role;

/**
 * What selection thinks of a source.
 */
typedef enum {
    /**
     * It has not answered yet, or no longer answers.
     */
    NTP_SELECTION_UNREACHABLE = 0,
    /**
     * Its interval overlaps the agreed one: it can be telling the truth.
     */
    NTP_SELECTION_TRUECHIMER = 1,
    /**
     * Its interval misses what the others agree on: it lies.
     */
    NTP_SELECTION_FALSETICKER = 2,
    /**
     * It answers, but says itself that its time is no good, or denies service.
     */
    NTP_SELECTION_UNUSABLE = 3,
    /**
     * Another name for a source that is counted already.
     */
    NTP_SELECTION_DUPLICATE = 4,
    /**
     * It answers, but no agreement has been found.
     */
    NTP_SELECTION_CANDIDATE = 5,
} ntp_selection;

/**
 * What a source has of Network Time Security.
 */
typedef enum {
    /**
     * Not asked for.
     */
    NTP_NTS_OFF = 0,
    /**
     * Asked for, and there are no keys: nothing is sent, and nothing believed.
     */
    NTP_NTS_NO_KEYS = 1,
    /**
     * There are keys. The certificate behind them could be checked at no trustworthy time yet.
     */
    NTP_NTS_PROVISIONAL = 2,
    /**
     * There are keys. The certificate behind them was checked at the system clock's time, not yet at the time
     * obtained.
     */
    NTP_NTS_UNREVIEWED = 3,
    /**
     * There are keys, and the certificate behind them holds at the time obtained.
     */
    NTP_NTS_AUTHENTICATED = 4,
} ntp_nts_state;

/**
 * How two readings lie to one another.
 */
typedef enum {
    /**
     * The first is certainly of an earlier instant.
     */
    NTP_RELATION_BEFORE = -1,
    /**
     * It cannot be told, or nothing is known of one of them.
     */
    NTP_RELATION_OVERLAP = 0,
    /**
     * The first is certainly of a later instant.
     */
    NTP_RELATION_AFTER = 1,
} ntp_relation;

/**
 * The leap indicator (RFC 5905), as found in the `leap` members.
 */
typedef enum {
    /**
     * No leap second is announced.
     */
    NTP_LEAP_NONE = 0,
    /**
     * The last minute of the month has 61 seconds.
     */
    NTP_LEAP_INSERT = 1,
    /**
     * The last minute of the month has 59 seconds.
     */
    NTP_LEAP_DELETE = 2,
    /**
     * Not synchronised: nothing is known.
     */
    NTP_LEAP_UNKNOWN = 3,
} ntp_leap;

/**
 * The clocks of a machine that stamps are taken on.
 */
typedef enum {
    /**
     * The raw counter, as in `ntp_reading.raw_ns`.
     */
    NTP_TIMESCALE_RAW = 0,
    /**
     * `CLOCK_MONOTONIC`.
     */
    NTP_TIMESCALE_MONOTONIC = 1,
    /**
     * `CLOCK_BOOTTIME`.
     */
    NTP_TIMESCALE_BOOTTIME = 2,
    /**
     * `CLOCK_REALTIME`, the system clock: what the kernel stamps datagrams and files with.
     */
    NTP_TIMESCALE_REALTIME = 3,
} ntp_timescale;

/**
 * Why an answer, or a source, was refused: places in `ntp_source_info.refusals`. Newer libraries may have further
 * ones.
 */
typedef enum {
    /**
     * No NTP packet of a server, or of another version.
     */
    NTP_REASON_MALFORMED = 0,
    /**
     * It does not answer our request: forged, old, or a second answer.
     */
    NTP_REASON_ORIGIN = 1,
    /**
     * It is not authenticated, or wrongly.
     */
    NTP_REASON_AUTHENTICATION = 2,
    /**
     * The server says that it cannot authenticate us; anybody can say so.
     */
    NTP_REASON_NAK = 3,
    /**
     * The server says that we ask too often.
     */
    NTP_REASON_RATE = 4,
    /**
     * The server denies service.
     */
    NTP_REASON_DENY = 5,
    /**
     * The server sent another kiss code.
     */
    NTP_REASON_KISS = 6,
    /**
     * The server says that it is not synchronised.
     */
    NTP_REASON_UNSYNCHRONIZED = 7,
    /**
     * The server follows this very host.
     */
    NTP_REASON_LOOP = 8,
    /**
     * A timestamp is missing.
     */
    NTP_REASON_NO_TIMESTAMP = 9,
    /**
     * The server says that it is 16 s or more from UTC.
     */
    NTP_REASON_ROOT_DISTANCE = 10,
    /**
     * The server answered before it was asked, or held the request for more than 4 s: a lie.
     */
    NTP_REASON_HOLD = 11,
    /**
     * The server held the request for longer than the exchange took: a lie.
     */
    NTP_REASON_NEGATIVE_DELAY = 12,
    /**
     * It came after its time.
     */
    NTP_REASON_LATE = 13,
    /**
     * No answer came in time.
     */
    NTP_REASON_SILENCE = 14,
    /**
     * The network, or the system, refused the request.
     */
    NTP_REASON_NETWORK = 15,
    /**
     * The source's own exchanges contradicted each other.
     */
    NTP_REASON_CONTRADICTION = 16,
    /**
     * The other sources agree on another time.
     */
    NTP_REASON_FALSETICKER = 17,
    /**
     * A request could not be made: there was no cookie left for it.
     */
    NTP_REASON_NO_COOKIE = 18,
} ntp_reason;

/**
 * What authenticated servers are to those that are not.
 */
typedef enum {
    /**
     * Nothing: all are judged alike.
     */
    NTP_AUTHENTICATION_IGNORE = 0,
    /**
     * Where there are both kinds, the authenticated ones are required and trusted (`NTP_SERVER_REQUIRE`,
     * `NTP_SERVER_TRUST`); the others may refine the estimate within.
     */
    NTP_AUTHENTICATION_MIX = 1,
    /**
     * The others have no say at all. A clock without any authenticated server does not start.
     */
    NTP_AUTHENTICATION_REQUIRE = 2,
} ntp_authentication;

/**
 * A running clock. Any number of threads may use it, until it is freed.
 */
typedef struct ntp_clock ntp_clock;

/**
 * How a clock behaves: its servers, and what is assumed of them and of the oscillator.
 */
typedef struct ntp_config ntp_config;

/**
 * A running server: it answers NTP clients until it is freed.
 */
typedef struct ntp_server ntp_server;

/**
 * Where a server listens, and whose time it serves.
 */
typedef struct ntp_server_config ntp_server_config;

/**
 * One reading of a clock: the time, and the interval that holds UTC. 64 bytes, frozen.
 */
typedef struct {
    /**
     * UTC, nanoseconds since 1970-01-01T00:00:00Z, POSIX counting (no leap seconds).
     */
    int64_t unix_ns;
    /**
     * UTC is not before this; INT64_MIN when unknown. Never above `unix_ns`.
     */
    int64_t earliest_ns;
    /**
     * UTC is not after this; INT64_MAX when unknown. Never below `unix_ns`.
     */
    int64_t latest_ns;
    /**
     * The raw counter as nanoseconds at its nominal rate; one origin per boot, the same in every process to some 0.1
     * us.
     */
    int64_t raw_ns;
    /**
     * Nanoseconds since the newest exchange that counted; INT64_MAX before the first.
     */
    int64_t age_ns;
    /**
     * Numbers the stretches between steps: within one, readings never run backwards. 0 before the first
     * synchronisation.
     */
    uint32_t epoch;
    /**
     * How far the interval can be trusted.
     */
    ntp_state state;
    /**
     * What else is to be known: `NTP_FLAG_...`.
     */
    uint32_t flags;
    /**
     * What the sources announce for the end of the month: `NTP_LEAP_...`.
     */
    uint8_t leap;
    /**
     * Zero.
     */
    uint8_t reserved;
    /**
     * TAI minus UTC in seconds, or `NTPCLOCK_TAI_UNKNOWN`.
     */
    int16_t tai_minus_utc;
    /**
     * Zero.
     */
    uint8_t reserved_tail[8];
} ntp_reading;

/**
 * The state of a whole clock in numbers; those of the clock that leads, where a page is shared. Grows at its end: pass
 * its size.
 */
typedef struct {
    /**
     * As a reader would have seen it when the report was made.
     */
    ntp_state state;
    /**
     * The epoch of the published model; 0 before the first synchronisation.
     */
    uint32_t epoch;
    /**
     * Steps since the start: epochs begun after the first.
     */
    uint32_t steps;
    /**
     * Sources configured, usable pool members included, duplicates counted once.
     */
    uint32_t configured;
    /**
     * Sources that answer (reach register not zero).
     */
    uint32_t answering;
    /**
     * The most sources whose intervals have one point in common.
     */
    uint32_t agreeing;
    /**
     * Sources assumed to lie at most.
     */
    uint32_t fault_limit;
    /**
     * 1 if more than `fault_limit` sources lie: the interval then rests on a strict majority only.
     */
    uint8_t faults_exceeded;
    /**
     * One below the stratum of the source that is followed most, or 16.
     */
    uint8_t stratum;
    /**
     * The announced leap second: `NTP_LEAP_...`.
     */
    uint8_t leap;
    /**
     * Zero.
     */
    uint8_t reserved;
    /**
     * Frequency of UTC against the raw counter, parts per 10^9; positive: UTC gains.
     */
    double frequency_ppb;
    /**
     * The error bound when the report was made, ns; INT64_MAX when unknown.
     */
    int64_t bound_ns;
    /**
     * Standard deviation of the reading as estimated at the newest exchange, ns: a statistical figure, not a bound;
     * INT64_MAX when unknown.
     */
    int64_t estimated_error_ns;
    /**
     * Round trip to the root of the source that is followed most, ns.
     */
    int64_t root_delay_ns;
    /**
     * What a client of ours must allow for beside half the root delay, ns.
     */
    int64_t root_dispersion_ns;
    /**
     * UTC of the newest exchange that counted, ns since 1970; 0 before the first.
     */
    int64_t reference_time_ns;
    /**
     * Exchanges that counted, since the start.
     */
    uint64_t exchanges;
    /**
     * Replies refused, since the start.
     */
    uint64_t rejected;
    /**
     * Reference id as RFC 5905 defines it for the next stratum.
     */
    uint32_t reference_id;
    /**
     * The process that leads among those that share a page, as the lock file names it; 0 if there is none, or it is
     * not known.
     */
    uint32_t leader_pid;
    /**
     * Whether the clock shares a page, and whether it leads.
     */
    ntp_role role;
    /**
     * Of what was published last: `NTP_FLAG_AUTHENTICATED`, `NTP_FLAG_VETOED`.
     */
    uint32_t flags;
} ntp_report;

/**
 * One source as the clock sees it. Grows at its end: pass its size.
 */
typedef struct {
    /**
     * What selection thinks of it.
     */
    ntp_selection selection;
    /**
     * Its reference id.
     */
    uint32_t reference_id;
    /**
     * Of the last eight polls, which were answered; the newest is bit 0.
     */
    uint8_t reach;
    /**
     * The poll interval is 2^this seconds.
     */
    int8_t poll_exponent;
    /**
     * Distance from a reference clock; 0 before the first reply.
     */
    uint8_t stratum;
    /**
     * Its leap indicator: `NTP_LEAP_...`.
     */
    uint8_t leap;
    /**
     * Times it contradicted itself and was begun anew.
     */
    uint32_t restarts;
    /**
     * Its time minus ours, ns: add it to our reading to get the source's; INT64_MAX while it tells no time, or we have
     * none.
     */
    int64_t offset_ns;
    /**
     * Round trip of the newest exchange, ns; INT64_MAX without one.
     */
    int64_t delay_ns;
    /**
     * Standard deviation of its offset as estimated: a statistical figure, not a bound, ns; INT64_MAX while it tells no
     * time.
     */
    int64_t estimated_error_ns;
    /**
     * Half the width of its correctness interval now, ns; INT64_MAX when it has none.
     */
    int64_t bound_ns;
    /**
     * The round trip to its own root that it claims, ns.
     */
    int64_t root_delay_ns;
    /**
     * The root dispersion it claims, ns.
     */
    int64_t root_dispersion_ns;
    /**
     * Nanoseconds since its newest exchange that counted; INT64_MAX before the first.
     */
    int64_t age_ns;
    /**
     * Exchanges that counted.
     */
    uint64_t exchanges;
    /**
     * Replies refused.
     */
    uint64_t rejected;
    /**
     * The entry of the server list it comes from, UTF-8.
     */
    char name[NTPCLOCK_NAME_SIZE];
    /**
     * Its address and port; empty until resolved.
     */
    char address[NTPCLOCK_ADDRESS_SIZE];
    /**
     * What is wrong with it, UTF-8: why it is not believed, else its last fault since it last answered well, else why
     * it is believed and yet not used; empty if nothing is.
     */
    char fault[NTPCLOCK_FAULT_SIZE];
    /**
     * What the server was given beside its name, and whether it is authenticated: `NTP_SERVER_...`.
     */
    uint32_t options;
    /**
     * The id of its key; 0 without one.
     */
    uint32_t key_id;
    /**
     * How often the source, or an answer of it, was refused, by reason: `refusals[NTP_REASON_...]`.
     */
    uint64_t refusals[NTPCLOCK_REASONS];
    /**
     * What it has of Network Time Security.
     */
    ntp_nts_state nts;
    /**
     * The cipher, by its number among AEAD algorithms: 15, 17 or 30; 0 without keys.
     */
    uint16_t nts_algorithm;
    /**
     * Cookies left: so many requests can be made without an answer.
     */
    uint8_t nts_cookies;
    /**
     * Zero.
     */
    uint8_t nts_reserved;
    /**
     * Key exchanges that brought keys.
     */
    uint32_t nts_key_exchanges;
    /**
     * Answers that said the keys are not known to the server; whoever sees a request can send them.
     */
    uint32_t nts_naks;
    /**
     * Why the last key exchange brought no keys, or why they were given up, UTF-8; empty if all is well.
     */
    char nts_fault[NTPCLOCK_FAULT_SIZE];
} ntp_source_info;

/**
 * When a clock of the machine will show that some point of UTC has come. Grows at its end: pass its size.
 */
typedef struct {
    /**
     * The best guess: about when `ntp_clock_now` will show that UTC, ns.
     */
    int64_t stamp_ns;
    /**
     * Before this UTC has certainly not come there, ns.
     */
    int64_t earliest_ns;
    /**
     * From this on it certainly has, ns.
     */
    int64_t latest_ns;
} ntp_deadline;

/**
 * Called with what has happened, `NTP_EVENT_...` (expect bits that this header does not list), and with the pointer
 * that was given to `ntp_clock_on_event`. No C++ exception must leave it, nor may it end its thread (`pthread_exit`, or
 * a `pthread_cancel` of itself): either ends the process.
 */
typedef void (*ntp_event_callback)(void *context, uint32_t events);

/**
 * What one exchange with a server told. Grows at its end: pass its size.
 */
typedef struct {
    /**
     * UTC minus the system clock: add it to the system clock, ns.
     */
    int64_t offset_ns;
    /**
     * The offset is within ± this if the server's own root distance is true, ns.
     */
    int64_t bound_ns;
    /**
     * Round trip less the server's time in between, ns.
     */
    int64_t delay_ns;
    /**
     * The server's UTC when the reply arrived, ns since 1970.
     */
    int64_t unix_ns;
    /**
     * The server's round trip to its root, ns.
     */
    int64_t root_delay_ns;
    /**
     * The server's root dispersion, ns.
     */
    int64_t root_dispersion_ns;
    /**
     * When the server's clock was last set, ns since 1970; 0 if it does not say.
     */
    int64_t reference_time_ns;
    /**
     * The server's reference id.
     */
    uint32_t reference_id;
    /**
     * Distance from a reference clock.
     */
    uint8_t stratum;
    /**
     * NTP version of the reply.
     */
    uint8_t version;
    /**
     * The server's leap indicator: `NTP_LEAP_...`.
     */
    uint8_t leap;
    /**
     * The server's precision as an exponent of 2, in seconds.
     */
    int8_t precision;
    /**
     * 1 if the kernel stamped the arrival.
     */
    uint8_t kernel_timestamp;
    /**
     * 1 if the answer was authenticated, by a server whose certificate holds at the time it tells.
     */
    uint8_t authenticated;
    /**
     * Zero.
     */
    uint8_t reserved[6];
    /**
     * The address that answered, with its port.
     */
    char address[NTPCLOCK_ADDRESS_SIZE];
} ntp_query_result;

/**
 * What a server has done since its start. Grows at its end: pass its size.
 */
typedef struct {
    /**
     * Datagrams received, whatever they were.
     */
    uint64_t requests;
    /**
     * Replies sent, kisses included.
     */
    uint64_t replies;
    /**
     * Replies in interleaved mode (RFC 9769).
     */
    uint64_t interleaved;
    /**
     * Clients that were told to ask less (the kiss code `RATE`).
     */
    uint64_t kisses;
    /**
     * Requests beyond the rate limit that were answered all the same.
     */
    uint64_t leaked;
    /**
     * Dropped: no NTP header, or no sender.
     */
    uint64_t malformed;
    /**
     * Dropped: of another version than 1 to 4.
     */
    uint64_t wrong_version;
    /**
     * Dropped: no request of a client.
     */
    uint64_t wrong_mode;
    /**
     * Dropped: of a client that is denied, or sent to a broadcast or multicast address.
     */
    uint64_t denied;
    /**
     * Dropped: beyond the rate limit.
     */
    uint64_t limited;
    /**
     * Dropped: there was no time to give.
     */
    uint64_t unsynchronized;
    /**
     * Replies that the system would not send.
     */
    uint64_t unsent;
    /**
     * Requests answered that had no receive stamp of the kernel that could be used: their times are a little late.
     */
    uint64_t unstamped;
    /**
     * Datagrams that the kernel dropped since the receive buffer was full.
     */
    uint64_t overflowed;
    /**
     * The smallest receive buffer of a socket, in bytes as the kernel counts them: less than 16 MiB where the system's
     * limit (`net.core.rmem_max`) allows no more and the process is not root.
     */
    uint64_t receive_buffer_bytes;
    /**
     * Datagrams received in a second, lately.
     */
    double requests_per_second;
    /**
     * Replies sent in a second, lately.
     */
    double replies_per_second;
    /**
     * Threads that serve.
     */
    uint32_t threads;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * Requests with NTS whose fields made sense.
     */
    uint64_t nts_requests;
    /**
     * Replies that were authenticated.
     */
    uint64_t nts_replies;
    /**
     * Clients that were told to exchange keys anew: their cookies were too old, or nobody's.
     */
    uint64_t nts_naks;
    /**
     * Dropped: of NTS, with fields that made no sense, or left no room for a reply.
     */
    uint64_t nts_malformed;
    /**
     * Key exchanges that gave keys.
     */
    uint64_t key_exchanges;
    /**
     * Key exchanges that gave none: too slow, too long, refused, or no TLS at all.
     */
    uint64_t key_exchange_failures;
    /**
     * How often the file of cookie keys had changed and was of no use.
     */
    uint64_t cookie_key_faults;
} ntp_server_counters;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Starts the process-wide clock with a comma-separated list of servers: `host`, `host:port`,
 * `[v6]:port`, `pool:host` (up to 4 sources from one name), each optionally followed by ` nts`.
 *
 * NULL takes the list from the environment variable NTPCLOCK_SERVERS. Returns before anything was heard
 * from the network, and blocks on none: `ntp_wait` waits for the time. Starts are counted: the same list
 * again is harmless, and the last `ntp_stop` ends the clock. In a forked child it goes on with the parent's clock, by
 * the parent's configuration. Any thread may call this at any time.
 *
 * Returns `NTP_ERR_INVALID_SERVER` or `NTP_ERR_INVALID_ARGUMENT` when the list does not follow the
 * grammar, `NTP_ERR_NO_SERVERS` when there is none, `NTP_ERR_ALREADY_RUNNING` while the clock runs with
 * another list, and `NTP_ERR_SYSTEM` when the thread cannot be made.
 *
 * Contract:
 *
 * - `servers` is NULL or a NUL-terminated string that does not change during the call.
 */
ntp_result ntp_start(const char *servers);

/**
 * As `ntp_start`, with all that can be configured. The configuration is copied.
 *
 * The same configuration again is harmless and counted, as is `ntp_start` with the same servers while the clock runs.
 *
 * Returns `NTP_ERR_NO_SERVERS` when `config` names none, `NTP_ERR_ALREADY_RUNNING` while the clock runs with another
 * configuration, `NTP_ERR_SYSTEM` when the thread cannot be made, and `NTP_ERR_INVALID_ARGUMENT` when `config` is
 * NULL, or names a shared page: that is for clocks of one's own (`ntp_clock_start`).
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread changes it meanwhile.
 */
ntp_result ntp_start_with(const ntp_config *config);

/**
 * Waits until the process-wide clock is synchronised: up to `timeout_ms` milliseconds, for ever if that
 * is negative. What it shows then may be provisional (`NTP_FLAG_PROVISIONAL`): look at the reading if that matters.
 *
 * Any number of threads may wait. Returns `NTP_ERR_TIMEOUT` when the time ran out (`ntp_last_error` then
 * names each source and its last fault), `NTP_ERR_NOT_RUNNING` when the clock is not started, `NTP_ERR_STOPPED` when
 * it was stopped meanwhile, and `NTP_ERR_SYSTEM` inside a fork handler.
 */
ntp_result ntp_wait(int64_t timeout_ms);

/**
 * Reads the process-wide clock: UTC in nanoseconds since 1970-01-01T00:00:00Z, POSIX counting.
 *
 * Before the first synchronisation this is the system clock's time, afterwards the model's, also after
 * `ntp_stop`. Any number of threads may call this at the same time. Takes no lock, makes no system call,
 * and never fails; async-signal-safe.
 */
int64_t ntp_now(void);

/**
 * As `ntp_now`, for about half the price where the processor's own counter can be read: but the processor may take the
 * reading some microseconds earlier than it stands in the program.
 *
 * Good for the intervals of one thread. Not to be compared with what another thread has read, nor with `ntp_now`: it
 * may be earlier than a value already seen. Any number of threads may call this at the same time; it never fails, and
 * is async-signal-safe.
 */
int64_t ntp_now_relaxed(void);

/**
 * UTC minus the system clock at the call, in nanoseconds: add it to the system clock to get UTC.
 *
 * 0 before the first synchronisation. Any number of threads may call this at the same time; it never
 * fails, and is async-signal-safe.
 */
int64_t ntp_offset(void);

/**
 * How far `ntp_now` can be off, in nanoseconds: UTC lies in now ± this. INT64_MAX when unknown.
 *
 * Any number of threads may call this at the same time; it takes no lock, never fails, and is async-signal-safe. Time
 * and bound of one moment together come from `ntp_clock_now`.
 */
int64_t ntp_error_bound(void);

/**
 * How far the process-wide clock can be trusted now.
 *
 * Any number of threads may call this at the same time; it takes no lock, never fails, and is async-signal-safe.
 */
ntp_state ntp_status(void);

/**
 * Undoes one `ntp_start`; the last one stops the thread. Harmless without a start.
 *
 * Any thread may call this at any time. Threads that wait get `NTP_ERR_STOPPED`; reading goes on, in
 * holdover.
 */
void ntp_stop(void);

/**
 * Makes a configuration: no servers yet, and the documented defaults. Free it with `ntp_config_free`.
 *
 * One thread at a time may use it. Never returns NULL, unless a bug in ntpclock keeps it from being made.
 */
ntp_config *ntp_config_new(void);

/**
 * Frees a configuration. Clocks started with it go on. NULL is harmless.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and is not used again.
 */
void ntp_config_free(ntp_config *config);

/**
 * Adds the servers of a comma-separated list, as in `ntp_start`; all of them or, on failure, none.
 *
 * Returns `NTP_ERR_INVALID_SERVER` when an entry does not follow the grammar, `NTP_ERR_UNSUPPORTED` when
 * it asks for what this build lacks, and `NTP_ERR_INVALID_ARGUMENT` when a pointer is NULL, the text is
 * over-long or not UTF-8, or there are more than 64 servers.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
 * - `servers` is NULL or a NUL-terminated string that does not change during the call.
 */
ntp_result ntp_config_add_servers(ntp_config *config, const char *servers);

/**
 * Adds the servers of a list as `ntp_config_add_servers` does, and says how far they are trusted.
 *
 * `options` is 0 or more of `NTP_SERVER_...`, or-ed. With a `key_id` other than 0 requests to them are
 * authenticated by the key of that id, which `ntp_config_load_keys` has read or is about to read, and replies that
 * are not are dropped: AES-CMAC, RFC 8573. A key that was not read makes `ntp_clock_start` fail. With `NTP_SERVER_NTS`
 * there can be none.
 *
 * Returns what `ntp_config_add_servers` does, and `NTP_ERR_INVALID_ARGUMENT` for an option that this version does not
 * know.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
 * - `servers` is NULL or a NUL-terminated string that does not change during the call.
 */
ntp_result ntp_config_add_servers_with(ntp_config *config,
                                       const char *servers,
                                       uint32_t options,
                                       uint32_t key_id);

/**
 * Trusts the certificates in the file at `path` (PEM) to vouch for servers with Network Time Security, beside those of
 * the platform. Further files add to them.
 *
 * The file is read when a clock starts: `ntp_clock_start` fails with `NTP_ERR_SYSTEM` if it cannot be read, and with
 * `NTP_ERR_INVALID_ARGUMENT` if it holds no certificate.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` when a pointer is NULL, or `path` is over-long, not UTF-8 or names no file, and
 * `NTP_ERR_UNSUPPORTED` in a build without Network Time Security.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
 * - `path` is NULL or a NUL-terminated string that does not change during the call.
 */
ntp_result ntp_config_add_trusted_certificates(ntp_config *config,
                                               const char *path);

/**
 * Sets whether the certificates that the platform trusts vouch for servers with Network Time Security: those in
 * /etc/ssl/certs/ca-certificates.crt, or where else distributions keep theirs. Default: yes (not 0).
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` if `config` is NULL.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
 */
ntp_result ntp_config_set_platform_trust(ntp_config *config,
                                         int32_t trusted);

/**
 * Reads the symmetric keys in the file at `path`, now and once. Keys of several files add up.
 *
 * Each line has an id from 1 on, a type, AES128 or AES256, and the key: `HEX:` and its digits, or text. Empty lines,
 * and those that begin with `#`, `!`, `;` or `%`, say nothing; keys of other types are passed by.
 *
 * Returns `NTP_ERR_SYSTEM` when the file cannot be read or may not be trusted: it must be a regular file, ours or
 * root's, that nobody else may read or write (mode 0600; root's group may read it, as it may what systemd passes on by
 * `LoadCredential`). Returns `NTP_ERR_MALFORMED` when a line makes no sense or has an id that there was before; then no
 * key is taken. Returns `NTP_ERR_INVALID_ARGUMENT` when a pointer is NULL, or `path` is over-long or not UTF-8.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
 * - `path` is NULL or a NUL-terminated string that does not change during the call.
 */
ntp_result ntp_config_load_keys(ntp_config *config,
                                const char *path);

/**
 * Sets what authenticated servers are to those that are not: `NTP_AUTHENTICATION_...`. Default
 * `NTP_AUTHENTICATION_MIX`.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` for a number that is none of them.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
 */
ntp_result ntp_config_set_authentication(ntp_config *config, int32_t authentication);

/**
 * Sets whether a dozen other servers of the pools, picked at random, are asked once an hour, in the spirit of Khronos
 * (RFC 9523): 1 or 0. Default 0, because they are asked beside those that are polled.
 *
 * When they contradict what the polled servers agree on, and others do so again two minutes later, that is not
 * believed any more: the clock is in NTP_STATE_HOLDOVER, with `NTP_FLAG_VETOED`, until it is backed again. Fewer than
 * six others are no opinion. The others are not authenticated: as long as those that say where UTC lies all are,
 * nothing is vetoed.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` for a number that is neither.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
 */
ntp_result ntp_config_set_khronos(ntp_config *config,
                                  int32_t enabled);

/**
 * Sets the shortest and longest poll interval, as exponents of 2 in seconds. Default 4 and 10 (16 s, 17 min).
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` unless 0 <= `min_exponent` <= `max_exponent` <= 17.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
 */
ntp_result ntp_config_set_poll(ntp_config *config, int32_t min_exponent, int32_t max_exponent);

/**
 * Sets how many sources may lie about the time. Default: (n-1)/3 of n, rounded down.
 *
 * Never more than (n-1)/2 is assumed, whatever is set. Returns `NTP_ERR_INVALID_ARGUMENT` if `sources` is
 * negative.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
 */
ntp_result ntp_config_set_fault_limit(ntp_config *config, int32_t sources);

/**
 * Asks servers, in interleaved mode (RFC 9769), when their last reply really left, if `is_interleaved` is not 0; off
 * unless set. A server that does not know the mode answers as ever.
 *
 * It narrows what a server's own work and queue add to the delay, where the server knows better than when it handed a
 * reply to its system; what is known then is one poll interval old.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` if `config` is NULL.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
 */
ntp_result ntp_config_set_interleaved(ntp_config *config,
                                      int32_t is_interleaved);

/**
 * Sets the fewest sources that must agree before the clock counts as synchronised. Default 1.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` unless 1 <= `sources` <= 64.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
 */
ntp_result ntp_config_set_min_agreeing(ntp_config *config, int32_t sources);

/**
 * Sets the largest correction that is slewed; larger ones step and start a new epoch. Default 100 ms.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` unless `threshold_ns` is from 0 to one hour.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
 */
ntp_result ntp_config_set_step_threshold(ntp_config *config, int64_t threshold_ns);

/**
 * Sets the error bound above which the clock counts as unsynchronised. Default 1 s.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` unless `cap_ns` is above 0 and up to one day.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
 */
ntp_result ntp_config_set_bound_cap(ntp_config *config, int64_t cap_ns);

/**
 * Sets the largest frequency error of the raw counter against UTC, in parts per million. Default 200.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` unless 0 < `ppm` <= 1000.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
 */
ntp_result ntp_config_set_frequency_limit(ntp_config *config, double ppm);

/**
 * Sets the drift limit: the oscillator's frequency changes by `short_ppm` at most within `knee_ns`, and by `long_ppm`
 * over any time. Default 2 ppm within 1000 s, and 15 ppm. The error bound rests on it.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` unless 0 <= `short_ppm` <= `long_ppm` <= 1000 and `knee_ns` is from 0 to 30 days.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
 */
ntp_result ntp_config_set_drift_limit(ntp_config *config,
                                      double short_ppm,
                                      int64_t knee_ns,
                                      double long_ppm);

/**
 * Makes clocks start warm from the state file at `path`, and save their state there: when they stop, and every
 * 10 minutes. Default: none.
 *
 * In the same boot a clock then reads with a bound from the first moment, in NTP_STATE_HOLDOVER; after any
 * boot it expects the frequency that it had. A file that is not whole, not ours or not from the past is
 * refused: `ntp_clock_start` succeeds all the same, the clock starts cold, and `ntp_clock_check_state_file`
 * tells why. Clocks that follow different servers, or trust them differently, need a file each. A relative `path` is
 * in the directory that is the working directory when a clock starts.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` when a pointer is NULL, or `path` is over-long, not UTF-8 or names no file.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
 * - `path` is NULL or a NUL-terminated string that does not change during the call.
 */
ntp_result ntp_config_set_state_file(ntp_config *config,
                                     const char *path);

/**
 * Makes clocks share the page at `path` with the other processes of this host that name it: all read it, one of them
 * asks the servers. Default: none. Not for the process-wide clock, whose own page is what makes `ntp_now` cheap.
 *
 * Whoever holds the lock of the file `path`.lock leads, and writes the page, which is made if it is not there. When it
 * ends, however it does, another takes over within two seconds, in the same epoch and on the same line. All should
 * have the same configuration. The state file is the leader's. The directory should be one that only you may write, in
 * memory, and gone after a boot, as those in /run are. `ntp_clock_start` returns `NTP_ERR_SHARED_PAGE` when the page or
 * its lock file cannot be trusted: it is not ours or root's, others may write it, it is no regular file, of another
 * version or not whole. Who may write or lock it is trusted. A relative `path` is in the directory that is the working
 * directory when a clock starts.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` when a pointer is NULL, or `path` is over-long, not UTF-8 or names no file.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
 * - `path` is NULL or a NUL-terminated string that does not change during the call.
 */
ntp_result ntp_config_set_shared_page(ntp_config *config,
                                      const char *path);

/**
 * Has a forked child restart the clock by itself (`restart` 1), as `ntp_clock_restart` does, or not (0). Default: not.
 *
 * A reading starts nothing, for it takes no lock; nor does the fork, which may be the beginning of an exec. So "by
 * itself" is at the child's first call that waits for the clock (`ntp_wait`, `ntp_clock_wait` and the like), asks for
 * its report, its sources or its events, or starts it. Until then the child reads on in NTP_STATE_HOLDOVER.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` unless `restart` is 0 or 1.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
 */
ntp_result ntp_config_set_restart_after_fork(ntp_config *config,
                                             int32_t restart);

/**
 * Starts a clock of one's own, with its own thread and sources; `clock` gets the handle.
 *
 * Returns before anything was heard from the network, and blocks on none: `ntp_clock_wait` waits for the
 * time. With a shared page it waits, two seconds at most, where another process is about to begin that page. The
 * configuration is copied. Free the clock with `ntp_clock_free`.
 *
 * Returns `NTP_ERR_NO_SERVERS` when `config` names none, `NTP_ERR_SYSTEM` when the thread cannot be made,
 * `NTP_ERR_SHARED_PAGE` when the page that it names cannot be used, and `NTP_ERR_INVALID_ARGUMENT` when a pointer is
 * NULL; `clock`, where it is not NULL, is then set to NULL.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread changes it meanwhile.
 * - `clock` is NULL, or points to a pointer that no other thread uses meanwhile.
 */
ntp_result ntp_clock_start(const ntp_config *config,
                           ntp_clock **clock);

/**
 * Stops a clock and frees it; its thread has ended when this returns. NULL is harmless, and does not mean
 * the process-wide clock here.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start`, is not freed, and no thread uses it now or later.
 */
void ntp_clock_free(ntp_clock *clock);

/**
 * In a forked child: makes the thread of `clock` anew, with the same configuration and the same count of starts.
 *
 * A NULL `clock` is the process-wide one. Reading goes on meanwhile, on the same line and in the same epoch, in
 * NTP_STATE_HOLDOVER until the child has heard its servers itself; the parent notices nothing. Where the thread runs,
 * this does nothing and succeeds. What a child does not take over: the callback of `ntp_clock_on_event` and servers,
 * which have to be set and started anew. A child of a process with several threads needs a C library in which threads
 * can be made after a fork, as they can in glibc and musl. `ntp_config_set_restart_after_fork` does this by itself.
 *
 * Any thread may call this at any time. Returns `NTP_ERR_NOT_RUNNING` when the clock was not started, or is stopped,
 * and `NTP_ERR_SYSTEM` when the thread cannot be made, or inside a fork handler; the clock then reads on in holdover,
 * and may be restarted later.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed before this returns.
 */
ntp_result ntp_clock_restart(const ntp_clock *clock);

/**
 * Reads `clock`: the synchronised time and the interval that holds UTC.
 *
 * A NULL `clock` is the process-wide one. Any number of threads may read one clock at the same time.
 * Takes no lock, allocates nothing and makes no system call: it is async-signal-safe. (Where the library was loaded by
 * `dlopen`, some C libraries make room for it in a thread at the first call there that fails: let a thread whose
 * signal handlers read call `ntp_last_error` once before.)
 *
 * When the machine resumes from a suspend, the clock's thread is woken and makes the clock DISRUPTED. A reading cannot
 * see the suspend before that thread has run, usually for a millisecond or two: until then it is wrong, as a rule late
 * by the time suspended, and its interval does not hold UTC. Where the thread cannot be woken
 * (`ntp_clock_check_resume_watch`), that lasts until it has something to do, a poll interval at most. Where there is
 * no thread to be woken it has no end: after `ntp_stop`, in a forked child until it restarts the clock, and on a
 * shared page as long as the leader's process is stopped (SIGSTOP). `ntp_clock_now_checked` has no such window.
 *
 * Returns `NTP_ERR_NOT_SYNCHRONIZED` when the interval means nothing; `reading` is filled all the same:
 * with the system clock's time before the first synchronisation, with the last model's afterwards.
 * Returns `NTP_ERR_INVALID_ARGUMENT`, and writes nothing, if `reading` is NULL.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
 * - `reading` is NULL, or points to an `ntp_reading` that no other thread uses meanwhile.
 */
ntp_result ntp_clock_now(const ntp_clock *clock,
                         ntp_reading *reading);

/**
 * Reads `clock` as `ntp_clock_now` does, and gives DISRUPTED if the machine was suspended and the clock's thread has
 * not run since.
 *
 * It costs two readings of the system's clocks more. It finds every suspend that is longer than the time this very
 * call was held up for, also after `ntp_stop` and in a forked child. What a hypervisor does to a machine behind its
 * kernel's back, it cannot find. A NULL `clock` is the process-wide one. Any number of threads may read one clock at
 * the same time. Takes no lock and makes no system call; async-signal-safe as `ntp_clock_now` is.
 *
 * Returns `NTP_ERR_NOT_SYNCHRONIZED` when the interval means nothing; `reading` is filled all the same. Returns
 * `NTP_ERR_INVALID_ARGUMENT`, and writes nothing, if `reading` is NULL.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
 * - `reading` is NULL, or points to an `ntp_reading` that no other thread uses meanwhile.
 */
ntp_result ntp_clock_now_checked(const ntp_clock *clock,
                                 ntp_reading *reading);

/**
 * UTC minus the system clock at the call, and how far that can be off, both in nanoseconds: add
 * `offset_ns` to the system clock to get UTC; the true offset lies within ± `bound_ns`.
 *
 * A NULL `clock` is the process-wide one. Any number of threads may call this at the same time; async-signal-safe as
 * `ntp_clock_now` is.
 *
 * Returns `NTP_ERR_NOT_SYNCHRONIZED` when the bound is unknown; both numbers are written all the same, the
 * bound as INT64_MAX, and the offset as 0 before the first synchronisation. Returns
 * `NTP_ERR_INVALID_ARGUMENT`, and writes nothing, if either out-pointer is NULL.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
 * - `offset_ns` and `bound_ns` are NULL, or point to numbers that no other thread uses meanwhile.
 */
ntp_result ntp_clock_offset(const ntp_clock *clock,
                            int64_t *offset_ns,
                            int64_t *bound_ns);

/**
 * Whether the state file of `clock` is in order: it was used at the start, or there was none yet, and it could be
 * written last.
 *
 * A NULL `clock` is the process-wide one. Any number of threads may call this at the same time.
 * Returns `NTP_ERR_STATE_FILE` when the file was refused at the start, or could not be written last;
 * `ntp_last_error` then names it and says why. The clock is as good without it, once its servers have answered.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
 */
ntp_result ntp_clock_check_state_file(const ntp_clock *clock);

/**
 * Whether the page that `clock` shares with other processes is in order.
 *
 * A NULL `clock` is the process-wide one, which shares none. Any number of threads may call this at the same time.
 * Returns `NTP_ERR_SHARED_PAGE` when the file was removed, replaced or damaged, or the lead cannot be taken though
 * nobody has it; `ntp_last_error` then names the file and says why. The clock goes on with the page it has; clocks
 * that are started later share another.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
 */
ntp_result ntp_clock_check_shared_page(const ntp_clock *clock);

/**
 * Whether the thread of `clock` is woken when the machine resumes from a suspend, or the system clock is set.
 *
 * A NULL `clock` is the process-wide one. Any number of threads may call this at the same time. Returns
 * `NTP_ERR_SYSTEM` when the operating system refused what wakes it, for want of descriptors or by a filter of system
 * calls; `ntp_last_error` then says why. The clock works without: the thread finds out when it runs next, and
 * `ntp_clock_now_checked` at once.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
 */
ntp_result ntp_clock_check_resume_watch(const ntp_clock *clock);

/**
 * Waits until `clock` is synchronised and its error bound is at most `max_bound_ns`: up to `timeout_ms`
 * milliseconds, for ever if that is negative. A `max_bound_ns` of 0 or less, or INT64_MAX, stands for any
 * bound. What it shows then may be provisional (`NTP_FLAG_PROVISIONAL`): look at the reading if that matters.
 *
 * A NULL `clock` is the process-wide one. Any number of threads may wait. Returns `NTP_ERR_TIMEOUT` when
 * the time ran out (`ntp_last_error` then names each source and its last fault), `NTP_ERR_NOT_RUNNING`
 * when the clock is not started, `NTP_ERR_STOPPED` when it was stopped meanwhile, and `NTP_ERR_SYSTEM` inside a fork
 * handler; in a forked child that is to restart the clock by itself also what `ntp_clock_restart` returns.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed before this returns.
 */
ntp_result ntp_clock_wait(const ntp_clock *clock,
                          int64_t max_bound_ns,
                          int64_t timeout_ms);

/**
 * Tells the state of `clock` in numbers. Pass `sizeof(ntp_report)` as `size`.
 *
 * A NULL `clock` is the process-wide one. Any number of threads may call this at the same time. A library
 * that knows more than the caller's header writes the members the caller knows; one that knows less sets
 * the rest to zero.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT`, and writes nothing, if `report` is NULL or `size` makes no sense.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
 * - `report` is NULL, or points to `size` bytes that no other thread uses meanwhile.
 */
ntp_result ntp_clock_report(const ntp_clock *clock, ntp_report *report, size_t size);

/**
 * Lists the sources of `clock`. Pass `sizeof(ntp_source_info)` as `element_size`, and in `capacity` how many
 * elements `sources` has room for; `count` gets how many sources there are.
 *
 * Where there are more than `capacity`, the first `capacity` are written; with a `capacity` of 0, `sources`
 * may be NULL. A NULL `clock` is the process-wide one. Any number of threads may call this at the same
 * time. Sizes are understood as in `ntp_clock_report`. What makes a clock SYNCHRONIZED is told here a millisecond,
 * and 64 ms at most, before readers see it.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT`, and writes nothing, if `count` is NULL, if `sources` is NULL with a
 * `capacity` above 0, or if a size makes no sense.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
 * - `sources` is NULL, or points to `capacity` elements of `element_size` bytes that no other thread uses
 *   meanwhile.
 * - `count` is NULL, or points to a number that no other thread uses meanwhile.
 */
ntp_result ntp_clock_sources(const ntp_clock *clock,
                             ntp_source_info *sources,
                             size_t element_size,
                             size_t capacity,
                             size_t *count);

/**
 * Which of two readings is certainly of the earlier instant, of whatever clock or host: `first` before, after, or
 * overlapping `second`.
 *
 * Only the intervals count, and unknown ones overlap with everything. Any two readings have an answer; a NULL
 * overlaps. Async-signal-safe.
 *
 * Contract:
 *
 * - `first` and `second` are NULL, or point to `ntp_reading`s that nobody changes meanwhile.
 */
ntp_relation ntp_reading_compare(const ntp_reading *first,
                                 const ntp_reading *second);

/**
 * Reads `clock` as `ntp_clock_now` does, for a caller that needs an error bound of at most `max_bound_ns`.
 *
 * Returns `NTP_ERR_BOUND_EXCEEDED` when the bound is larger, and `NTP_ERR_NOT_SYNCHRONIZED` when there is none;
 * `reading` is filled all the same. Returns `NTP_ERR_INVALID_ARGUMENT`, and writes nothing, if `reading` is NULL or
 * `max_bound_ns` below zero.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
 * - `reading` is NULL, or points to an `ntp_reading` that no other thread uses meanwhile.
 */
ntp_result ntp_clock_now_within(const ntp_clock *clock,
                                int64_t max_bound_ns,
                                ntp_reading *reading);

/**
 * 1 if UTC is certainly after `unix_ns` (nanoseconds since 1970), else 0; also 0 when nothing is known.
 *
 * A NULL `clock` is the process-wide one. Any number of threads may call this at the same time. Takes no lock and
 * makes no system call; async-signal-safe.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
 */
int32_t ntp_clock_after(const ntp_clock *clock,
                        int64_t unix_ns);

/**
 * 1 if UTC is certainly before `unix_ns` (nanoseconds since 1970), else 0; also 0 when nothing is known.
 *
 * A NULL `clock` is the process-wide one. Any number of threads may call this at the same time. Takes no lock and
 * makes no system call; async-signal-safe.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
 */
int32_t ntp_clock_before(const ntp_clock *clock,
                         int64_t unix_ns);

/**
 * Commit wait: returns when UTC is certainly after `unix_ns`, up to `timeout_ms` milliseconds, for ever if that is
 * negative.
 *
 * Give an event the time `latest_ns` of a reading, wait for that time to pass, and only then make the event known:
 * then no event that anybody begins after that, on whatever host with an honest clock, gets an earlier time.
 *
 * A NULL `clock` is the process-wide one. Any number of threads may wait. The thread sleeps, and is woken when the
 * time has come, to about what the kernel's timers give (50 us unless set otherwise). The wait goes on through steps,
 * disruptions and losses of synchronisation of a running clock. On a clock without a thread, after a stop or in a
 * forked child, it works as long as there is an interval.
 *
 * Returns `NTP_ERR_TIMEOUT` when the time ran out, `NTP_ERR_NOT_SYNCHRONIZED` when it ran out and nothing was known of
 * UTC, `NTP_ERR_STOPPED` when the clock was stopped meanwhile, `NTP_ERR_NOT_RUNNING` when there is neither a
 * thread nor an interval, and `NTP_ERR_SYSTEM` inside a fork handler.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed before this returns.
 */
ntp_result ntp_clock_wait_until_past(const ntp_clock *clock,
                                     int64_t unix_ns,
                                     int64_t timeout_ms);

/**
 * Sleeps until `clock` shows `unix_ns` or later; it aims anew whenever the clock is corrected or stepped.
 *
 * A NULL `clock` is the process-wide one. Any number of threads may sleep. Before the first synchronisation the clock
 * shows the system clock's time. To be certain that UTC has come there, use `ntp_clock_wait_until_past`.
 *
 * Returns `NTP_ERR_STOPPED` when the clock was stopped meanwhile, `NTP_ERR_NOT_RUNNING` when it is not started and
 * was never synchronised, unless it shows that time already, and `NTP_ERR_SYSTEM` inside a fork handler.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed before this returns.
 */
ntp_result ntp_clock_sleep_until(const ntp_clock *clock,
                                 int64_t unix_ns);

/**
 * Tells where UTC was when the clock `timescale` (`NTP_TIMESCALE_...`) of this machine showed `stamp_ns` nanoseconds:
 * as if `clock` had been read then, and with everything that is known by now.
 *
 * Members that tell an age or a state do so as of then; `raw_ns` is the middle of where the counter can have stood.
 * Of a stamp from before the first synchronisation only later knowledge tells: `state` is HOLDOVER, `epoch` the one of
 * that knowledge, and `age_ns` 0, since the exchanges that it is told by came later.
 * The bound cap does not apply: the interval is what it is, and `ntp_reading_compare` compares it. Stamps may be older
 * than the first synchronisation. Those of the raw counter, `CLOCK_MONOTONIC` and `CLOCK_BOOTTIME` may be older than
 * the clock's start, and may lie ahead, as long as the machine is not suspended. The interval includes what the kernel
 * may have slewed its clocks between the moments at which the clock's thread looked at them: 0.1 % of the time to the
 * nearest one. The clock remembers a bounded number of such moments, the fewer the older they are. That the system
 * clock is slewed faster by nobody is an assumption; where these moments show that somebody did, 12.5 % are allowed
 * for.
 *
 * A NULL `clock` is the process-wide one. Any number of threads may call this at the same time.
 *
 * Returns `NTP_ERR_NOT_SYNCHRONIZED` when no time is known yet; `NTP_ERR_UNCONVERTIBLE` when nothing honest can be
 * said, because the machine was suspended or the clock disrupted after the stamp, or the system clock was stepped
 * around it; and `NTP_ERR_INVALID_ARGUMENT` when `reading` is NULL or there is no such timescale. A failure writes
 * nothing.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
 * - `reading` is NULL, or points to an `ntp_reading` that no other thread uses meanwhile.
 */
ntp_result ntp_clock_convert(const ntp_clock *clock,
                             int32_t timescale,
                             int64_t stamp_ns,
                             ntp_reading *reading);

/**
 * Tells when the clock `timescale` (`NTP_TIMESCALE_...`) of this machine will show that UTC is `unix_ns`: for timers.
 * Pass `sizeof(ntp_deadline)` as `size`.
 *
 * Holds as long as the machine is not suspended until then. The farther ahead, the wider: by 0.1 %, which the kernel
 * may slew its clocks, so ask again on the way, or use `ntp_clock_sleep_until`. A NULL `clock` is the process-wide
 * one. Any number of threads may call this at the same time. Sizes are understood as in `ntp_clock_report`.
 *
 * Returns `NTP_ERR_NOT_SYNCHRONIZED`; `NTP_ERR_UNCONVERTIBLE` for a past after which the machine was suspended; and
 * `NTP_ERR_INVALID_ARGUMENT` when `deadline` is NULL, a size makes no sense, the time is more than a hundred years
 * away, or the timescale is none or `NTP_TIMESCALE_REALTIME`, which may be stepped on the way. A failure writes
 * nothing.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
 * - `deadline` is NULL, or points to `size` bytes that no other thread uses meanwhile.
 */
ntp_result ntp_clock_deadline(const ntp_clock *clock,
                              int32_t timescale,
                              int64_t unix_ns,
                              ntp_deadline *deadline,
                              size_t size);

/**
 * Gives a descriptor that is readable while there are events to take: for `poll`, `epoll`, and the event loops that
 * are built on them. Closed on exec, non-blocking.
 *
 * There is one for each clock, which keeps it until it is freed: wait for it, but do not read or close it.
 * `ntp_clock_take_events` makes it unreadable. Every event makes it readable anew, also for those who are only told of
 * edges (EPOLLET). Everything that has happened since the start of the clock is pending at first, so that nothing is
 * missed between a start and this call. The process-wide clock's stays the same over stops and starts.
 *
 * In a forked child the number stands for the parent's until the child calls this or `ntp_clock_take_events`; from
 * then on it is the child's own, with nothing of the parent's pending, and is to be registered anew in an event loop
 * of the child's. A child that has closed the number gets another one, and keeps what it has opened under it; so does
 * one that is not told what the number stands for (without `/proc`, or before Linux 5.2).
 *
 * A NULL `clock` is the process-wide one. Any number of threads may call this. Returns `NTP_ERR_SYSTEM` when
 * there are no descriptors left, and `NTP_ERR_INVALID_ARGUMENT` when `descriptor` is NULL. A failure writes nothing.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
 * - `descriptor` is NULL, or points to a number that no other thread uses meanwhile.
 */
ntp_result ntp_clock_event_fd(const ntp_clock *clock,
                              int *descriptor);

/**
 * What has happened since this was last asked, `NTP_EVENT_...`; the descriptor of `ntp_clock_event_fd` is unreadable
 * until something happens again. It may be nothing, 0.
 *
 * What came and went between two calls is told, its order is not: `ntp_clock_now` tells the state. A NULL `clock` is
 * the process-wide one. Any number of threads may call this; each event goes to one of them.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
 */
uint32_t ntp_clock_take_events(const ntp_clock *clock);

/**
 * Has `callback` called with `context` and whatever happens to `clock`; NULL takes the former callback back. A NULL
 * `callback` with a `context` takes back only the callback that was given with that context, and leaves another's alone.
 *
 * It is called from a thread of the library's own, one call at a time, with all signals blocked. First it is told
 * `NTP_EVENT_SYNCHRONIZED`, `NTP_EVENT_LOST` or `NTP_EVENT_DISRUPTED`, whichever happened last, if any has. What
 * happens while it runs is told in one further call.
 *
 * There is one callback for each clock: another one replaces it; the process-wide clock's stays over stops and starts.
 * When this returns, and when `ntp_clock_free` returns, the former callback is not running and will not be called
 * again, so that its `context` may be freed; do not call either while holding a lock that the callback waits for.
 * `ntp_stop` waits for no callback.
 *
 * A callback may block, and may call every function here: also `ntp_stop`, `ntp_start`, `ntp_clock_free` of its own
 * clock, and this one, to replace or take back itself. In the last two cases it is not waited for, and its `context`
 * must live until it returns. In a forked child it is not called until it is given again.
 *
 * What one thread replaces another must not take back meanwhile: it would not be waited for.
 *
 * A NULL `clock` is the process-wide one. Any number of threads may call this; one at a time for each clock, if they
 * are to know which callback stays. Returns `NTP_ERR_SYSTEM` when the thread cannot be made; the former callback then
 * stays.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
 * - `callback` is NULL, or may be called with `context` from another thread until it is taken back as said above.
 */
ntp_result ntp_clock_on_event(const ntp_clock *clock,
                              ntp_event_callback callback,
                              void *context);

/**
 * Asks one server once: no clock, nothing kept. Pass `sizeof(ntp_query_result)` as `size`.
 *
 * A name, unlike a literal address, is looked up by the one helper thread of the process, which ends when
 * there is nothing more to look up.
 *
 * `server` is one entry of a list as in `ntp_start`; of a pool the first address is asked. Blocks up to
 * `timeout_ms` milliseconds, for ever if that is negative: an answer may get lost. Any number of threads
 * may ask at the same time. Sizes are understood as in `ntp_clock_report`.
 *
 * With ` nts` behind the server keys are exchanged first, by the helper thread too.
 *
 * Returns `NTP_ERR_INVALID_SERVER`, `NTP_ERR_RESOLVE`, `NTP_ERR_KEY_EXCHANGE`, `NTP_ERR_TIMEOUT`, `NTP_ERR_BAD_REPLY`
 * or `NTP_ERR_SYSTEM` for what the names say; and `NTP_ERR_INVALID_ARGUMENT` if a pointer is NULL, `server` is
 * over-long or not UTF-8, or `size` makes no sense. `result` is written on success only.
 *
 * Contract:
 *
 * - `server` is NULL or a NUL-terminated string that does not change during the call.
 * - `result` is NULL, or points to `size` bytes that no other thread uses meanwhile.
 */
ntp_result ntp_query(const char *server,
                     int64_t timeout_ms,
                     ntp_query_result *result,
                     size_t size);

/**
 * As `ntp_query`, with the certificates that `config` trusts to vouch for a server with Network Time Security. Nothing
 * else of `config` matters; NULL stands for the defaults.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread changes it meanwhile.
 * - `server` is NULL or a NUL-terminated string that does not change during the call.
 * - `result` is NULL, or points to `size` bytes that no other thread uses meanwhile.
 */
ntp_result ntp_query_with(const ntp_config *config,
                          const char *server,
                          int64_t timeout_ms,
                          ntp_query_result *result,
                          size_t size);

/**
 * Makes a server's configuration: it listens nowhere yet, and serves the clock it is started with. Free it
 * with `ntp_server_config_free`.
 *
 * One thread at a time may use it. Never returns NULL, unless a bug in ntpclock keeps it from being made.
 */
ntp_server_config *ntp_server_config_new(void);

/**
 * Frees a server's configuration. Servers started with it go on. NULL is harmless.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and is not used again.
 */
void ntp_server_config_free(ntp_server_config *config);

/**
 * Adds an address to listen on: `address`, `address:port` or `[v6]:port`. Port 0 picks a free one, which
 * `ntp_server_port` tells.
 *
 * An address of IPv4 that is mapped into IPv6 (`::ffff:192.0.2.1`) is that of IPv4. A link-local one names its
 * interface: `[fe80::1%eth0]:123`.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` if `address` is no literal address, is a multicast address or 255.255.255.255, at
 * which nobody is answered (a network's own broadcast address is refused by `ntp_server_start`), is a link-local one
 * that names no interface of this host, if what is sent there would come to another one
 * that was added, too (the same with the same port, or all addresses beside one of them), or a pointer is NULL.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
 *   meanwhile.
 * - `address` is NULL or a NUL-terminated string that does not change during the call.
 */
ntp_result ntp_server_config_add_listen(ntp_server_config *config,
                                        const char *address);

/**
 * Serves the system clock as `stratum` with this root dispersion, in nanoseconds, without any upstream: for
 * islands and demonstrations. The dispersion is the caller's claim.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` unless 1 <= `stratum` <= 15 and 0 <= `root_dispersion_ns` < 16 s.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
 *   meanwhile.
 */
ntp_result ntp_server_config_set_local(ntp_server_config *config,
                                       int32_t stratum,
                                       int64_t root_dispersion_ns);

/**
 * Answers clients of `prefix`: `address/length`, or one address. Where one prefix lies in another the longer one
 * counts. No client of IPv4 is in a prefix of IPv6, nor the other way round; `::ffff:10.0.0.0/104` is one of IPv4.
 * Whoever is in none is answered, unless anything at all, of either protocol, is allowed in this way.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` if `prefix` is none, if it is denied already, if it is one too many (1024
 * in all), or if a pointer is NULL.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
 *   meanwhile.
 * - `prefix` is NULL or a NUL-terminated string that does not change during the call.
 */
ntp_result ntp_server_config_allow(ntp_server_config *config,
                                   const char *prefix);

/**
 * Ignores clients of `prefix`; see `ntp_server_config_allow`.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` if `prefix` is none, if it is allowed already, if it is one too many (1024
 * in all), or if a pointer is NULL.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
 *   meanwhile.
 * - `prefix` is NULL or a NUL-terminated string that does not change during the call.
 */
ntp_result ntp_server_config_deny(ntp_server_config *config,
                                  const char *prefix);

/**
 * Answers each address (of IPv6: each network of 64 bits) at most `per_second` times a second over time, and
 * `burst` times at once; 16 and 64 unless set, and then not the loopback addresses of this host. A `per_second` of 0
 * answers everything.
 *
 * Of what is beyond, a random quarter is answered all the same, so that nobody can silence the server to somebody
 * by asking in that one's name, and some are told to ask less (the kiss code `RATE`).
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` unless 0 <= `per_second` <= 1000000 and 1 <= `burst` <= 1000000, or if so
 * many take over an hour, or if `config` is NULL.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
 *   meanwhile.
 */
ntp_result ntp_server_config_set_rate_limit(ntp_server_config *config,
                                            int64_t per_second,
                                            int64_t burst);

/**
 * Serves with so many threads, each with a socket of its own for each address; unless set, with one for each
 * processor that the process may use.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` unless 1 <= `threads` <= 64, or if `config` is NULL.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
 *   meanwhile.
 */
ntp_result ntp_server_config_set_threads(ntp_server_config *config, int32_t threads);

/**
 * Says nothing while the clock is not synchronised if `is_silent` is not 0; else, and unless set, clients are told
 * that it is not (leap indicator 3, stratum 16, no time).
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` if `config` is NULL.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
 *   meanwhile.
 */
ntp_result ntp_server_config_set_silent_unless_synchronized(ntp_server_config *config,
                                                            int32_t is_silent);

/**
 * Serves Network Time Security (RFC 8915) beside plain NTP, to whoever asks for it: as the server whose certificates
 * (PEM, its own first) and private key (PEM) are in these files. They are read when the server starts and never again:
 * when they are renewed, a new server has to be started. Both must be this process's user's or root's, and nobody else
 * may write them; the key nobody beyond its group may read (mode 0640).
 *
 * Keys are exchanged over TLS at every address that is listened on, port 4460 unless set
 * (`ntp_server_config_set_nts_port`).
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` if a path names no file or a pointer is NULL, `NTP_ERR_UNSUPPORTED` in a build
 * without NTS.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
 *   meanwhile.
 * - `certificate` and `private_key` are NULL or NUL-terminated strings that do not change during the call.
 */
ntp_result ntp_server_config_set_nts(ntp_server_config *config,
                                     const char *certificate,
                                     const char *private_key);

/**
 * Exchanges keys at this port; 0 picks a free one, which `ntp_server_nts_port` tells.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` unless 0 <= `port` <= 65535, if NTS is not served, or if `config` is NULL.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
 *   meanwhile.
 */
ntp_result ntp_server_config_set_nts_port(ntp_server_config *config,
                                          int32_t port);

/**
 * Seals cookies with the keys in the file at `path`, which several servers may share, so that each of them understands
 * the clients of the others. Unless set, they are a server's own, made anew every day, and gone when it stops.
 *
 * A line has an id and `HEX:` with 64 digits; the newest key comes first, for others to know, the second seals, and
 * all of them open. The file must be this process's user's or root's, for nobody else to read or write (mode 0600);
 * it is made, with a first key, if the server finds none when it starts, and read again when it changes. Nothing renews
 * its keys but the command `ntpclock cookie-keys FILE`: have that done once a day.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT` if NTS is not served, if `path` names no file, or if a pointer is NULL.
 *
 * Contract:
 *
 * - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
 *   meanwhile.
 * - `path` is NULL or a NUL-terminated string that does not change during the call.
 */
ntp_result ntp_server_config_set_nts_cookie_keys(ntp_server_config *config,
                                                 const char *path);

/**
 * Starts to answer NTP clients with the time of `clock`; `server` gets the handle.
 *
 * A NULL `clock` is the process-wide one. The configuration is copied. Free the server with
 * `ntp_server_free`; its clock may be freed before, and then serves on in holdover.
 *
 * Returns `NTP_ERR_SYSTEM` when an address cannot be bound, a file that NTS needs cannot be read or a thread cannot be
 * made, `NTP_ERR_MALFORMED` when the file of cookie keys makes no sense, and `NTP_ERR_INVALID_ARGUMENT` when `config`
 * names no address, its certificates or their key are of no use, or it or `server` is NULL; `server`, where it is not
 * NULL, is then set to NULL.
 *
 * Contract:
 *
 * - `clock` is NULL, or came from `ntp_clock_start` and is not freed before this returns.
 * - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread changes it
 *   meanwhile.
 * - `server` is NULL, or points to a pointer that no other thread uses meanwhile.
 */
ntp_result ntp_server_start(const ntp_clock *clock,
                            const ntp_server_config *config,
                            ntp_server **server);

/**
 * Stops a server and frees it; its threads have ended when this returns. NULL is harmless.
 *
 * Contract:
 *
 * - `server` is NULL, or came from `ntp_server_start`, is not freed, and no thread uses it now or later.
 */
void ntp_server_free(ntp_server *server);

/**
 * Tells the port of a server's address number `index`, counted from 0 in the order of
 * `ntp_server_config_add_listen`: for addresses whose port was picked.
 *
 * Any number of threads may ask at the same time. Returns `NTP_ERR_INVALID_ARGUMENT`, and writes nothing, if
 * a pointer is NULL or there is no such address.
 *
 * Contract:
 *
 * - `server` is NULL, or came from `ntp_server_start` and is not freed.
 * - `port` is NULL, or points to a number that no other thread uses meanwhile.
 */
ntp_result ntp_server_port(const ntp_server *server, size_t index, uint16_t *port);

/**
 * Tells the port at which keys are exchanged, of address number `index`; addresses that differ in their port alone
 * count once.
 *
 * Any number of threads may ask at the same time. Returns `NTP_ERR_INVALID_ARGUMENT`, and writes nothing, if
 * a pointer is NULL or there is no such address, as where NTS is not served.
 *
 * Contract:
 *
 * - `server` is NULL, or came from `ntp_server_start` and is not freed.
 * - `port` is NULL, or points to a number that no other thread uses meanwhile.
 */
ntp_result ntp_server_nts_port(const ntp_server *server,
                               size_t index,
                               uint16_t *port);

/**
 * Tells what a server has done since its start. Pass `sizeof(ntp_server_counters)` as `size`, which is understood as
 * in `ntp_clock_report`.
 *
 * Any number of threads may ask at the same time. What its threads have not told yet, for a second at most, is
 * missing.
 *
 * Returns `NTP_ERR_INVALID_ARGUMENT`, and writes nothing, if a pointer is NULL or `size` makes no sense.
 *
 * Contract:
 *
 * - `server` is NULL, or came from `ntp_server_start` and is not freed.
 * - `counters` is NULL, or points to `size` bytes that no other thread uses meanwhile.
 */
ntp_result ntp_server_statistics(const ntp_server *server,
                                 ntp_server_counters *counters,
                                 size_t size);

/**
 * Says what a result means, in general; `ntp_last_error` says what happened to this call.
 *
 * The text is static. Any number may be asked for; those this library does not know get a text that
 * says so. Any thread may call this at any time; it never fails.
 */
const char *ntp_result_message(int32_t result);

/**
 * Says what went wrong in the last call of this thread that failed: one sentence that names the thing
 * and the numbers. Empty if none has failed yet; a call that succeeds leaves it alone.
 *
 * The text is the calling thread's own and stays valid until its next failing call, or its end: in the destructor of a
 * `pthread_key_create` it may be empty. A failing call in a signal handler counts like any other of the thread.
 */
const char *ntp_last_error(void);

/**
 * Names a state as the documentation does: "SYNCHRONIZED" for `NTP_STATE_SYNCHRONIZED`.
 *
 * The text is static. Any number may be asked for; "UNKNOWN" names those that are no state. Any thread
 * may call this at any time; it never fails.
 */
const char *ntp_state_name(int32_t state);

/**
 * Names what a source has of Network Time Security: "authenticated" for `NTP_NTS_AUTHENTICATED`.
 *
 * The text is static. Any number may be asked for; "unknown" names those that are none. Any thread may
 * call this at any time; it never fails.
 */
const char *ntp_nts_state_name(int32_t state);

/**
 * Names what selection thinks of a source: "truechimer" for `NTP_SELECTION_TRUECHIMER`.
 *
 * The text is static. Any number may be asked for; "unknown" names those that are none. Any thread may
 * call this at any time; it never fails.
 */
const char *ntp_selection_name(int32_t selection);

/**
 * Names a reason why a source or an answer was refused: "origin" for `NTP_REASON_ORIGIN`.
 *
 * The text is static. Any number may be asked for; "unknown" names those that are none. Any thread may call this at
 * any time; it never fails.
 */
const char *ntp_reason_name(int32_t reason);

/**
 * The version of the library that is running, as "0.1.0": compare `NTPCLOCK_VERSION_STRING`, the version
 * of the header a program was compiled with. The text is static.
 */
const char *ntp_version_string(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* NTPCLOCK_H */
