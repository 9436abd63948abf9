//! ClockBound's published client over a segment that we have prepared: no daemon of its own is needed.
//!
//! Layout: crate `clock-bound` 3.0.0-rc.0, `src/shm.rs`, `ClockErrorBoundV3`, and `src/shm/shm_header.rs`.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use clock_bound::client::ClockBoundClient;

/// A client of a segment at `path` that shows the system clock, synchronised for the next hours.
pub fn client(path: &Path) -> ClockBoundClient {
    let period = seconds_per_tick();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let mut bytes = Vec::new();
    let mut put = |value: &[u8]| bytes.extend_from_slice(value);
    // Header: magic, size, version (3, readable by 3), generation.
    put(&0x414D_5A4E_u32.to_ne_bytes());
    put(&0x4342_0200_u32.to_ne_bytes());
    put(&104_u32.to_ne_bytes());
    put(&0x0303_u16.to_ne_bytes());
    put(&2_u16.to_ne_bytes());
    // As of, void after.
    put(&ticks().to_ne_bytes());
    for seconds in [now.as_secs(), now.as_secs() + 86_400] {
        put(&seconds.to_ne_bytes());
        put(&u64::from(now.subsec_nanos()).to_ne_bytes());
    }
    // Period and its error, as fractions of 2^(64 + shift).
    put(&((period * 95_f64.exp2()) as u64).to_ne_bytes());
    put(&((1e-7 * 86_f64.exp2()) as u64).to_ne_bytes());
    // Bound, disruption marker, drift, status: synchronised.
    put(&50_000_i64.to_ne_bytes());
    put(&0_u64.to_ne_bytes());
    put(&15_000_u32.to_ne_bytes());
    put(&1_i32.to_ne_bytes());
    // No VMClock; the shifts; padding.
    put(&[0, 31, 22, 0, 0, 0, 0, 0]);
    assert_eq!(bytes.len(), 104);
    fs::write(path, bytes).expect("the segment can be written");
    let mut client = ClockBoundClient::new_with_path(path.to_str().expect("UTF-8")).expect("a segment of version 3");
    let shown = client.now().expect("a reading");
    let middle = (shown.earliest.tv_sec() as f64 + shown.latest.tv_sec() as f64) / 2.0;
    assert!((middle - now.as_secs_f64()).abs() < 2.0, "the segment does not mean what we think: {shown:?}");
    client
}

/// Of the counter, against the kernel's raw clock: good to some parts in a million.
fn seconds_per_tick() -> f64 {
    let (first, begun) = (ticks(), crate::measure::raw_ns());
    std::thread::sleep(std::time::Duration::from_millis(200));
    (crate::measure::raw_ns() - begun) as f64 * 1e-9 / (ticks() - first) as f64
}

#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    // SAFETY: part of x86-64; touches no memory.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "aarch64")]
fn ticks() -> u64 {
    let ticks: u64;
    // SAFETY: Linux lets every process read it; touches no memory.
    unsafe { std::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks) };
    ticks
}
