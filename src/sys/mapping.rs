//! Files as memory that several processes share.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// What may be done with mapped memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    /// Not handed on to forked children: they have no thread that would write.
    Write,
}

/// The beginning of a file as memory, for as long as this lives.
///
/// If the file is cut shorter meanwhile, touching what is gone kills the process (SIGBUS): see who can do so.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: an address range belongs to the process, not to a thread.
unsafe impl Send for Mapping {}

// SAFETY: nothing here reads or writes the memory; who does answers for it.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// The first `length` bytes of `file`; beginning at a page.
    pub(crate) fn of(file: &File, length: usize, access: Access) -> io::Result<Self> {
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::Write => libc::PROT_READ | libc::PROT_WRITE,
        };
        let nowhere = std::ptr::null_mut();
        // SAFETY: a new range at an address of the kernel's choice overlaps nothing.
        let start = unsafe { libc::mmap(nowhere, length, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        if access == Access::Write {
            // A child that has it all the same does not use it.
            // SAFETY: the range was just mapped.
            unsafe { libc::madvise(start.as_ptr().cast(), length, libc::MADV_DONTFORK) };
        }
        Ok(Self { start, length })
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is ours, and by the borrow rules nobody has a reference into it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
