//! Files: keys, traces, what one run leaves for the next, and the page that processes share.

use std::path::Path;

use super::Input;
use crate::config::{Config, Settings};
use crate::publication::page::{ANY_PROCESS, Page, WORDS};
use crate::publication::{Publication, SLOT, note, shared};
use crate::reading::Reading;
use crate::state::{self, Refusal};
use crate::status::State;
use crate::synchronizer::Synchronizer;
use crate::sys::host::Host;
use crate::sys::ticks::Tick;
use crate::trace::replay::Replay;
use crate::trace::{self, record};
use crate::units::{Counter, Nanos, UnixTime};

/// Either all keys of a file are taken, and can be used, or none.
pub(super) fn keys(data: &[u8]) {
    let (path, mut config) = (Path::new("keys"), Config::new());
    match config.take_keys(data, path).map(drop) {
        Ok(()) => {
            let mut ids: Vec<u32> = config.keys.iter().map(crate::mac::Key::id).collect();
            ids.sort_unstable();
            assert!(ids.windows(2).all(|pair| pair[0] < pair[1]) && !ids.contains(&0), "{ids:?}");
            for key in &config.keys {
                let mut message = vec![0; 48];
                key.authenticate(&mut message);
                assert_eq!(key.verify(&message, 48), Ok(()));
            }
            // The same file again: whatever is in it is there already.
            assert_eq!(config.take_keys(data, path).is_ok(), ids.is_empty());
        }
        Err(error) => {
            assert!(config.keys.is_empty(), "some were taken");
            let lines = data.split(|byte| *byte == b'\n').count();
            let told = error.to_string();
            let line = told.split(':').nth(1).and_then(|line| line.parse().ok()).unwrap_or(0);
            assert!((1..=lines).contains(&line), "{told}");
        }
    }
}

/// Readings of a replay that are looked at.
const QUERIES: i64 = 16;

/// What is read is written again as it was; and whatever it is, the core makes something sound of it.
pub(super) fn trace(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = trace::parse_queries(&text);
    let Ok(recorded) = trace::parse(&text) else { return };
    let lines: String = recorded.iter().map(|entry| record::line(entry) + "\n").collect();
    let header = text.lines().next().unwrap_or_default();
    let again = trace::parse(&format!("{header}\n{lines}")).expect("what is written can be read");
    assert_eq!(format!("{again:?}"), format!("{recorded:?}"));
    let (Some(first), Some(last)) = (recorded.first(), recorded.last()) else { return };
    let (begin, end) = (first.exchange.stamps.t1, last.exchange.stamps.t4);
    // What a replay takes grows with the time that it plays.
    if end - begin > Nanos::from_seconds(100_000) || recorded.len() > 200 {
        return;
    }
    let step = ((end - begin).0 / QUERIES).saturating_add(1_000_000_000);
    let queries: Vec<Counter> = (0..QUERIES + 2).map(|index| begin + Nanos(step.saturating_mul(index))).collect();
    let rows = Replay::new().answer(&recorded, &queries);
    assert_eq!(rows.lines().count(), queries.len() + 1);
    for row in rows.lines().skip(1) {
        let columns: Vec<&str> = row.split(',').collect();
        let Ok(utc) = columns[1].parse::<i64>() else { continue };
        let (earliest, latest): (i64, i64) = (columns[2].parse().unwrap(), columns[3].parse().unwrap());
        assert!(earliest <= utc && utc <= latest, "{row}");
    }
}

/// A host that is always the same.
pub(super) fn host() -> Host {
    Host {
        counter: Counter(5_000_000_000_000),
        system: UnixTime(1_795_000_000_000_000_000),
        suspended: Nanos(0),
        origin: Some([7; 16]),
        machine: Some([8; 16]),
    }
}

/// With the checksum put right (the first byte says whether), so that what lies behind it is reached.
pub(super) fn state(data: &[u8]) {
    let mut input = Input(data);
    let (mends, later) = (input.byte() & 1 == 0, Nanos(input.sized()));
    let mut bytes = input.0.to_vec();
    if let Some((all, checksum)) = bytes.split_last_chunk_mut::<4>().filter(|_| mends) {
        *checksum = crate::checksum::of(all).to_le_bytes();
    }
    let host = Host { counter: host().counter + later, system: host().system + later, ..host() };
    let saved = match state::decode(&bytes, &host) {
        Ok(saved) => saved,
        Err(refusal) => return assert!(!refusal.to_string().is_empty()),
    };
    let recalled = state::recall(saved, &host);
    let (memory, doubt) = match recalled {
        Ok(recalled) => recalled,
        Err(refusal) => return assert!(!refusal.to_string().is_empty()),
    };
    assert!(doubt.is_none_or(|doubt| matches!(doubt, Refusal::Suspended(_) | Refusal::Disagreement(_))));
    // The core begins with it as with anything: the interval, if there is one, holds what is shown.
    let mut core = Synchronizer::new(Settings::default(), UnixTime(0), 0);
    core.restore(&memory, host.counter);
    for after in [0, 1, 1_000_000_000, 1_000_000_000_000_000] {
        sound(&core, host.counter + Nanos(after));
    }
    core.add_source(host.counter);
    let plan = core.plan(host.counter);
    core.commit(plan, host.counter);
    sound(&core, host.counter);
    // What it hands on is what it was given, or less: and is read again as it was written.
    let Some(handed) = core.memory(host.counter) else { return };
    let Ok(again) = state::decode(&state::encode(&handed, &host), &host) else { panic!("our own file is refused") };
    assert_eq!(again.time, handed.time);
    assert_eq!(again.frequency.mean.0.to_bits(), handed.frequency.mean.0.to_bits());
}

fn sound(core: &Synchronizer, at: Counter) {
    let model = core.model();
    if model.state_at(at).is_usable() {
        let (earliest, utc, latest) = model.at(at);
        assert!(earliest <= utc && utc <= latest, "{model:?} at {at:?}");
        assert!((latest - utc).max(utc - earliest) <= model.bound_cap);
    }
}

/// Somebody with the right to write to the page writes whatever he likes: readings are then worth nothing, but there
/// are readings, and nobody comes to harm.
pub(super) fn page(data: &[u8]) {
    let mut input = Input(data);
    header(&mut input);
    let (tag, generation, tick) = (input.byte(), input.byte(), Tick(input.sized()));
    let mut words = [0; SLOT];
    let mut ticks = vec![tick, Tick(i64::MIN), Tick(i64::MAX)];
    let mends = input.byte() & 1 == 0;
    for word in &mut words {
        if input.is_over() {
            break;
        }
        *word = input.sized().cast_unsigned();
        ticks.push(Tick(word.cast_signed()));
    }
    if mends {
        note::mend(&mut words);
    }
    let generation = if generation == 0 { ANY_PROCESS } else { generation.into() };
    let publication = Publication::of_words(words, tag);
    for tick in ticks.into_iter().take(12) {
        let glance = Reading::of(&publication, generation, |_| tick, || UnixTime(5));
        let (page, _) = publication.read(|_| tick);
        let checked = Reading::checked(&publication, generation, |_| tick, || UnixTime(5), || Nanos(1));
        for reading in [glance, Reading::new(&page, tick, generation, || UnixTime(5)), checked] {
            assert!(reading.earliest_ns <= reading.unix_ns && reading.unix_ns <= reading.latest_ns, "{reading:?}");
            assert!(reading.age_ns >= 0 && reading.error_bound_ns() >= 0, "{reading:?}");
            let known = reading.earliest_ns != i64::MIN || reading.latest_ns != i64::MAX;
            let usable = matches!(reading.state, State::Synchronized | State::Holdover);
            assert!(usable || !known, "{reading:?}");
        }
        let _ = (publication.utc(page.relation.scale.kind, |_| tick), page.tick_at(page.counter_at(tick)));
    }
    let (front, _) = words.split_first_chunk::<WORDS>().expect("a slot has more");
    let page = Page::from_words(front);
    assert_eq!(Page::from_words(&page.to_words()), page, "reading undoes writing");
    match publication.whole() {
        // Who takes the page over takes its word, and publishes nothing that makes no sense.
        Ok(Some((whole, note))) => {
            assert_eq!(whole, page);
            let mut core = Synchronizer::new(Settings::default(), UnixTime(0), 0);
            let now = page.counter_at(tick);
            core.succeed(page.model_at(tick), &note.report, &note.legacy, now);
            core.add_source(now);
            let plan = core.plan(now);
            core.commit(plan, now);
            let _ = (core.report(now), core.memory(now));
        }
        Ok(None) => assert_eq!(words, [0; SLOT]),
        Err(_) => {}
    }
}

/// Of all headers only that of a page of this boot, and of our format, is one.
fn header(input: &mut Input) {
    let (origin, by_ticks) = ([7; 16], input.byte() & 1 == 0);
    let good = shared::header(origin, by_ticks);
    let mut bytes = good;
    let (at, xor, mends) = (usize::from(input.byte()) % good.len(), input.array::<4>(), input.byte() & 1 == 0);
    bytes.iter_mut().skip(at).zip(xor).for_each(|(byte, xor)| *byte ^= xor);
    if let Some((all, checksum)) = bytes.split_last_chunk_mut::<4>().filter(|_| mends) {
        *checksum = crate::checksum::of(all).to_le_bytes();
    }
    let length = usize::from(input.byte()).min(bytes.len());
    let short = shared::judge(&bytes[..length], length as u64, Some(origin), true);
    assert!(short.is_err(), "a page has more than {length} bytes");
    match shared::judge(&bytes, 4096, Some(origin), true) {
        // What is reserved is nobody's business yet, nor are flags that are not known.
        Ok(found) => {
            assert_eq!(bytes[..16], good[..16]);
            assert_eq!(bytes[24..44], good[24..44]);
            assert!(found == by_ticks || bytes[20] != good[20]);
        }
        Err(refusal) => assert!(bytes != good && !refusal.to_string().is_empty()),
    }
}
