//! What stands behind a page that processes share: the leader's report, and what the next leader must know.
//!
//! Readers of the time have no use for it. Whoever opens a page, follows it or takes it over reads a whole slot, of
//! which the last word is a checksum: words that were not written by a leader of ours are not believed.

use super::SLOT;
use super::page::{self, Page, WORDS};
use crate::checksum;
use crate::model::estimator::Prior;
use crate::status::{Leap, Report, Role, State};
use crate::synchronizer::succession::Legacy;
use crate::units::Ppb;

/// Words of a note.
const NOTE_WORDS: usize = 19;

/// The last word of a slot.
const CHECKSUM: usize = SLOT - 1;

const _: () = assert!(WORDS + NOTE_WORDS <= CHECKSUM, "a slot has no more");

/// What is known beside the page.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) report: Report,
    pub(crate) legacy: Legacy,
}

/// `page` and `note` as a slot.
pub(super) fn sealed(page: &Page, note: &Note) -> [u64; SLOT] {
    let mut words = [0; SLOT];
    let (front, rest) = words.split_at_mut(WORDS);
    front.copy_from_slice(&page.to_words());
    rest.iter_mut().zip(note_words(note)).for_each(|(word, told)| *word = told);
    words[CHECKSUM] = checksum(&words);
    words
}

/// The page and the note of a slot; `None` if no leader of ours wrote it.
pub(super) fn opened(words: &[u64; SLOT]) -> Option<(Page, Note)> {
    if words[CHECKSUM] != checksum(words) {
        return None;
    }
    let (front, rest) = words.split_first_chunk()?;
    let page = Page::from_words(front);
    let note = note(rest.first_chunk()?, &page);
    Some((page, note))
}

/// Puts the checksum right.
#[cfg(any(test, fuzzing))]
pub(crate) fn mend(words: &mut [u64; SLOT]) {
    words[CHECKSUM] = checksum(words);
}

fn checksum(words: &[u64; SLOT]) -> u64 {
    checksum::of_words(&words[..CHECKSUM]).into()
}

/// Two numbers in a word.
fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn note_words(note: &Note) -> [u64; NOTE_WORDS] {
    // What the page tells too is not told twice: state, epoch, bound, leap and flags.
    let Report {
        steps,
        configured,
        answering,
        agreeing,
        fault_limit,
        faults_exceeded,
        frequency_ppb,
        estimated_error_ns,
        stratum,
        root_delay_ns,
        reference_id,
        reference_time_ns,
        exchanges,
        rejected,
        ..
    } = note.report;
    let Legacy { heard, frequency } = note.legacy;
    let mut words = [0; NOTE_WORDS];
    let (report, legacy) = words.split_at_mut(10);
    report.copy_from_slice(&[
        pair(configured, answering),
        pair(agreeing, fault_limit),
        pair(steps, reference_id),
        u64::from(stratum) | u64::from(faults_exceeded) << 8,
        frequency_ppb.to_bits(),
        estimated_error_ns.cast_unsigned(),
        root_delay_ns.cast_unsigned(),
        reference_time_ns.cast_unsigned(),
        exchanges,
        rejected,
    ]);
    let heard = page::span_words(&heard).map(i64::cast_unsigned);
    let legacy_words = heard.into_iter().chain([frequency.mean.0.to_bits(), frequency.deviation.0.to_bits()]);
    legacy.iter_mut().zip(legacy_words).for_each(|(word, value)| *word = value);
    words
}

fn note(words: &[u64; NOTE_WORDS], page: &Page) -> Note {
    let mut at = words.iter().copied();
    let mut next = || at.next().unwrap_or(0);
    let halves = |word: u64| (word as u32, (word >> 32) as u32);
    let (configured, answering) = halves(next());
    let (agreeing, fault_limit) = halves(next());
    let (steps, reference_id) = halves(next());
    let marks = next();
    let model = &page.current.model;
    let report = Report {
        // The reader's to judge.
        state: State::Unsynchronized,
        epoch: model.epoch,
        bound_ns: i64::MAX,
        root_dispersion_ns: 0,
        leap: if model.has_line() { model.leap } else { Leap::Unknown },
        flags: model.flags,
        steps,
        configured,
        answering,
        agreeing,
        fault_limit,
        faults_exceeded: marks >> 8 & 1 == 1,
        stratum: marks as u8,
        reference_id,
        frequency_ppb: f64::from_bits(next()),
        estimated_error_ns: next().cast_signed(),
        root_delay_ns: next().cast_signed(),
        reference_time_ns: next().cast_signed(),
        exchanges: next(),
        rejected: next(),
        role: Role::Follower,
        leader_pid: 0,
    };
    let heard = page::span(|| next().cast_signed());
    let mut ppb = || Ppb(f64::from_bits(next()));
    let frequency = Prior { mean: ppb(), deviation: ppb() };
    Note { report, legacy: Legacy { heard, frequency } }
}

/// What a slot consists of, in words, as the documentation has it.
#[cfg(test)]
pub(super) fn places() -> Vec<(usize, usize, &'static str)> {
    let glance = super::glance::FRONT / 2;
    let parts = [
        (glance, "settled glance"),
        (glance, "slewing glance"),
        (page::MODEL_WORDS, "former model"),
        (page::MODEL_WORDS, "current model"),
        (page::RELATION_WORDS, "relation"),
        (1, "switch"),
        (1, "generation"),
        (1, "suspended"),
        (10, "report"),
        (7, "heard interval"),
        (2, "frequency"),
        (CHECKSUM - WORDS - NOTE_WORDS, "unused"),
        (1, "checksum"),
    ];
    let placed = parts.iter().scan(0, |at, (words, what)| {
        *at += words;
        Some((*at - words, *words, *what))
    });
    placed.collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::UtcSpan;
    use crate::status::{Flags, Role};
    use crate::units::{Counter, Nanos, Rate, UnixTime};

    pub(in crate::publication) fn told() -> Note {
        let report = Report {
            state: State::Unsynchronized,
            epoch: 0,
            steps: 1,
            configured: 2,
            answering: 3,
            agreeing: 4,
            fault_limit: 5,
            faults_exceeded: true,
            frequency_ppb: -6.5,
            bound_ns: i64::MAX,
            estimated_error_ns: 7,
            stratum: 8,
            root_delay_ns: 9,
            root_dispersion_ns: 0,
            reference_id: 0xffff_fffa,
            reference_time_ns: -11,
            leap: Leap::Unknown,
            exchanges: 12,
            rejected: 13,
            flags: Flags::default(),
            role: Role::Follower,
            leader_pid: 0,
        };
        let heard = UtcSpan {
            at: Counter(14),
            earliest: UnixTime(15),
            latest: UnixTime(16),
            slowest: Rate(-17),
            fastest: Rate(18),
            knee: Nanos(19),
            drift_long: Rate(20),
        };
        Note { report, legacy: Legacy { heard, frequency: Prior { mean: Ppb(-21.5), deviation: Ppb(22.5) } } }
    }

    #[test]
    fn a_note_survives_as_words_behind_its_page() {
        let page = Page::from_words(&[0; WORDS]);
        let (found, note) = opened(&sealed(&page, &told())).unwrap();
        assert_eq!((found, note.legacy), (page, told().legacy));
        assert_eq!(format!("{:?}", note.report), format!("{:?}", told().report));
    }

    #[test]
    fn words_that_no_leader_wrote_are_not_believed() {
        let good = sealed(&Page::from_words(&[0; WORDS]), &told());
        for index in 0..SLOT {
            for flip in [1, 1 << 40, u64::MAX] {
                let mut words = good;
                words[index] ^= flip;
                assert!(opened(&words).is_none(), "word {index} ^ {flip:#x}");
            }
        }
    }
}
