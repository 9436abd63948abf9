//! Times, spans and names as people read them.

use crate::clock::Offset;
use crate::reading::Reading;
use crate::status::Leap;
use crate::units::UnixTime;

/// Units of a span, longest first, with their length in nanoseconds and its number of zeros.
const UNITS: [(&str, u64, usize); 4] = [("s", 1_000_000_000, 9), ("ms", 1_000_000, 6), ("µs", 1_000, 3), ("ns", 1, 0)];

/// `unix_ns` as UTC: `2026-11-22T17:03:47.123456789Z`.
pub(super) fn utc(unix_ns: i64) -> String {
    UnixTime(unix_ns).to_string()
}

/// The reading and its error bound: `2026-11-22T17:03:47.123456789Z ±412 µs`.
pub(super) fn time(reading: &Reading) -> String {
    format!("{} {}", utc(reading.unix_ns), plus_minus(reading.error_bound_ns()))
}

/// The offset to the nanosecond and its bound: `+12.345 µs ±412 µs`.
pub(super) fn offset(offset: Offset) -> String {
    format!("{} {}", exact(offset.offset_ns), plus_minus(offset.bound_ns))
}

/// An error bound with its sign; rounded up, so that what is printed is never better than the truth.
pub(super) fn plus_minus(bound_ns: i64) -> String {
    match bound_ns {
        i64::MAX => "(error bound unknown)".to_owned(),
        bound => format!("±{}", three_digits(bound.unsigned_abs(), u64::div_ceil)),
    }
}

/// An error bound in a column that says so; rounded up.
pub(super) fn bound(bound_ns: i64) -> String {
    known(bound_ns, |bound| three_digits(bound, u64::div_ceil))
}

/// A span to three digits: `1.23 ms`.
pub(super) fn span(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    known(ns, |span| format!("{sign}{}", three_digits(span, nearest)))
}

/// A difference to three digits, always with its sign.
pub(super) fn difference(ns: i64) -> String {
    let sign = if ns < 0 { '-' } else { '+' };
    format!("{sign}{}", three_digits(ns.unsigned_abs(), nearest))
}

/// A difference with its sign, to the nanosecond.
fn exact(ns: i64) -> String {
    let sign = if ns < 0 { '-' } else { '+' };
    let magnitude = ns.unsigned_abs();
    let (name, unit, zeros) = unit_of(magnitude);
    match zeros {
        0 => format!("{sign}{magnitude} {name}"),
        _ => format!("{sign}{}.{:0zeros$} {name}", magnitude / unit, magnitude % unit),
    }
}

fn known(ns: i64, say: impl FnOnce(u64) -> String) -> String {
    if ns == i64::MAX { "unknown".to_owned() } else { say(ns.unsigned_abs()) }
}

fn nearest(value: u64, divisor: u64) -> u64 {
    (value + divisor / 2) / divisor
}

fn unit_of(ns: u64) -> (&'static str, u64, usize) {
    UNITS.into_iter().find(|&(_, unit, _)| ns >= unit).unwrap_or(UNITS[3])
}

/// `ns` in the unit that fits, cut to three digits by `divide`.
fn three_digits(ns: u64, divide: impl Fn(u64, u64) -> u64) -> String {
    let mut dropped = 1;
    // Always from `ns` itself, lest a rounded figure be rounded again.
    while divide(ns, dropped) >= 1000 {
        dropped *= 10;
    }
    let kept = divide(ns, dropped) * dropped;
    let (name, unit, zeros) = unit_of(kept);
    let whole = kept / unit;
    let decimals = 3_usize.saturating_sub(whole.to_string().len()).min(zeros);
    match decimals {
        0 => format!("{whole} {name}"),
        _ => {
            let shown = format!("{:0zeros$}", kept % unit);
            format!("{whole}.{shown:.decimals$} {name}")
        }
    }
}

/// A reference id as RFC 5905 writes it: four letters from a primary server, else an address (or a hash that looks so).
pub(super) fn reference(id: u32, stratum: u8) -> String {
    let bytes = id.to_be_bytes();
    let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    // It comes from the network: only what is harmless on a terminal is shown as letters.
    if stratum <= 1 && !name.is_empty() && name.iter().all(u8::is_ascii_graphic) {
        return name.iter().map(|&byte| char::from(byte)).collect();
    }
    std::net::Ipv4Addr::from(bytes).to_string()
}

/// What the leap indicator means.
pub(super) fn leap(leap: Leap) -> &'static str {
    match leap {
        Leap::None => "no leap second announced",
        Leap::Insert => "the last minute of the month has 61 seconds",
        Leap::Delete => "the last minute of the month has 59 seconds",
        Leap::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_three_digits_and_a_unit() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (412_300, "412 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (12_345_678, "12.3 ms"),
            (1_500_000_000, "1.50 s"),
            (123_400_000_000, "123 s"),
            (-1_234, "-1.23 µs"),
            (i64::MAX, "unknown"),
        ] {
            assert_eq!(span(ns), text);
        }
        assert_eq!(difference(1_234), "+1.23 µs");
    }

    #[test]
    fn a_bound_is_never_printed_smaller_than_it_is() {
        assert_eq!(plus_minus(1_001), "±1.01 µs");
        assert_eq!(plus_minus(999_001), "±1.00 ms");
        assert_eq!(bound(412_000), "412 µs");
        assert_eq!(plus_minus(i64::MAX), "(error bound unknown)");
    }

    #[test]
    fn an_offset_keeps_its_nanoseconds() {
        assert_eq!(offset(Offset { offset_ns: -3_000_001_234, bound_ns: 5 }), "-3.000001234 s ±5 ns");
        assert_eq!(offset(Offset { offset_ns: 12_345, bound_ns: i64::MAX }), "+12.345 µs (error bound unknown)");
        assert_eq!(offset(Offset { offset_ns: 0, bound_ns: 0 }), "+0 ns ±0 ns");
    }

    #[test]
    fn a_reference_id_cannot_harm_a_terminal() {
        assert_eq!(reference(u32::from_be_bytes(*b"GPS\0"), 1), "GPS");
        assert_eq!(reference(u32::from_be_bytes(*b"\x1b[2J"), 1), "27.91.50.74");
        assert_eq!(reference(u32::from_be_bytes([192, 0, 2, 1]), 2), "192.0.2.1");
        assert_eq!(reference(0, 16), "0.0.0.0");
    }
}
