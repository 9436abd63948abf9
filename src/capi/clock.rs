//! Clocks behind handles, and the process-wide one behind NULL.

use std::time::Duration;

use super::config::ntp_config;
use super::result::ntp_result;
use super::values::{NTPCLOCK_TAI_UNKNOWN, check_size, hand_over, leap_byte, ntp_reading, ntp_report, ntp_source_info};
use super::{boundary, guarded, not_null, reading_boundary};
use crate::clock::{Clock, Offset, process, resume_watch_error, shared_page_fault};
use crate::engine::SharedRef;
use crate::error::Error;
use crate::publication::Publication;
use crate::publication::glance::{Glimpse, Piece};
use crate::reading::Reading;
use crate::status::{Report, SourceInfo, State};
use crate::sys::ticks::{self, Kind};

/// A running clock. Any number of threads may use it, until it is freed.
pub struct ntp_clock(pub(super) Clock);

// What the line above promises to C.
const _: fn() = || {
    fn shared_by_threads<T: Send + Sync>() {}
    shared_by_threads::<ntp_clock>();
};

/// The clock that C means.
pub(super) enum Meant<'a> {
    ProcessWide,
    Own(&'a Clock),
}

impl<'a> Meant<'a> {
    /// # Safety
    ///
    /// `clock` is NULL, or came from `ntp_clock_start` and is not freed during `'a`.
    pub(super) unsafe fn by(clock: *const ntp_clock) -> Self {
        // SAFETY: NULL or live by contract; nothing needs a clock exclusively before `ntp_clock_free`.
        unsafe { clock.as_ref::<'a>() }.map_or(Self::ProcessWide, |clock| Self::Own(&clock.0))
    }

    /// What the clock's thread and its readers share.
    pub(super) fn shared(&self) -> SharedRef {
        match self {
            Self::ProcessWide => process::shared(),
            Self::Own(clock) => clock.shared(),
        }
    }

    /// The same, and in a forked child that is to restart the clock by itself, that is done first.
    pub(super) fn roused(&self) -> SharedRef {
        match self {
            Self::ProcessWide => SharedRef::Static(process::roused()),
            Self::Own(clock) => clock.roused().clone(),
        }
    }

    pub(super) fn now(&self) -> Reading {
        match self {
            Self::ProcessWide => process::now(),
            Self::Own(clock) => clock.now(),
        }
    }

    /// What its readers look at, and of which fork generation its writer is to be.
    #[inline(always)]
    fn page(&self) -> (&Publication, u32) {
        match self {
            Self::ProcessWide => process::page(),
            Self::Own(clock) => clock.page(),
        }
    }

    fn now_checked(&self) -> Reading {
        match self {
            Self::ProcessWide => process::now_checked(),
            Self::Own(clock) => clock.now_checked(),
        }
    }

    fn offset(&self) -> Offset {
        match self {
            Self::ProcessWide => process::offset(),
            Self::Own(clock) => clock.offset(),
        }
    }

    fn wait(&self, max_bound: Option<Duration>, timeout: Option<Duration>) -> Result<(), Error> {
        match self {
            Self::ProcessWide => process::wait(max_bound, timeout),
            Self::Own(clock) => clock.wait(max_bound, timeout),
        }
    }

    fn report(&self) -> Report {
        match self {
            Self::ProcessWide => process::report(),
            Self::Own(clock) => clock.report(),
        }
    }

    fn restart(&self) -> Result<(), Error> {
        match self {
            Self::ProcessWide => process::restart(),
            Self::Own(clock) => clock.restart(),
        }
    }

    fn state_file_fault(&self) -> Option<String> {
        match self {
            Self::ProcessWide => process::state_file_fault(),
            Self::Own(clock) => clock.state_file_fault(),
        }
    }

    fn sources(&self) -> Vec<SourceInfo> {
        match self {
            Self::ProcessWide => process::sources(),
            Self::Own(clock) => clock.sources(),
        }
    }
}

/// A timeout in milliseconds as C passes it: negative is for ever.
pub(super) fn timeout(timeout_ms: i64) -> Option<Duration> {
    u64::try_from(timeout_ms).ok().map(Duration::from_millis)
}

/// Turns a state in which the interval means nothing into the error that says so.
fn usable(state: State) -> Result<(), Error> {
    if state.is_usable() { Ok(()) } else { Err(Error::NotSynchronized(state)) }
}

/// Starts a clock of one's own, with its own thread and sources; `clock` gets the handle.
///
/// Returns before anything was heard from the network, and blocks on none: `ntp_clock_wait` waits for the
/// time. With a shared page it waits, two seconds at most, where another process is about to begin that page. The
/// configuration is copied. Free the clock with `ntp_clock_free`.
///
/// Returns `NTP_ERR_NO_SERVERS` when `config` names none, `NTP_ERR_SYSTEM` when the thread cannot be made,
/// `NTP_ERR_SHARED_PAGE` when the page that it names cannot be used, and `NTP_ERR_INVALID_ARGUMENT` when a pointer is
/// NULL; `clock`, where it is not NULL, is then set to NULL.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread changes it meanwhile.
/// - `clock` is NULL, or points to a pointer that no other thread uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_start(config: *const ntp_config, clock: *mut *mut ntp_clock) -> ntp_result {
    boundary(|| {
        not_null("clock", clock)?;
        // SAFETY: not NULL, so by contract writable and ours alone for this call.
        unsafe { clock.write(std::ptr::null_mut()) };
        // SAFETY: NULL or live and unchanging for this call, by contract.
        let config = unsafe { config.as_ref() }.ok_or_else(|| Error::argument("config", "is NULL"))?;
        let started = Box::new(ntp_clock(Clock::start(config.0.clone())?));
        // SAFETY: as above.
        unsafe { clock.write(Box::into_raw(started)) };
        Ok(())
    })
}

/// Stops a clock and frees it; its thread has ended when this returns. NULL is harmless, and does not mean
/// the process-wide clock here.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start`, is not freed, and no thread uses it now or later.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_free(clock: *mut ntp_clock) {
    let _ = guarded(|| {
        if !clock.is_null() {
            // SAFETY: from `Box::into_raw` in `ntp_clock_start`, and by contract given back only once.
            drop(unsafe { Box::from_raw(clock) });
        }
    });
}

/// In a forked child: makes the thread of `clock` anew, with the same configuration and the same count of starts.
///
/// A NULL `clock` is the process-wide one. Reading goes on meanwhile, on the same line and in the same epoch, in
/// NTP_STATE_HOLDOVER until the child has heard its servers itself; the parent notices nothing. Where the thread runs,
/// this does nothing and succeeds. What a child does not take over: the callback of `ntp_clock_on_event` and servers,
/// which have to be set and started anew. A child of a process with several threads needs a C library in which threads
/// can be made after a fork, as they can in glibc and musl. `ntp_config_set_restart_after_fork` does this by itself.
///
/// Any thread may call this at any time. Returns `NTP_ERR_NOT_RUNNING` when the clock was not started, or is stopped,
/// and `NTP_ERR_SYSTEM` when the thread cannot be made, or inside a fork handler; the clock then reads on in holdover,
/// and may be restarted later.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed before this returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_restart(clock: *const ntp_clock) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live for this call, by contract.
        unsafe { Meant::by(clock) }.restart()
    })
}

/// Reads `clock`: the synchronised time and the interval that holds UTC.
///
/// A NULL `clock` is the process-wide one. Any number of threads may read one clock at the same time.
/// Takes no lock, allocates nothing and makes no system call: it is async-signal-safe. (Where the library was loaded by
/// `dlopen`, some C libraries make room for it in a thread at the first call there that fails: let a thread whose
/// signal handlers read call `ntp_last_error` once before.)
///
/// When the machine resumes from a suspend, the clock's thread is woken and makes the clock DISRUPTED. A reading cannot
/// see the suspend before that thread has run, usually for a millisecond or two: until then it is wrong, as a rule late
/// by the time suspended, and its interval does not hold UTC. Where the thread cannot be woken
/// (`ntp_clock_check_resume_watch`), that lasts until it has something to do, a poll interval at most. Where there is
/// no thread to be woken it has no end: after `ntp_stop`, in a forked child until it restarts the clock, and on a
/// shared page as long as the leader's process is stopped (SIGSTOP). `ntp_clock_now_checked` has no such window.
///
/// Returns `NTP_ERR_NOT_SYNCHRONIZED` when the interval means nothing; `reading` is filled all the same:
/// with the system clock's time before the first synchronisation, with the last model's afterwards.
/// Returns `NTP_ERR_INVALID_ARGUMENT`, and writes nothing, if `reading` is NULL.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
/// - `reading` is NULL, or points to an `ntp_reading` that no other thread uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_now(clock: *const ntp_clock, reading: *mut ntp_reading) -> ntp_result {
    // What nearly every call comes to, without what can panic.
    if !reading.is_null() {
        // SAFETY: NULL or live for this call, by contract.
        let clock = unsafe { Meant::by(clock) };
        let (page, generation) = clock.page();
        // SAFETY: not NULL, so by contract aligned, writable and ours alone for this call.
        let fill = |now: &Glimpse| unsafe { fill(reading, now) };
        if page.glimpse(Piece::Settled, Kind::Ticks, ticks::read, generation, fill).is_some() {
            return ntp_result::NTP_OK;
        }
    }
    // SAFETY: as this function's own contract.
    unsafe { now_otherwise(clock, reading) }
}

// A member that is new has to be put below, too.
const _: fn(ntp_reading) = |reading| {
    let ntp_reading {
        unix_ns: _,
        earliest_ns: _,
        latest_ns: _,
        raw_ns: _,
        age_ns: _,
        epoch: _,
        state: _,
        flags: _,
        leap: _,
        reserved: _,
        tai_minus_utc: _,
        reserved_tail: _,
    } = reading;
};

/// What [`Reading::glimpsed`] makes of `now`, put where it is wanted number by number.
///
/// # Safety
///
/// `reading` is aligned, writable and nobody else's meanwhile; it need not be initialised.
#[inline(always)]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "it is twelve times the same")]
unsafe fn fill(reading: *mut ntp_reading, now: &Glimpse) {
    let (utc, counter) = (now.utc(), now.counter());
    // SAFETY: by contract. Nothing is read.
    unsafe {
        (*reading).unix_ns = utc.0;
        (*reading).earliest_ns = now.earliest(utc).0;
        (*reading).latest_ns = now.latest(utc).0;
        (*reading).raw_ns = counter.0;
        (*reading).age_ns = now.age(counter).0;
        (*reading).epoch = now.epoch();
        (*reading).state = now.state().into();
        (*reading).flags = now.flags().0;
        (*reading).leap = leap_byte(now.leap());
        (*reading).reserved = 0;
        (*reading).tai_minus_utc = NTPCLOCK_TAI_UNKNOWN;
        (*reading).reserved_tail = [0; 8];
    }
}

/// `ntp_clock_now` where it takes more than a glance. Apart, so that the quick way is short; by C's calling convention,
/// since who calls that need not be ready for a panic.
///
/// # Safety
///
/// As `ntp_clock_now`.
#[inline(never)]
unsafe extern "C" fn now_otherwise(clock: *const ntp_clock, reading: *mut ntp_reading) -> ntp_result {
    reading_boundary(|| {
        not_null("reading", reading)?;
        // SAFETY: NULL or live for this call, by contract.
        let now = unsafe { Meant::by(clock) }.now();
        // SAFETY: not NULL, so by contract aligned, writable and ours alone for this call. `write` reads nothing, so
        // the caller need not have initialised it.
        unsafe { reading.write(now.into()) };
        usable(now.state)
    })
}

/// Reads `clock` as `ntp_clock_now` does, and gives DISRUPTED if the machine was suspended and the clock's thread has
/// not run since.
///
/// It costs two readings of the system's clocks more. It finds every suspend that is longer than the time this very
/// call was held up for, also after `ntp_stop` and in a forked child. What a hypervisor does to a machine behind its
/// kernel's back, it cannot find. A NULL `clock` is the process-wide one. Any number of threads may read one clock at
/// the same time. Takes no lock and makes no system call; async-signal-safe as `ntp_clock_now` is.
///
/// Returns `NTP_ERR_NOT_SYNCHRONIZED` when the interval means nothing; `reading` is filled all the same. Returns
/// `NTP_ERR_INVALID_ARGUMENT`, and writes nothing, if `reading` is NULL.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
/// - `reading` is NULL, or points to an `ntp_reading` that no other thread uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_now_checked(clock: *const ntp_clock, reading: *mut ntp_reading) -> ntp_result {
    reading_boundary(|| {
        not_null("reading", reading)?;
        // SAFETY: NULL or live for this call, by contract.
        let now = unsafe { Meant::by(clock) }.now_checked();
        // SAFETY: not NULL, so by contract aligned, writable and ours alone for this call. `write` reads nothing, so
        // the caller need not have initialised it.
        unsafe { reading.write(now.into()) };
        usable(now.state)
    })
}

/// UTC minus the system clock at the call, and how far that can be off, both in nanoseconds: add
/// `offset_ns` to the system clock to get UTC; the true offset lies within ± `bound_ns`.
///
/// A NULL `clock` is the process-wide one. Any number of threads may call this at the same time; async-signal-safe as
/// `ntp_clock_now` is.
///
/// Returns `NTP_ERR_NOT_SYNCHRONIZED` when the bound is unknown; both numbers are written all the same, the
/// bound as INT64_MAX, and the offset as 0 before the first synchronisation. Returns
/// `NTP_ERR_INVALID_ARGUMENT`, and writes nothing, if either out-pointer is NULL.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
/// - `offset_ns` and `bound_ns` are NULL, or point to numbers that no other thread uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_offset(
    clock: *const ntp_clock,
    offset_ns: *mut i64,
    bound_ns: *mut i64,
) -> ntp_result {
    reading_boundary(|| {
        not_null("offset_ns", offset_ns)?;
        not_null("bound_ns", bound_ns)?;
        // SAFETY: NULL or live for this call, by contract.
        let clock = unsafe { Meant::by(clock) };
        let offset = clock.offset();
        // SAFETY: not NULL, so by contract writable and ours alone for this call.
        unsafe { offset_ns.write(offset.offset_ns) };
        // SAFETY: the same.
        unsafe { bound_ns.write(offset.bound_ns) };
        if offset.bound_ns == i64::MAX { Err(Error::NotSynchronized(clock.now().state)) } else { Ok(()) }
    })
}

/// Whether the state file of `clock` is in order: it was used at the start, or there was none yet, and it could be
/// written last.
///
/// A NULL `clock` is the process-wide one. Any number of threads may call this at the same time.
/// Returns `NTP_ERR_STATE_FILE` when the file was refused at the start, or could not be written last;
/// `ntp_last_error` then names it and says why. The clock is as good without it, once its servers have answered.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_check_state_file(clock: *const ntp_clock) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live for this call, by contract.
        let clock = unsafe { Meant::by(clock) };
        clock.state_file_fault().map_or(Ok(()), |why| Err(Error::StateFile { why }))
    })
}

/// Whether the page that `clock` shares with other processes is in order.
///
/// A NULL `clock` is the process-wide one, which shares none. Any number of threads may call this at the same time.
/// Returns `NTP_ERR_SHARED_PAGE` when the file was removed, replaced or damaged, or the lead cannot be taken though
/// nobody has it; `ntp_last_error` then names the file and says why. The clock goes on with the page it has; clocks
/// that are started later share another.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_check_shared_page(clock: *const ntp_clock) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live for this call, by contract.
        let shared = unsafe { Meant::by(clock) }.shared();
        shared_page_fault(&shared).map_or(Ok(()), |why| Err(Error::SharedPage { why }))
    })
}

/// Whether the thread of `clock` is woken when the machine resumes from a suspend, or the system clock is set.
///
/// A NULL `clock` is the process-wide one. Any number of threads may call this at the same time. Returns
/// `NTP_ERR_SYSTEM` when the operating system refused what wakes it, for want of descriptors or by a filter of system
/// calls; `ntp_last_error` then says why. The clock works without: the thread finds out when it runs next, and
/// `ntp_clock_now_checked` at once.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_check_resume_watch(clock: *const ntp_clock) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live for this call, by contract.
        let shared = unsafe { Meant::by(clock) }.shared();
        resume_watch_error(&shared).map_or(Ok(()), Err)
    })
}

/// Waits until `clock` is synchronised and its error bound is at most `max_bound_ns`: up to `timeout_ms`
/// milliseconds, for ever if that is negative. A `max_bound_ns` of 0 or less, or INT64_MAX, stands for any
/// bound. What it shows then may be provisional (`NTP_FLAG_PROVISIONAL`): look at the reading if that matters.
///
/// A NULL `clock` is the process-wide one. Any number of threads may wait. Returns `NTP_ERR_TIMEOUT` when
/// the time ran out (`ntp_last_error` then names each source and its last fault), `NTP_ERR_NOT_RUNNING`
/// when the clock is not started, `NTP_ERR_STOPPED` when it was stopped meanwhile, and `NTP_ERR_SYSTEM` inside a fork
/// handler; in a forked child that is to restart the clock by itself also what `ntp_clock_restart` returns.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed before this returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_wait(clock: *const ntp_clock, max_bound_ns: i64, timeout_ms: i64) -> ntp_result {
    boundary(|| {
        let max_bound = match max_bound_ns {
            ..=0 | i64::MAX => None,
            ns => Some(Duration::from_nanos(ns.unsigned_abs())),
        };
        // SAFETY: NULL or live for this call, by contract.
        unsafe { Meant::by(clock) }.wait(max_bound, timeout(timeout_ms))
    })
}

/// Tells the state of `clock` in numbers. Pass `sizeof(ntp_report)` as `size`.
///
/// A NULL `clock` is the process-wide one. Any number of threads may call this at the same time. A library
/// that knows more than the caller's header writes the members the caller knows; one that knows less sets
/// the rest to zero.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT`, and writes nothing, if `report` is NULL or `size` makes no sense.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
/// - `report` is NULL, or points to `size` bytes that no other thread uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_report(clock: *const ntp_clock, report: *mut ntp_report, size: usize) -> ntp_result {
    boundary(|| {
        not_null("report", report)?;
        check_size::<ntp_report>("size", size)?;
        // SAFETY: NULL or live for this call, by contract.
        let told = unsafe { Meant::by(clock) }.report();
        // SAFETY: not NULL, so by contract `size` bytes that are ours alone for this call.
        unsafe { hand_over(&ntp_report::from(&told), report, size) };
        Ok(())
    })
}

/// Lists the sources of `clock`. Pass `sizeof(ntp_source_info)` as `element_size`, and in `capacity` how many
/// elements `sources` has room for; `count` gets how many sources there are.
///
/// Where there are more than `capacity`, the first `capacity` are written; with a `capacity` of 0, `sources`
/// may be NULL. A NULL `clock` is the process-wide one. Any number of threads may call this at the same
/// time. Sizes are understood as in `ntp_clock_report`. What makes a clock SYNCHRONIZED is told here a millisecond,
/// and 64 ms at most, before readers see it.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT`, and writes nothing, if `count` is NULL, if `sources` is NULL with a
/// `capacity` above 0, or if a size makes no sense.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
/// - `sources` is NULL, or points to `capacity` elements of `element_size` bytes that no other thread uses
///   meanwhile.
/// - `count` is NULL, or points to a number that no other thread uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_sources(
    clock: *const ntp_clock,
    sources: *mut ntp_source_info,
    element_size: usize,
    capacity: usize,
    count: *mut usize,
) -> ntp_result {
    boundary(|| {
        not_null("count", count)?;
        check_size::<ntp_source_info>("element_size", element_size)?;
        if capacity > 0 {
            not_null("sources", sources)?;
        }
        if element_size.checked_mul(capacity).is_none_or(|bytes| bytes > isize::MAX as usize) {
            return Err(Error::argument("capacity", format!("is {capacity}, more than memory can hold")));
        }
        // SAFETY: NULL or live for this call, by contract.
        let listed = unsafe { Meant::by(clock) }.sources();
        for (index, source) in listed.iter().take(capacity).enumerate() {
            // SAFETY: `index` is below `capacity`, so this stays within the caller's array.
            let element = unsafe { sources.byte_add(index * element_size) };
            // SAFETY: an element of that array: `element_size` bytes that are ours alone for this call.
            unsafe { hand_over(&ntp_source_info::from(source), element, element_size) };
        }
        // SAFETY: not NULL, so by contract writable and ours alone for this call.
        unsafe { count.write(listed.len()) };
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use super::*;
    use crate::model::slew::Line;
    use crate::model::{ClockModel, UtcSpan};
    use crate::publication::Writer;
    use crate::status::{Flags, Leap};
    use crate::sys::ticks::Tick;
    use crate::units::{Counter, Nanos, Rate, UnixTime};

    #[test]
    fn what_is_put_number_by_number_is_the_whole_reading() {
        let model = |base: Counter, state| ClockModel {
            line: Line { base, utc: UnixTime(1_795_000_000_123_456_789), slew: Rate(0), slew_end: base, rate: Rate(0) },
            span: UtcSpan {
                at: base,
                earliest: UnixTime(1_795_000_000_123_400_000),
                latest: UnixTime(1_795_000_000_123_500_000),
                knee: Nanos::from_seconds(1_000),
                ..UtcSpan::default()
            },
            state,
            leap: Leap::Delete,
            flags: Flags::AUTHENTICATED,
            epoch: 0x0102_0304,
            holdover_at: base + Nanos::from_seconds(192),
            bound_cap: Nanos::from_seconds(1),
            newest_exchange: base - Nanos(70_707),
        };
        for state in [State::Synchronized, State::Holdover] {
            let (publication, now) = (Publication::new(), Counter(1_000_000_000));
            let mut writer = Writer::new(&publication, None);
            let plan = |switch| (model(switch, state), ());
            writer.publish(&publication, 3, || now, plan).expect("it is in time");
            let at = Tick(writer.ready_at().0 + 1_000_000);
            let mut reading = MaybeUninit::<ntp_reading>::uninit();
            // SAFETY: any bytes may be written there.
            unsafe { reading.as_mut_ptr().cast::<[u8; 64]>().write([0xaa; 64]) };
            let both = |now: &Glimpse| {
                // SAFETY: it is ours, and aligned.
                unsafe { fill(reading.as_ptr().cast_mut(), now) };
                Reading::glimpsed(now)
            };
            let whole = publication.glimpse(Piece::Settled, Kind::Raw, |_| at, 3, both).expect("a glance is enough");
            let whole = ntp_reading::from(whole);
            // SAFETY: plain data without gaps, all of it written.
            let bytes = |reading: *const ntp_reading| unsafe { reading.cast::<[u8; 64]>().read() };
            assert_eq!(bytes(reading.as_ptr()), bytes(&raw const whole), "{state:?}");
            assert_eq!((whole.epoch, whole.age_ns, whole.flags), (0x0102_0304, 1_070_707, 0x11));
        }
    }
}
