//! Callbacks on threads of the library's, in an interpreter that will end some day.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ntpclock::Events;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};

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

/// A callable that is to be told.
#[pyclass(frozen, weakref)]
struct Listener(Py<PyAny>);

#[pymethods]
impl Listener {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.0)
    }
}

/// Who holds the callables of one clock, for the garbage collector to see: the last one given, and those before it until they have
/// returned. The threads that call them only know weakly of them. So a clock that nobody but its own callback refers to is
/// garbage, and from the moment at which the collector has said so nobody enters what it takes apart.
///
/// Locked for instants, by threads that hold the interpreter and keep it.
#[derive(Default)]
pub(crate) struct Listeners(Mutex<Vec<Py<Listener>>>);

impl Listeners {
    fn locked(&self) -> MutexGuard<'_, Vec<Py<Listener>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For `__traverse__`, which must not wait. What it does not show is kept.
    pub(crate) fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Ok(listeners) = self.0.try_lock() else { return Ok(()) };
        listeners.iter().try_for_each(|listener| visit.call(listener))
    }

    /// For `__clear__`: nobody is told any more.
    pub(crate) fn forget(&self) {
        let listeners = std::mem::take(&mut *self.locked());
        // Only now: whatever ends with them may come back to us.
        drop(listeners);
    }

    fn forget_one(&self, forgotten: &Bound<'_, PyAny>) {
        let mut listeners = self.locked();
        let found = listeners.iter().position(|listener| listener.is(forgotten));
        let listener = found.map(|index| listeners.swap_remove(index));
        drop(listeners);
        drop(listener);
    }
}

/// What a thread has of its callable; it may be let go of anywhere.
struct Told {
    by: Arc<Listeners>,
    listener: Option<Py<PyWeakrefReference>>,
}

impl Drop for Told {
    fn drop(&mut self) {
        let listener = self.listener.take();
        inside(|py| {
            if let Some(listener) = listener.and_then(|weak| weak.bind(py).upgrade()) {
                self.by.forget_one(&listener);
            }
        });
    }
}

/// `callable` as the library calls it, until it lets go of it or `listeners` does. What it raises is reported as with threads
/// and finalizers: sys.unraisablehook.
pub(crate) fn callback(
    py: Python<'_>,
    listeners: &Arc<Listeners>,
    callable: Option<Py<PyAny>>,
) -> PyResult<Option<Callback>> {
    let Some(callable) = callable else { return Ok(None) };
    if !callable.bind(py).is_callable() {
        let kind = callable.bind(py).get_type().name()?;
        return Err(PyTypeError::new_err(format!("`callback` is of type {kind}, which cannot be called")));
    }
    let listener = Bound::new(py, Listener(callable))?;
    let weak = PyWeakrefReference::new(&listener)?.unbind();
    let told = Told { by: Arc::clone(listeners), listener: Some(weak) };
    listeners.locked().push(listener.unbind());
    Ok(Some(Box::new(move |events| {
        inside(|py| {
            let Some(listener) = told.listener.as_ref().and_then(|weak| weak.bind(py).upgrade()) else { return };
            let Ok(listener) = listener.cast_into::<Listener>() else { return };
            let callable = &listener.get().0;
            if let Err(error) = words::events(py, events).and_then(|events| callable.call1(py, (events,))) {
                error.write_unraisable(py, Some(callable.bind(py)));
            }
        });
    })))
}
