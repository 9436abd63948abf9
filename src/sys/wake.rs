//! Sleeping until a descriptor is ready, another thread calls, or time is up.

use std::io;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::{beside_standard, checked, fork};

/// A descriptor that another thread makes readable: an `eventfd`.
#[derive(Debug)]
pub(crate) struct Waker {
    event: ManuallyDrop<OwnedFd>,
    /// The fork generation that made it.
    generation: u32,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointers.
        let fd = checked(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: `fd` was just opened and belongs to nobody else.
        let event = beside_standard(unsafe { OwnedFd::from_raw_fd(fd) })?;
        Ok(Self { event: ManuallyDrop::new(event), generation: fork::generation() })
    }

    /// Makes the descriptor readable.
    pub(crate) fn wake(&self) {
        // An event counter that is full is readable already, which is all that is wanted.
        // SAFETY: the descriptor is open; the call takes no pointers of ours.
        let _ = unsafe { libc::eventfd_write(self.as_raw_fd(), 1) };
    }

    /// Makes it unreadable again.
    pub(crate) fn clear(&self) {
        let mut count = 0;
        // SAFETY: the descriptor is open and `count` writable.
        let _ = unsafe { libc::eventfd_read(self.as_raw_fd(), &raw mut count) };
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        // A forked child may have closed the number, and opened a file of its own under it.
        if self.generation == fork::generation() {
            // SAFETY: dropped once, here, and not used any more.
            unsafe { ManuallyDrop::drop(&mut self.event) };
        }
    }
}

/// A waker whose number others keep, also over forks.
#[derive(Debug)]
pub(crate) struct KnownWaker {
    waker: Waker,
    id: Option<String>,
}

impl KnownWaker {
    pub(crate) fn new() -> io::Result<Self> {
        let waker = Waker::new()?;
        let id = event_id(waker.as_raw_fd());
        Ok(Self { waker, id })
    }

    /// In a forked child: a new event instead of that of the parent. It has the same number, unless that may stand for
    /// something else by now.
    pub(crate) fn renew(&mut self) -> io::Result<()> {
        let new = Self::new()?;
        let number = self.waker.as_raw_fd();
        if self.id.is_none() || event_id(number) != self.id {
            *self = new;
            return Ok(());
        }
        // SAFETY: both descriptors are open; what the number stands for from now on is as much our own as what it stood
        // for.
        checked(unsafe { libc::dup3(new.waker.as_raw_fd(), number, libc::O_CLOEXEC) })?;
        (self.waker.generation, self.id) = (fork::generation(), new.id.clone());
        Ok(())
    }
}

impl Deref for KnownWaker {
    type Target = Waker;
    fn deref(&self) -> &Waker {
        &self.waker
    }
}

/// What the kernel calls the event behind the number `fd`; `None` if it is no event, or the kernel does not say (before
/// Linux 5.2, or without `/proc`).
fn event_id(fd: RawFd) -> Option<String> {
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    about.lines().find_map(|line| line.strip_prefix("eventfd-id:")).map(|id| id.trim().to_owned())
}

/// Descriptors to sleep on, again and again.
#[derive(Debug)]
pub(crate) struct Sleeper(Vec<libc::pollfd>);

impl Sleeper {
    pub(crate) fn new(fds: impl IntoIterator<Item = RawFd>) -> Self {
        Self::for_either(fds.into_iter().map(|fd| (fd, false)))
    }

    /// Each descriptor, with whether it is to be writable instead of readable.
    pub(crate) fn for_either(fds: impl IntoIterator<Item = (RawFd, bool)>) -> Self {
        let events = |writable| if writable { libc::POLLOUT } else { libc::POLLIN };
        Self(fds.into_iter().map(|(fd, writable)| libc::pollfd { fd, events: events(writable), revents: 0 }).collect())
    }

    /// Sleeps until one of the descriptors is readable or broken, `timeout` is over (`None`: never), or for no reason.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let limit = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs().min(i32::MAX as u64) as libc::time_t,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let polled = &mut self.0;
        // SAFETY: `polled` and `limit` live until the call returns, and the length is the vector's.
        let result = unsafe { libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, limit, std::ptr::null()) };
        match checked(result) {
            Ok(_) => Ok(()),
            Err(error) => {
                polled.iter_mut().for_each(|polled| polled.revents = 0);
                if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
            }
        }
    }

    /// Which descriptors wanted attention when the last sleep ended.
    pub(crate) fn ready(&self) -> impl Iterator<Item = bool> + '_ {
        self.0.iter().map(|polled| polled.revents != 0)
    }
}

/// Sleeps once on `fds`, as a [`Sleeper`] does; says which of them want attention.
pub(crate) fn wait(fds: &[RawFd], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut sleeper = Sleeper::new(fds.iter().copied());
    sleeper.wait(timeout)?;
    Ok(sleeper.ready().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waker_ends_a_wait_and_only_until_it_is_cleared() {
        let waker = Waker::new().unwrap();
        waker.wake();
        assert_eq!(wait(&[waker.as_raw_fd()], None).unwrap(), [true]);
        waker.clear();
        assert_eq!(wait(&[waker.as_raw_fd()], Some(Duration::ZERO)).unwrap(), [false]);
    }

    #[test]
    fn a_renewed_waker_has_its_number_but_no_longer_its_event() {
        let mut waker = KnownWaker::new().unwrap();
        let (former, number) = (waker.event.try_clone().unwrap(), waker.as_raw_fd());
        waker.renew().unwrap();
        waker.wake();
        let ready = wait(&[waker.as_raw_fd(), former.as_raw_fd()], Some(Duration::ZERO)).unwrap();
        assert_eq!((ready, waker.as_raw_fd()), (vec![true, false], number));
        // And is known again.
        waker.renew().unwrap();
        assert_eq!(waker.as_raw_fd(), number);
    }

    #[test]
    fn a_number_that_is_another_files_by_now_is_left_alone() {
        let (file, event) = (std::fs::File::open("/dev/null").unwrap().into(), Waker::new().unwrap());
        for another in [file, event.event.try_clone().unwrap()] {
            let mut waker = KnownWaker::new().unwrap();
            let number = waker.as_raw_fd();
            // As a child has it.
            waker.waker.generation = fork::generation().wrapping_sub(1);
            // SAFETY: both numbers are open, and nobody else's.
            checked(unsafe { libc::dup3(another.as_raw_fd(), number, libc::O_CLOEXEC) }).unwrap();
            let about = || (std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap(), event_id(number));
            let before = about();
            waker.renew().unwrap();
            assert!(waker.as_raw_fd() != number && about() == before);
            drop(waker);
            assert_eq!(about(), before);
            // SAFETY: nobody uses the number any more.
            unsafe { libc::close(number) };
        }
    }
}
