//! Where tests hold one writer for as long as they like: everything is written, nothing is shown. One test at a time.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Publication;
use crate::units::Counter;

/// Whose writer is held, whether it has come, and the switch of what it has shown last.
static WHOSE: AtomicPtr<Publication> = AtomicPtr::new(ptr::null_mut());
static CAME: AtomicBool = AtomicBool::new(false);
static SHOWN: AtomicI64 = AtomicI64::new(0);

/// Ample time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns when the writer of `publication` stands at the gate, with the switch of what it has shown last.
pub(crate) fn close(publication: &Publication) -> Counter {
    CAME.store(false, SeqCst);
    WHOSE.store(ptr::from_ref(publication).cast_mut(), SeqCst);
    let begun = Instant::now();
    while !CAME.load(SeqCst) {
        assert!(begun.elapsed() < PATIENCE, "nothing is published");
        sleep(Duration::from_millis(1));
    }
    Counter(SHOWN.load(SeqCst))
}

/// Lets it go on. `false`: none stood there, or none does any more, for it was too long for the gate's patience.
pub(crate) fn open() -> bool {
    !WHOSE.swap(ptr::null_mut(), SeqCst).is_null()
}

/// What a writer does at the gate.
pub(super) fn pass(publication: &Publication, shown: Counter) {
    let begun = Instant::now();
    while ptr::eq(WHOSE.load(SeqCst), publication) {
        SHOWN.store(shown.0, SeqCst);
        CAME.store(true, SeqCst);
        sleep(Duration::from_micros(100));
        if begun.elapsed() > PATIENCE {
            open();
        }
    }
}
