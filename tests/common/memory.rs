//! What a process takes of memory.

/// From now on no page is a huge one, of which one byte would count as two million.
pub(crate) fn without_huge_pages() {
    #[expect(unsafe_code, reason = "a call of the system's")]
    // SAFETY: takes numbers only.
    let told = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    assert_eq!(told, 0, "{}", std::io::Error::last_os_error());
}

/// What this process has written to, in KiB: code that is run for the first time does not count.
pub(crate) fn written_kib() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").expect("procfs");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).expect("a process has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
