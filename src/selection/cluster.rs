//! From the survivors' estimates to one: whose voice counts how much, and who is left out.
//!
//! Survivor `i` believes UTC minus counter to be `x_i`, with standard deviation `σ_i`; that is what its exchanges
//! scatter by. Beside that it is wrong by a bias `b_i` that none of its exchanges shows: half the asymmetry of its
//! path, and its server's own error. Of the bias only the limit is known, the half-width `w_i` of its correctness
//! interval; how much of it is used up shows in how far the sources differ. So the biases are held to be independent,
//! of mean 0 and standard deviation `τ·w_i` with one share `τ` for all (random-effects model; DerSimonian and Laird,
//! Controlled Clinical Trials 7, 1986), and for each of a few shares
//!
//! ```text
//! v_i = σ_i² + (τ·w_i)²     mean = Σ(x_i/v_i) / Σ(1/v_i)     variance = 1 / Σ(1/v_i)
//! ln evidence = -½ (Σ ln v_i + Σ (x_i - mean)²/v_i + ln Σ(1/v_i))
//! ```
//!
//! (flat prior of the offset). As one path may be far more lopsided than the others, each of these hypotheses also
//! comes with one of the survivors standing apart: its share several times that of the others, or half of its interval.
//! The estimate is the mean over all hypotheses, weighted by evidence (model averaging), held inside the agreed
//! interval.
//!
//! Clustering is RFC 5905's (section 11.2.2): the survivor that fits the others least is cast out, if it fits badly
//! enough, and the rest is looked at anew, as long as [`NMIN`] stay. How badly is the probability that it stands apart,
//! in which everybody's uncertainty is contained. Who is out stays out until it is about as likely to belong.
//!
//! A bias that all survivors share cannot be seen, nor any bias of a single one: the deviation does not contain it,
//! only the error bound does.

use crate::exchange::Interval;
use crate::units::{Nanos, Ppb};

/// Casting out stops here (RFC 5905, NMIN).
const NMIN: usize = 3;

/// Shares of the half-widths that biases may amount to, from a server room's to a lopsided path's.
const SHARES: [f64; 5] = [0.003, 0.01, 0.03, 0.1, 0.3];

/// The share of one that stands apart: several times that of the others, or anywhere in its interval.
const APART_TIMES: f64 = 6.0;
const APART: f64 = 0.5;

/// How likely it is beforehand that one of the survivors stands apart.
const LIKELY_APART: f64 = 0.5;

/// From this probability on a survivor is cast out, and above this one it stays out.
const CAST_OUT: f64 = 0.95;
const STAY_OUT: f64 = 0.5;

/// The clock hops to another leader when that one's interval is narrower by this factor. (RFC 5905, section 11.2.3,
/// keeps the former one as long as it survives and none is of a lower stratum; chrony until a score is ten times as
/// good.)
const HOP: f64 = 2.0;

/// What one survivor says of the instant of the vote.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voice {
    /// The likeliest UTC minus counter, and its statistical deviation.
    pub(crate) offset: Nanos,
    pub(crate) deviation: Nanos,
    /// Of its correctness interval.
    pub(crate) half_width: Nanos,
    pub(crate) frequency: Ppb,
    pub(crate) frequency_deviation: Ppb,
    /// It was cast out last time.
    pub(crate) was_apart: bool,
}

/// What the survivors say together.
#[derive(Clone, Debug)]
pub(crate) struct Consensus {
    pub(crate) offset: Nanos,
    /// Standard deviation of the offset: a statistical figure, not a bound.
    pub(crate) deviation: Nanos,
    pub(crate) frequency: Ppb,
    /// For each voice that was cast out, how far it lies from the consensus.
    pub(crate) apart: Vec<Option<Nanos>>,
}

/// The consensus of `voices`, which lies in `agreed`; `None` if nobody speaks.
pub(crate) fn combine(voices: &[Voice], agreed: Interval) -> Option<Consensus> {
    // Relative to the first voice, so that doubles hold offsets exactly enough.
    let origin = voices.first()?.offset;
    let sounds: Vec<Sound> = voices.iter().map(|voice| Sound::new(voice, origin)).collect();
    let mut members: Vec<usize> = (0..voices.len()).collect();
    let mut opinion = Opinion::of(&sounds, &members);
    while members.len() > NMIN {
        let excess =
            |&place: &usize| opinion.apart[place] - if voices[members[place]].was_apart { STAY_OUT } else { CAST_OUT };
        let worst = (0..members.len()).max_by(|a, b| excess(a).total_cmp(&excess(b)));
        match worst {
            Some(worst) if excess(&worst) > 0.0 => members.remove(worst),
            _ => break,
        };
        opinion = Opinion::of(&sounds, &members);
    }
    let offset = agreed.clamp(origin + Nanos(opinion.offset.round() as i64));
    // Whoever knows nothing but the agreed interval errs by this.
    let most = (agreed.high - agreed.low).as_f64() / 12_f64.sqrt();
    let deviation = opinion.variance.sqrt().min(most.max(1.0));
    let apart = (0..voices.len()).map(|index| match members.contains(&index) {
        true => None,
        false => Some((voices[index].offset - offset).abs()),
    });
    let apart = apart.collect();
    Some(Consensus {
        offset,
        deviation: Nanos::from_f64_outward(deviation),
        frequency: frequency(voices, &members),
        apart,
    })
}

/// The voice that the clock is said to follow, of the members' `(name, half-width)`: the one that pins the time down
/// best; but the `present` one keeps its place until another is better by [`HOP`].
pub(crate) fn lead(members: &[(usize, Nanos)], present: Option<usize>) -> Option<usize> {
    let nearest = members.iter().min_by_key(|(_, width)| *width)?;
    let keeps = |&&(name, width): &&(usize, Nanos)| Some(name) == present && width.as_f64() <= HOP * nearest.1.as_f64();
    members.iter().find(keeps).or(Some(nearest)).map(|(name, _)| *name)
}

/// A path's asymmetry does not bend the frequency: only what it scatters by counts.
fn frequency(voices: &[Voice], members: &[usize]) -> Ppb {
    let (mut weights, mut frequencies) = (0.0, 0.0);
    for voice in members.iter().map(|&index| &voices[index]) {
        let weight = voice.frequency_deviation.0.max(0.01).powi(-2);
        weights += weight;
        frequencies += weight * voice.frequency.0;
    }
    Ppb(frequencies / weights)
}

/// A voice in doubles.
#[derive(Clone, Copy)]
struct Sound {
    offset: f64,
    /// σ², and w².
    variance: f64,
    reach: f64,
}

impl Sound {
    fn new(voice: &Voice, origin: Nanos) -> Self {
        let (deviation, width) = (voice.deviation.as_f64().max(1.0), voice.half_width.as_f64());
        Self { offset: (voice.offset - origin).as_f64(), variance: deviation * deviation, reach: width * width }
    }

    fn variance(&self, share: f64) -> f64 {
        self.variance + share * share * self.reach
    }
}

/// Sums over voices under one hypothesis; with `w = 1/v`.
#[derive(Clone, Copy, Default)]
struct Sums {
    weight: f64,
    first: f64,
    second: f64,
    log: f64,
}

impl Sums {
    fn add(mut self, offset: f64, variance: f64, sign: f64) -> Self {
        let weight = sign / variance;
        self.weight += weight;
        self.first += weight * offset;
        self.second += weight * offset * offset;
        self.log += sign * variance.ln();
        self
    }

    fn mean(&self) -> f64 {
        self.first / self.weight
    }

    fn evidence(&self) -> f64 {
        let squares = (self.second - self.first * self.mean()).max(0.0);
        -0.5 * (self.log + squares + self.weight.ln())
    }
}

/// What some of the voices say, over all hypotheses.
struct Opinion {
    offset: f64,
    variance: f64,
    /// For each of them, the probability that it stands apart.
    apart: Vec<f64>,
}

impl Opinion {
    fn of(sounds: &[Sound], members: &[usize]) -> Self {
        let mut apart = vec![0.0; members.len()];
        if let [only] = members {
            // Nothing to compare it with: no share of its bias is likelier than another.
            return Self { offset: sounds[*only].offset, variance: sounds[*only].variance, apart };
        }
        let mut hypotheses: Vec<(f64, Sums, Option<usize>)> = Vec::with_capacity(SHARES.len() * (members.len() + 1));
        for share in SHARES {
            let all = members.iter().map(|&member| &sounds[member]);
            let sums = all.fold(Sums::default(), |sums, s| sums.add(s.offset, s.variance(share), 1.0));
            hypotheses.push((sums.evidence(), sums, None));
            // Of two nobody can say which one stands apart.
            for (place, &member) in members.iter().enumerate().filter(|_| members.len() > 2) {
                let sound = &sounds[member];
                let less = sums.add(sound.offset, sound.variance(share), -1.0);
                let prior = LIKELY_APART / (1.0 - LIKELY_APART) / members.len() as f64 / 2.0;
                for apart in [(APART_TIMES * share).min(APART), APART] {
                    let sums = less.add(sound.offset, sound.variance(apart), 1.0);
                    hypotheses.push((sums.evidence() + prior.ln(), sums, Some(place)));
                }
            }
        }
        let best = hypotheses.iter().map(|(evidence, ..)| *evidence).fold(f64::NEG_INFINITY, f64::max);
        let (mut total, mut first, mut second) = (0.0, 0.0, 0.0);
        for (evidence, sums, place) in &hypotheses {
            let probability = (evidence - best).exp();
            let mean = sums.mean();
            total += probability;
            first += probability * mean;
            second += probability * (1.0 / sums.weight + mean * mean);
            if let Some(place) = place {
                apart[*place] += probability;
            }
        }
        apart.iter_mut().for_each(|probability| *probability /= total);
        let offset = first / total;
        Self { offset, variance: (second / total - offset * offset).max(0.0), apart }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYWHERE: Interval = Interval { low: Nanos(-1_000_000_000), high: Nanos(1_000_000_000) };

    /// A source 20 ms away: its offset in µs, and its deviation.
    fn voice(offset: i64, deviation: i64) -> Voice {
        Voice {
            offset: Nanos(offset * 1_000),
            deviation: Nanos(deviation * 1_000),
            half_width: Nanos::from_millis(10),
            frequency: Ppb(0.0),
            frequency_deviation: Ppb(10.0),
            was_apart: false,
        }
    }

    /// Offset and deviation in µs, and who is cast out.
    fn combined(voices: &[Voice]) -> (f64, f64, Vec<bool>) {
        let consensus = combine(voices, EVERYWHERE).unwrap();
        let micros = |nanos: Nanos| nanos.as_f64() / 1e3;
        let apart = consensus.apart.iter().map(Option::is_some).collect();
        (micros(consensus.offset), micros(consensus.deviation), apart)
    }

    #[test]
    fn nobody_says_nothing_and_one_says_what_it_says() {
        assert!(combine(&[], EVERYWHERE).is_none());
        let (offset, deviation, _) = combined(&[voice(70, 50)]);
        assert!((offset - 70.0).abs() < 0.01 && (deviation - 50.0).abs() < 0.1, "{offset} {deviation}");
    }

    #[test]
    fn sources_that_agree_make_each_other_surer() {
        let voices: Vec<Voice> = [-60, 45, -20, 38, 12, -15, 25, -25].map(|offset| voice(offset, 50)).into();
        let (offset, deviation, apart) = combined(&voices);
        assert!(offset.abs() < 2.0 && (17.0..35.0).contains(&deviation), "{offset} {deviation}");
        assert_eq!(apart, [false; 8]);
    }

    #[test]
    fn sources_that_differ_by_more_than_they_scatter_admit_their_biases() {
        let (offset, deviation, apart) = combined(&[voice(-900, 20), voice(700, 20), voice(-300, 20), voice(500, 20)]);
        assert!(offset.abs() < 50.0 && (300.0..900.0).contains(&deviation), "{offset} {deviation}");
        assert_eq!(apart, [false; 4]);
    }

    #[test]
    fn what_scatters_more_and_what_is_further_away_counts_less() {
        let (offset, ..) = combined(&[voice(0, 20), voice(300, 200)]);
        assert!(offset < 100.0, "{offset}");
        let near = Voice { half_width: Nanos(100_000), ..voice(0, 5) };
        let (offset, ..) = combined(&[near, voice(900, 50), voice(-1_500, 50), voice(1_200, 50)]);
        assert!(offset.abs() < 15.0, "{offset}");
    }

    #[test]
    fn one_far_away_from_the_others_is_cast_out_and_no_longer_pulls() {
        let voices = [voice(20, 50), voice(5_000, 50), voice(-30, 50), voice(40, 50), voice(-10, 50)];
        let (offset, deviation, apart) = combined(&voices);
        assert!(offset.abs() < 30.0 && deviation < 100.0, "{offset} {deviation}");
        assert_eq!(apart, [false, true, false, false, false]);
        let distance = combine(&voices, EVERYWHERE).unwrap().apart[1].unwrap();
        assert!((distance - Nanos(5_000_000)).abs() < Nanos(30_000), "{distance:?}");
    }

    #[test]
    fn three_always_stay() {
        let (offset, deviation, apart) = combined(&[voice(0, 50), voice(5_000, 50), voice(30, 50)]);
        assert_eq!(apart, [false; 3]);
        // It is not cast out, but has hardly a say, and the doubt is told.
        assert!(offset.abs() < 500.0 && deviation > 200.0, "{offset} {deviation}");
    }

    #[test]
    fn who_is_out_comes_back_nearer_than_where_it_left() {
        let others = [voice(20, 50), voice(-30, 50), voice(40, 50), voice(-10, 50)];
        let is_out = |offset: i64, was_apart: bool| {
            let one = Voice { was_apart, ..voice(offset, 50) };
            combined(&[others.as_slice(), &[one]].concat()).2[4]
        };
        let leaves = (0..5_000).find(|&offset| is_out(offset, false)).unwrap();
        let returns = (0..5_000).rev().find(|&offset| !is_out(offset, true)).unwrap();
        assert!(returns + 50 < leaves && leaves < 2_000, "leaves at {leaves} µs, returns at {returns} µs");
    }

    #[test]
    fn the_consensus_lies_in_the_agreed_interval_and_knows_it() {
        let agreed = Interval::new(Nanos(100_000), Nanos(300_000));
        for offset in [-100_000, -1_000, 0, 150, 900, 100_000] {
            let consensus = combine(&[voice(offset, 500), voice(offset + 50, 500)], agreed).unwrap();
            assert_eq!(agreed.clamp(consensus.offset), consensus.offset);
            assert!(consensus.deviation <= Nanos(60_000), "{consensus:?}");
        }
    }

    #[test]
    fn the_surest_frequency_counts_most() {
        let sure = Voice { frequency: Ppb(100.0), frequency_deviation: Ppb(1.0), ..voice(0, 50) };
        let unsure = Voice { frequency: Ppb(200.0), frequency_deviation: Ppb(10.0), ..voice(0, 50) };
        let frequency = combine(&[sure, unsure], EVERYWHERE).unwrap().frequency.0;
        assert!((frequency - (100.0 + 200.0 * 0.01) / 1.01).abs() < 1e-6, "{frequency}");
    }

    #[test]
    fn the_lead_changes_only_for_something_much_better() {
        let widths = |a, b| [(3, Nanos(a)), (5, Nanos(b))];
        assert_eq!(lead(&widths(10, 12), None), Some(3));
        assert_eq!(lead(&widths(10, 12), Some(5)), Some(5));
        assert_eq!(lead(&widths(10, 21), Some(5)), Some(3));
        assert_eq!(lead(&widths(10, 12), Some(9)), Some(3), "who is gone leads no more");
        assert_eq!(lead(&[], Some(3)), None);
    }
}
