//! What a process takes of memory.

/// What this process has written to, in KiB: code that is run for the first time does not count.
pub(crate) fn written_kib() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").expect("procfs");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).expect("a process has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
