//! Whom a process runs as.

use std::ffi::CString;
use std::io;

use super::checked;

/// Makes the whole process, every thread of it, `name`'s, with that one's groups: for good.
pub(crate) fn become_user(name: &str) -> io::Result<()> {
    let text = CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let (user, group) = identity(&text)?;
    // In this order: whoever is no longer root can change no groups.
    // SAFETY: a string that lives.
    checked(unsafe { libc::initgroups(text.as_ptr(), group) })?;
    // SAFETY: takes numbers only.
    checked(unsafe { libc::setgid(group) })?;
    // SAFETY: takes numbers only.
    checked(unsafe { libc::setuid(user) })?;
    // A kernel or a sandbox that let us come back would have done nothing. SAFETY: takes numbers only.
    if user != 0 && unsafe { libc::setuid(0) } == 0 {
        return Err(io::Error::other("root can be had again"));
    }
    Ok(())
}

/// Leaves the calling thread, and all that it starts from now on, no capability and nothing by which to get any: neither
/// programs that have some, nor root's.
pub(crate) fn give_up_capabilities() -> io::Result<()> {
    // SAFETY: takes numbers only.
    let nothing_new = checked(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) });
    // `_LINUX_CAPABILITY_VERSION_3`, of the calling thread: two words each of those in effect, permitted and inherited.
    // Ambient ones end with what is permitted.
    let (header, none) = ([0x2008_0522_u32, 0], [0_u32; 6]);
    // SAFETY: both are ours, as long as the kernel expects them to be, and only read.
    let told = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    if told == 0 { nothing_new.map(drop) } else { Err(io::Error::last_os_error()) }
}

/// Whether there is such a user.
pub(crate) fn check(name: &str) -> io::Result<()> {
    let text = CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    identity(&text).map(drop)
}

/// Whether this process is root's.
pub(crate) fn is_root() -> bool {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// The numbers of a user and its group.
fn identity(name: &CString) -> io::Result<(libc::uid_t, libc::gid_t)> {
    let mut buffer = vec![0_u8; 16 * 1024];
    // SAFETY: all-zero bytes are a valid `passwd`.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: all are ours and live, and the buffer has that length.
    let code = unsafe {
        libc::getpwnam_r(name.as_ptr(), &raw mut entry, buffer.as_mut_ptr().cast(), buffer.len(), &raw mut found)
    };
    match (code, found.is_null()) {
        (0, false) => Ok((entry.pw_uid, entry.pw_gid)),
        (0, true) => Err(io::Error::new(io::ErrorKind::NotFound, "there is no such user")),
        (code, _) => Err(io::Error::from_raw_os_error(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name() {
        assert_eq!(identity(&CString::new("root").unwrap()).unwrap(), (0, 0));
        let error = become_user("nobody-of-that-name").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(become_user("a\0b").is_err());
    }
}
