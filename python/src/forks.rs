//! Forked children that go on with their parent's clocks at once: after `os.fork()` the interpreter is whole again, and calls
//! who asked for it. `subprocess` asks nobody, unless it is given a `preexec_fn`.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::events;

/// The clocks that are to be restarted. Locked only by threads that hold the interpreter, as whoever forks does.
static CLOCKS: Mutex<Vec<Weak<ntpclock::Clock>>> = Mutex::new(Vec::new());

/// Whether the process-wide clock is one of them.
static PROCESS: AtomicBool = AtomicBool::new(false);

/// Has the interpreter call us in forked children.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let call = PyDict::new(module.py());
    call.set_item("after_in_child", wrap_pyfunction!(restart_in_child, module)?)?;
    PyModule::import(module.py(), "os")?.call_method("register_at_fork", (), Some(&call))?;
    Ok(())
}

/// One more to be restarted.
pub(crate) fn note(clock: &Arc<ntpclock::Clock>) {
    let mut clocks = CLOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    clocks.retain(|known| known.strong_count() > 0);
    clocks.push(Arc::downgrade(clock));
}

/// The process-wide clock is to be restarted.
pub(crate) fn note_process() {
    PROCESS.store(true, Relaxed);
}

/// What fails here is tried again, and told, at the child's first wait. One that was stopped stays so.
#[pyfunction]
fn restart_in_child(py: Python<'_>) {
    events::leave_the_parent(py);
    let clocks: Vec<_> = {
        let known = CLOCKS.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter_map(Weak::upgrade).collect()
    };
    py.detach(|| {
        if PROCESS.load(Relaxed) {
            let _ = ntpclock::restart();
        }
        for clock in clocks {
            let _ = clock.restart();
        }
    });
}
