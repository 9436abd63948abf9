//! Structs that grow: handed over as far as the caller's header knows them.

use crate::error::Error;

/// A struct that may be longer in a caller's header, or in ours, than in the other's.
pub(super) trait Growing: Copy {
    /// The size of the first member: less than that can hold nothing.
    const LEAST: usize;
}

/// Refuses sizes that cannot be `T`'s, in any version of the header.
pub(super) fn check_size<T: Growing>(name: &'static str, size: usize) -> Result<(), Error> {
    // No object is larger than isize::MAX bytes: beyond it somebody subtracted too much.
    if (T::LEAST..=isize::MAX as usize).contains(&size) {
        return Ok(());
    }
    Err(Error::argument(name, format!("is {size}; this struct has {} bytes here", size_of::<T>())))
}

/// Writes `value` as a caller with `size` bytes for it expects: a prefix, or the whole and then zeros.
///
/// # Safety
///
/// `size` bytes at `out` may be written, and no other thread uses them meanwhile. `out` need not be aligned.
pub(super) unsafe fn hand_over<T: Growing>(value: &T, out: *mut T, size: usize) {
    let (out, known) = (out.cast::<u8>(), size.min(size_of::<T>()));
    // SAFETY: `known` bytes can be read from `value` and, by contract, written at `out`, which is the
    // caller's memory and so does not overlap our value.
    unsafe { std::ptr::copy_nonoverlapping(std::ptr::from_ref(value).cast::<u8>(), out, known) };
    // SAFETY: `known` is at most `size`, so this stays inside or at the end of the caller's memory.
    let rest = unsafe { out.add(known) };
    // SAFETY: the bytes from `known` to `size` may be written by contract.
    unsafe { rest.write_bytes(0, size - known) };
}
