//! Locks on files, between processes (`flock`): let go of when the process ends, however it ends.
//!
//! Such a lock belongs to the *open file*, of which a forked child has a copy: it would keep the lock of a parent that
//! has died. So the C library has us close it in every child ([`fork`]). Two that open the file on their own, in one
//! process or in two, exclude each other. Not so the locks of `fcntl`: they are the process's, and gone as soon as any
//! part of it closes any copy of the file.

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;

use super::file::Inode;
use super::{checked, fork};

/// An open file that forked children do not have.
#[derive(Debug)]
pub(crate) struct Unshared {
    file: ManuallyDrop<File>,
    generation: u32,
}

impl Unshared {
    /// What `open` opens: again, if a fork came before its children could be told to close it.
    pub(crate) fn open<E>(mut open: impl FnMut() -> Result<File, E>) -> Result<Self, E> {
        fork::watch();
        loop {
            let forks = fork::count();
            let file = open()?;
            let _forks_wait = fork::exclusive();
            if fork::count() == forks {
                fork::close_in_children(file.as_raw_fd());
                return Ok(Self { file: ManuallyDrop::new(file), generation: fork::generation() });
            }
        }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Which file it is, by itself and not by its name.
    pub(crate) fn inode(&self) -> io::Result<Inode> {
        Ok(Inode::from(&self.file.metadata()?))
    }

    /// Locks the file, until this is dropped, unless another has it locked.
    pub(crate) fn try_lock(&self) -> io::Result<bool> {
        // SAFETY: the call takes no pointers.
        match checked(unsafe { libc::flock(self.file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Unshared {
    fn drop(&mut self) {
        let _forks_wait = fork::exclusive();
        // In a child the number is closed, and may be another file's by now.
        if self.generation == fork::generation() {
            fork::keep_in_children(self.file.as_raw_fd());
            // SAFETY: dropped once, here, and not used any more.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_excludes_others_of_the_same_process_and_ends_with_its_file() {
        let path = std::env::temp_dir().join(format!("ntpclock-lock-{}", std::process::id()));
        let open = || Unshared::open(|| File::options().create(true).append(true).open(&path)).unwrap();
        let (first, second) = (open(), open());
        assert!(first.try_lock().unwrap() && first.try_lock().unwrap());
        assert!(!second.try_lock().unwrap());
        drop(first);
        assert!(second.try_lock().unwrap());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_of_which_a_child_may_have_a_copy_is_opened_again() {
        let mut opened = 0;
        let file = Unshared::open(|| {
            opened += 1;
            if opened < 3 {
                fork_and_wait();
            }
            File::open("/dev/null")
        });
        assert!(file.is_ok() && opened >= 3, "{opened}");
    }

    fn fork_and_wait() {
        // SAFETY: the child does nothing but end.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: it ends at once, without our handlers.
            unsafe { libc::_exit(0) };
        }
        // SAFETY: the call is given no place to write to.
        assert_eq!(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) }, child);
    }
}
