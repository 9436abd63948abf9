//! Conversions between what the wire, the page and the core count in.

use super::Input;
use crate::exchange::Stamps;
use crate::publication::scale::{Factor, Scale};
use crate::sys::ticks::{Kind, Tick};
use crate::units::{Counter, NANOS_PER_SECOND, Nanos, NtpShort, NtpTime, Ppb, Rate, UnixTime};

pub(super) fn numbers(data: &[u8]) {
    let mut input = Input(data);
    times(&mut input);
    spans(&mut input);
    rates(&mut input);
    scales(&mut input);
}

/// What the wire says of a time is that time, within the era that was asked for.
fn times(input: &mut Input) {
    let (pivot, since) = (input.sized(), input.long().unsigned_abs() % ((1 << 32) * NANOS_PER_SECOND as u64));
    let pivot = UnixTime(pivot / NANOS_PER_SECOND * NANOS_PER_SECOND);
    // The last nanosecond of an era is rounded up into the next.
    let time = pivot + Nanos((since as i64).min((1 << 32) * NANOS_PER_SECOND - NANOS_PER_SECOND));
    let again = NtpTime::from_unix(time).resolve(pivot);
    assert!((again - time).abs() <= Nanos(1) || time.0 == i64::MAX, "{} became {}", time.0, again.0);
    let any = NtpTime(input.long().cast_unsigned());
    let resolved = any.resolve(pivot);
    assert!(resolved >= pivot, "{any:?} from {} on is {}", pivot.0, resolved.0);
    let _ = (resolved.to_string(), UnixTime(input.long()).to_string());
    assert!((1..=12).contains(&UnixTime(input.long()).month()));
}

/// Roundings go to the safe side.
fn spans(input: &mut Input) {
    let span = Nanos(input.sized());
    let short = NtpShort::from_nanos_up(span);
    assert!(short == NtpShort::MAX || short.nanos_up() >= span, "{span:?} became less");
    assert!(short.0 == 0 || NtpShort(short.0 - 1).0 < short.0);
    assert!(span.half_up() + span.half_up() >= span || span < Nanos::ZERO);
    assert!(Nanos::from_log2_seconds(input.byte().cast_signed()) > Nanos::ZERO);
    let stamps = Stamps {
        t1: Counter(input.sized()),
        t2: UnixTime(input.sized()),
        t3: UnixTime(input.sized()),
        t4: Counter(input.sized()),
    };
    let _ = (stamps.offset(), stamps.delay(), stamps.interval(span, Ppb(200_000.0)));
    let duration = span.to_duration();
    assert_eq!(Nanos::from_duration(duration), span.max(Nanos::ZERO));
}

fn rates(input: &mut Input) {
    let ppb = f64::from_bits(input.long().cast_unsigned());
    let ppb = Ppb(if ppb.is_nan() { 0.0 } else { ppb });
    let (down, near, up) = (Rate::from_ppb_down(ppb), Rate::from_ppb(ppb), Rate::from_ppb_up(ppb));
    assert!(down < near && near < up);
    let (span, more) = (Nanos(input.sized()), Nanos(input.sized().saturating_abs()));
    let later = span + more;
    // Time never runs backwards, however it is slewed.
    let at = |span: Nanos| i128::from(span.0) + i128::from(near.gain(span).0);
    assert!(at(later) >= at(span), "{near:?} {span:?} {later:?}");
    let gained = span.gain_outward(Ppb(ppb.0.clamp(-1e6, 1e6)));
    assert!(gained.0.unsigned_abs() as f64 >= (span.as_f64() * ppb.0.clamp(-1e6, 1e6) * 1e-9).abs() * 0.999_999);
}

/// A scale never runs backwards, and finds the first tick of a counter's value.
fn scales(input: &mut Input) {
    let numerator = input.long() as u32;
    let Some(factor) = Factor::new(numerator, u32::from(input.byte())) else { return };
    let scale = Scale { kind: Kind::Ticks, factor, tick: Tick(input.sized()), counter: Counter(input.sized()) };
    let (tick, more) = (input.sized(), input.sized().saturating_abs());
    let (now, later) = (scale.counter_at(Tick(tick)), scale.counter_at(Tick(tick.saturating_add(more))));
    assert!(now <= later, "{scale:?} runs backwards from {tick}");
    let found = scale.tick_at(now);
    let centuries = [now.0, now.0.saturating_sub(scale.counter.0), tick.saturating_sub(scale.tick.0), found.0];
    if centuries.iter().all(|value| value.unsigned_abs() < 1 << 61) {
        assert!(scale.counter_at(found) >= now && found <= Tick(tick), "{scale:?}: {tick} became {found:?}");
    }
}
