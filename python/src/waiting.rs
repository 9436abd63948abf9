//! Blocking calls that leave the interpreter to others and that Ctrl-C can end.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ntpclock::{Config, Error, QueryResult};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::errors::raise;

/// How long a signal may go unseen. Python's handlers only run when we look.
const SLICE: Duration = Duration::from_millis(50);

/// Calls `wait` in slices until it succeeds, fails, or `timeout` has passed (`None`: never passes). `session` is that of the
/// clock: each slice only knows of the stops that fall in it.
pub(crate) fn wait(
    py: Python<'_>,
    timeout: Option<Duration>,
    session: impl Fn() -> Option<u64> + Sync,
    wait: impl Fn(Duration) -> Result<(), Error> + Sync,
) -> PyResult<()> {
    let begun = Instant::now();
    let mut running_in = py.detach(&session);
    loop {
        let left = timeout.map_or(Duration::MAX, |timeout| timeout.saturating_sub(begun.elapsed()));
        let (ended, now) = py.detach(|| (wait(left.min(SLICE)), session()));
        if ended.is_err() && running_in.is_some() && now != running_in {
            return Err(raise(Error::Stopped));
        }
        match ended {
            Err(Error::Timeout { .. } | Error::NotSynchronized(_)) if left > SLICE => py.check_signals()?,
            ended => return ended.map_err(raise),
        }
        running_in = now;
    }
}

/// Asks `server` once, on a thread of its own: neither the resolver nor the exchange can be cut into slices. Signals are
/// left to the program's threads.
///
/// After a signal that thread ends by itself; nobody takes its answer.
pub(crate) fn query(py: Python<'_>, config: Config, server: String, timeout: Duration) -> PyResult<QueryResult> {
    let (answer, mut asked) = mpsc::sync_channel(1);
    let signal = py.import("signal")?;
    let mask = |how: &str, signals| signal.call_method1("pthread_sigmask", (signal.getattr(how)?, signals));
    // A thread begins with the mask of the one that starts it.
    let former = mask("SIG_BLOCK", signal.call_method0("valid_signals")?)?;
    let spawned = thread::Builder::new()
        .name("ntpclock-query".to_owned())
        .spawn(move || answer.send(ntpclock::query_with(&config, &server, timeout)));
    mask("SIG_SETMASK", former)?;
    spawned.map_err(|source| raise(Error::Io { what: "a thread for the query".to_owned(), source }))?;
    loop {
        let answer;
        // A receiver may move between threads but not be shared, so it goes out and comes back.
        (asked, answer) = py.detach(move || {
            let answer = asked.recv_timeout(SLICE);
            (asked, answer)
        });
        match answer {
            Ok(answer) => return answer.map_err(raise),
            Err(mpsc::RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err("a bug in ntpclock; please report it"));
            }
        }
    }
}
