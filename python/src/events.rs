//! Callbacks on threads of the library's, in an interpreter that will end some day.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use ntpclock::Events;
use pyo3::prelude::*;

use crate::{interpreter, words};

/// The interpreter is about to end: nobody may enter it any more.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Threads of ours that are in it, or about to be.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// How often this very thread is among them.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// How long the end of the interpreter waits for callbacks. One that takes longer shares the fate of daemon threads.
const PATIENCE: Duration = Duration::from_secs(1);

/// What `Clock.on_event` and `on_event` hand to the Rust face.
pub(crate) type Callback = Box<dyn FnMut(Events) + Send>;

/// Has callbacks end before the interpreter does: to enter it later ends the thread in the midst of our code.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let finish = wrap_pyfunction!(finish, module)?;
    PyModule::import(module.py(), "atexit")?.call_method1("register", (finish,))?;
    Ok(())
}

/// Lets no callback begin any more, and those that have begun return.
#[pyfunction]
fn finish(py: Python<'_>) {
    ENDING.store(true, SeqCst);
    let begun = Instant::now();
    py.detach(|| {
        while INSIDE.load(SeqCst) > 0 && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

/// In a forked child: of the threads that were inside, only the one that has forked is here.
pub(crate) fn leave_the_parent(py: Python<'_>) {
    INSIDE.store(DEPTH.get(), SeqCst);
    if DEPTH.get() > 0 {
        // It has yet to let go of its callback, and others may enter that it has begun.
        interpreter::stay(py);
    }
}

/// Does `act` in the interpreter, unless that is about to end.
fn inside(act: impl FnOnce(Python<'_>)) {
    INSIDE.fetch_add(1, SeqCst);
    DEPTH.set(DEPTH.get() + 1);
    if !ENDING.load(SeqCst) {
        Python::attach(act);
    }
    DEPTH.set(DEPTH.get() - 1);
    INSIDE.fetch_sub(1, SeqCst);
}

/// A Python callable that may be let go of anywhere.
struct Callable(Option<Py<PyAny>>);

impl Drop for Callable {
    fn drop(&mut self) {
        let callable = self.0.take();
        inside(|_| drop(callable));
    }
}

/// `callable` as the library calls it. What it raises is reported as with threads and finalizers: sys.unraisablehook.
pub(crate) fn callback(callable: Option<Py<PyAny>>) -> Option<Callback> {
    let callable = Callable(Some(callable?));
    Some(Box::new(move |events| {
        inside(|py| {
            let Some(callable) = &callable.0 else { return };
            if let Err(error) = words::events(py, events).and_then(|events| callable.call1(py, (events,))) {
                error.write_unraisable(py, Some(callable.bind(py)));
            }
        });
    }))
}
