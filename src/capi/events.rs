//! Being told that something has happened to a clock.

use std::ffi::{c_int, c_void};

use super::clock::{Meant, ntp_clock};
use super::result::ntp_result;
use super::{boundary, guarded, not_null};
use crate::events::Events;

/// The clock became SYNCHRONIZED.
pub const NTP_EVENT_SYNCHRONIZED: u32 = 1 << 0;
/// The clock is no longer SYNCHRONIZED but in HOLDOVER, or no longer that but UNSYNCHRONIZED; also by its stop.
pub const NTP_EVENT_LOST: u32 = 1 << 1;
/// The clock became DISRUPTED: nothing older is to be trusted.
pub const NTP_EVENT_DISRUPTED: u32 = 1 << 2;
/// A new epoch has begun, and not the first: readings of before and after are not on one line.
pub const NTP_EVENT_STEPPED: u32 = 1 << 3;

const _: () = assert!(Events::SYNCHRONIZED.0 == NTP_EVENT_SYNCHRONIZED && Events::LOST.0 == NTP_EVENT_LOST);
const _: () = assert!(Events::DISRUPTED.0 == NTP_EVENT_DISRUPTED && Events::STEPPED.0 == NTP_EVENT_STEPPED);

/// Called with what has happened, `NTP_EVENT_...` (expect bits that this header does not list), and with the pointer
/// that was given to `ntp_clock_on_event`. No C++ exception must leave it, nor may it end its thread (`pthread_exit`, or
/// a `pthread_cancel` of itself): either ends the process.
pub type ntp_event_callback = Option<unsafe extern "C" fn(context: *mut c_void, events: u32)>;

/// Gives a descriptor that is readable while there are events to take: for `poll`, `epoll`, and the event loops that
/// are built on them. Closed on exec, non-blocking.
///
/// There is one for each clock, which keeps it until it is freed: wait for it, but do not read or close it.
/// `ntp_clock_take_events` makes it unreadable. Every event makes it readable anew, also for those who are only told of
/// edges (EPOLLET). Everything that has happened since the start of the clock is pending at first, so that nothing is
/// missed between a start and this call. The process-wide clock's stays the same over stops and starts.
///
/// In a forked child the number stands for the parent's until the child calls this or `ntp_clock_take_events`; from
/// then on it is the child's own, with nothing of the parent's pending, and is to be registered anew in an event loop
/// of the child's. A child that has closed the number gets another one, and keeps what it has opened under it; so does
/// one that is not told what the number stands for (without `/proc`, or before Linux 5.2).
///
/// A NULL `clock` is the process-wide one. Any number of threads may call this. Returns `NTP_ERR_SYSTEM` when
/// there are no descriptors left, and `NTP_ERR_INVALID_ARGUMENT` when `descriptor` is NULL. A failure writes nothing.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
/// - `descriptor` is NULL, or points to a number that no other thread uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_event_fd(clock: *const ntp_clock, descriptor: *mut c_int) -> ntp_result {
    boundary(|| {
        not_null("descriptor", descriptor)?;
        // SAFETY: NULL or live for this call, by contract.
        let made = unsafe { Meant::by(clock) }.roused().events.descriptor()?;
        // SAFETY: not NULL, so by contract writable and ours alone for this call.
        unsafe { descriptor.write(made) };
        Ok(())
    })
}

/// What has happened since this was last asked, `NTP_EVENT_...`; the descriptor of `ntp_clock_event_fd` is unreadable
/// until something happens again. It may be nothing, 0.
///
/// What came and went between two calls is told, its order is not: `ntp_clock_now` tells the state. A NULL `clock` is
/// the process-wide one. Any number of threads may call this; each event goes to one of them.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_take_events(clock: *const ntp_clock) -> u32 {
    // SAFETY: NULL or live for this call, by contract.
    guarded(|| unsafe { Meant::by(clock) }.roused().events.take()).unwrap_or_default().0
}

/// Has `callback` called with `context` and whatever happens to `clock`; NULL takes the former callback back. A NULL
/// `callback` with a `context` takes back only the callback that was given with that context, and leaves another's alone.
///
/// It is called from a thread of the library's own, one call at a time, with all signals blocked. First it is told
/// `NTP_EVENT_SYNCHRONIZED`, `NTP_EVENT_LOST` or `NTP_EVENT_DISRUPTED`, whichever happened last, if any has. What
/// happens while it runs is told in one further call.
///
/// There is one callback for each clock: another one replaces it; the process-wide clock's stays over stops and starts.
/// When this returns, and when `ntp_clock_free` returns, the former callback is not running and will not be called
/// again, so that its `context` may be freed; do not call either while holding a lock that the callback waits for.
/// `ntp_stop` waits for no callback.
///
/// A callback may block, and may call every function here: also `ntp_stop`, `ntp_start`, `ntp_clock_free` of its own
/// clock, and this one, to replace or take back itself. In the last two cases it is not waited for, and its `context`
/// must live until it returns. In a forked child it is not called until it is given again.
///
/// What one thread replaces another must not take back meanwhile: it would not be waited for.
///
/// A NULL `clock` is the process-wide one. Any number of threads may call this; one at a time for each clock, if they
/// are to know which callback stays. Returns `NTP_ERR_SYSTEM` when the thread cannot be made; the former callback then
/// stays.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
/// - `callback` is NULL, or may be called with `context` from another thread until it is taken back as said above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_on_event(
    clock: *const ntp_clock,
    callback: ntp_event_callback,
    context: *mut c_void,
) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live for this call, by contract.
        let shared = unsafe { Meant::by(clock) }.roused();
        let owner = context.addr();
        if callback.is_none() && owner != 0 {
            shared.events.take_back(owner);
            return Ok(());
        }
        let context = Context(context);
        let call = callback.map(|callback| -> Box<dyn FnMut(Events) + Send> {
            Box::new(move |events: Events| {
                let context = &context;
                // SAFETY: by contract it may be called with this, on this thread, until it is taken back; the desk sees
                // to that.
                unsafe { callback(context.0, events.0) };
            })
        });
        shared.events.call_for(owner, call)
    })
}

/// What belongs to a callback.
struct Context(*mut c_void);

// SAFETY: never looked at here; by the contract of `ntp_clock_on_event` the callback may have it on another thread.
unsafe impl Send for Context {}
