//! Sleeping until a descriptor is ready, another thread calls, or time is up.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::checked;

/// A descriptor that another thread makes readable: an `eventfd`.
#[derive(Debug)]
pub(crate) struct Waker(OwnedFd);

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointers.
        let fd = checked(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: `fd` was just opened and belongs to nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Puts a new event under the same number: in a forked child, which has that of its parent.
    pub(crate) fn renew(&self) -> io::Result<()> {
        let new = Self::new()?;
        // SAFETY: both descriptors are open; what `self` stands for from now on is as much its own as what it stood
        // for.
        checked(unsafe { libc::dup3(new.0.as_raw_fd(), self.0.as_raw_fd(), libc::O_CLOEXEC) })?;
        Ok(())
    }

    /// Makes the descriptor readable.
    pub(crate) fn wake(&self) {
        // An event counter that is full is readable already, which is all that is wanted.
        // SAFETY: the descriptor is open; the call takes no pointers of ours.
        let _ = unsafe { libc::eventfd_write(self.0.as_raw_fd(), 1) };
    }

    /// Makes it unreadable again.
    pub(crate) fn clear(&self) {
        let mut count = 0;
        // SAFETY: the descriptor is open and `count` writable.
        let _ = unsafe { libc::eventfd_read(self.0.as_raw_fd(), &raw mut count) };
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
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
        let waker = Waker::new().unwrap();
        let former = waker.0.try_clone().unwrap();
        waker.renew().unwrap();
        waker.wake();
        let ready = wait(&[waker.as_raw_fd(), former.as_raw_fd()], Some(Duration::ZERO)).unwrap();
        assert_eq!(ready, [true, false]);
    }
}
