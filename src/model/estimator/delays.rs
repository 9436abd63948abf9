//! How long the two ways take: their common base, and how far each way's queueing spreads.
//!
//! A one-way delay is a base that hardly ever changes plus a queueing time, taken to be Gamma(k, θ) with its own θ in
//! each direction. Offsets cancel in differences, so θ is judged by the distance of the quartiles, not by any
//! level. Of N round trips the shortest still has an excess of about the 1/(N+1)-quantile of Gamma(2k, θ): that much is
//! taken off it to get the base. Quantiles by Wilson and Hilferty, "The distribution of chi-square" (PNAS 17, 1931).

use std::collections::VecDeque;

/// Times whose quantiles are kept.
const RECENT: usize = 128;

/// What a timestamp is off by even on an idle machine, ns.
const GRAIN: f64 = 30.0;

/// What the lower octile and the median of the round trip are apart, as a share of the shortest, before any were seen.
const GUESS: f64 = 0.07;

/// Times enough to know their quantiles.
const ENOUGH: f64 = 12.0;

/// Round trips in a row that prove another route, if all are longer, or all are shorter.
///
/// A queue that comes and goes is no other route: what is longer may take its time, for until then it is held to be stray.
const LONGER: usize = 24;
const SHORTER: usize = 5;

/// By how much they must be, as a multiple of the distance of the quartiles: shorter than the shortest, longer than the median.
const FAR: f64 = 4.0;

/// Normal quantiles.
const OCTILE: f64 = -1.150_35;
const QUARTILE: f64 = -0.674_49;
const SIXTEENTH: f64 = -1.534_12;

/// The delays of one source, in ns.
#[derive(Clone, Debug, Default)]
pub(super) struct Delays {
    route: Route,
    /// The route from which the last change led away.
    former: Option<Route>,
    /// Round trips on this route.
    seen: u32,
    round_trips: Recent,
    /// One-way times, less the offset as it was estimated.
    there: Recent,
    back: Recent,
}

/// What does not change as long as packets take the same way.
#[derive(Clone, Copy, Debug, Default)]
struct Route {
    shortest: f64,
    /// By how much the way back is longer than the way there: half of it, and what routes have done since the first one.
    lead: f64,
}

/// How queueing times are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spread {
    /// Most are of one kind: judged by the lower octile and the median.
    Common,
    /// As many as half are anything: judged by the shortest quarter.
    Low,
}

/// What queueing of one shape looks like now.
pub(super) struct Scale {
    /// θ of either direction.
    pub(super) there: f64,
    pub(super) back: f64,
    /// One way without any queueing.
    pub(super) base: f64,
}

impl Delays {
    /// Takes in a round trip, before its exchange is judged.
    pub(super) fn add(&mut self, delay: f64) {
        self.reconsider_route(delay);
        // What is a great deal shorter may be another route; `add_ways` finds out.
        if self.seen == 0 || delay < self.route.shortest && !(self.is_known() && self.is_shorter(delay)) {
            self.route.shortest = delay;
        }
        self.seen = self.seen.saturating_add(1);
        self.round_trips.add(delay);
    }

    /// Takes in the one-way times of an exchange that was judged.
    pub(super) fn add_ways(&mut self, there: f64, back: f64) {
        self.there.add(there);
        self.back.add(back);
        if !self.is_known() {
            return;
        }
        if self.round_trips.count() > LONGER + ENOUGH as usize && self.are_longer(LONGER) {
            self.change_route(LONGER);
        } else if self.round_trips.newest(SHORTER).all(|delay| self.is_shorter(delay)) {
            self.change_route(SHORTER);
        }
    }

    /// A round trip not even half as much longer as the new route was held to be: it was a queue, which now is gone.
    fn reconsider_route(&mut self, delay: f64) {
        let Some(former) = self.former.filter(|former| 2.0 * delay < former.shortest + self.route.shortest) else {
            return;
        };
        let (longer, lead) = (former.shortest - self.route.shortest, former.lead - self.route.lead);
        let since = (self.seen as usize).min(self.round_trips.count());
        self.round_trips.shift_all_but(since, longer);
        self.there.shift_all_but(0, lead);
        self.there.shift_all_but(since, longer / 2.0 - lead);
        self.back.shift_all_but(0, -lead);
        self.back.shift_all_but(since, longer / 2.0 + lead);
        self.seen = self.round_trips.count() as u32;
        (self.former, self.route) = (None, former);
    }

    fn is_known(&self) -> bool {
        self.round_trips.count() >= 2 * ENOUGH as usize && self.there.count() == self.round_trips.count()
    }

    /// Whether the newest `count` are all longer than nearly all before.
    fn are_longer(&self, count: usize) -> bool {
        let least = self.round_trips.newest(count).fold(f64::INFINITY, f64::min);
        if least < self.route.shortest + self.round_trips.common {
            return false;
        }
        let mut before: Vec<f64> = self.round_trips.newest(RECENT).skip(count).collect();
        before.sort_unstable_by(f64::total_cmp);
        let at = |quarters: usize| before[(before.len() - 1) * quarters / 4];
        least > at(2) + at(3) - at(1)
    }

    fn is_shorter(&self, delay: f64) -> bool {
        delay < self.route.shortest - FAR * self.round_trips.quartiles
    }

    /// The newest `count` exchanges went another way. By which of the two ways' shortest times have changed it is told
    /// which one it was; what is remembered of the former route is kept, less the change.
    fn change_route(&mut self, count: usize) {
        let shortest = self.round_trips.newest(count).fold(f64::INFINITY, f64::min);
        let longer = shortest - self.route.shortest;
        let change = |way: &Recent| median(way.newest(count)) - median(way.newest(RECENT).skip(count));
        // Either one way has changed, or both alike; in between only if it clearly is.
        let share = ((change(&self.back) - change(&self.there)) / longer).clamp(-1.0, 1.0);
        let plain = share.round();
        let asymmetry = longer * if (share - plain).abs() < 0.3 { plain } else { share };
        let changed = Route { shortest, lead: self.route.lead + asymmetry / 2.0 };
        let is_former = |former: &Route| 4.0 * (former.shortest - shortest).abs() < longer.abs();
        let route = match self.former.filter(is_former) {
            // Else every way there and back would leave an error behind.
            Some(former) => Route { lead: former.lead, ..changed },
            None => changed,
        };
        let lead = route.lead - self.route.lead;
        self.round_trips.shift_all_but(count, longer);
        self.there.shift_all_but(0, lead);
        self.there.shift_all_but(count, longer / 2.0 - asymmetry / 2.0);
        self.back.shift_all_but(0, -lead);
        self.back.shift_all_but(count, longer / 2.0 + asymmetry / 2.0);
        (self.former, self.route) = (Some(self.route), route);
        self.seen = count as u32;
    }

    /// Forgets the one-way times: the estimates they rest on are made anew.
    pub(super) fn forget_ways(&mut self) {
        (self.there, self.back) = (Recent::default(), Recent::default());
    }

    /// To be added to a midpoint, for what routes have changed since the first one.
    pub(super) fn lead(&self) -> f64 {
        self.route.lead
    }

    /// Whether `delay` is none of the longest quarter of the recent ones.
    pub(super) fn is_ordinary(&self, delay: f64) -> bool {
        delay <= self.round_trips.upper
    }

    /// The scale of Gamma(k) jitter.
    ///
    /// The round trip tells how much is queued; the ways, whose times rest on our own estimate of the offset, only
    /// how it is shared between them. Else an estimate that wanders would excuse its own wandering.
    pub(super) fn scale(&self, k: f64, apart: bool, spread: Spread) -> Scale {
        let trust = (self.round_trips.count() as f64 / ENOUGH).min(1.0);
        let (seen, low, high) = match spread {
            Spread::Common => (self.round_trips.common, OCTILE, 0.0),
            Spread::Low => (self.round_trips.low, SIXTEENTH, QUARTILE),
        };
        let spread = trust * seen + (1.0 - trust) * GUESS * self.route.shortest;
        let unit = gamma_quantile(2.0 * k, high) - gamma_quantile(2.0 * k, low);
        let theta = (spread / unit).max(GRAIN / k.sqrt());
        let share = |way: &Recent| {
            let both = (self.there.quartiles.powi(2) + self.back.quartiles.powi(2)).sqrt();
            let share = if both > 0.0 { (std::f64::consts::SQRT_2 * way.quartiles / both).max(0.1) } else { 1.0 };
            if apart { trust * share + (1.0 - trust) } else { 1.0 }
        };
        let first = gamma_quantile(2.0 * k, normal_quantile(1.0 / (f64::from(self.seen.min(4096)) + 1.0)));
        Scale {
            there: theta * share(&self.there),
            back: theta * share(&self.back),
            base: (self.route.shortest - theta * first) / 2.0,
        }
    }
}

/// The last times of one kind.
#[derive(Clone, Debug, Default)]
struct Recent {
    times: VecDeque<f64>,
    sorted: Vec<f64>,
    /// Distance of the quartiles, of octile and median, of sixteenth and quartile; and the upper quartile.
    quartiles: f64,
    common: f64,
    low: f64,
    upper: f64,
}

impl Recent {
    fn add(&mut self, time: f64) {
        let place = |sorted: &[f64], time: f64| sorted.partition_point(|other| other.total_cmp(&time).is_lt());
        if self.times.len() == RECENT
            && let Some(oldest) = self.times.pop_front()
        {
            self.sorted.remove(place(&self.sorted, oldest));
        }
        self.times.push_back(time);
        self.sorted.insert(place(&self.sorted, time), time);
        self.take_quantiles();
    }

    fn take_quantiles(&mut self) {
        let at = |sixteenths: usize| self.sorted[(self.sorted.len() - 1) * sixteenths / 16];
        self.quartiles = at(12) - at(4);
        self.common = at(8) - at(2);
        self.low = at(4) - at(1);
        self.upper = at(12);
    }

    fn count(&self) -> usize {
        self.times.len()
    }

    /// The newest `count`, newest first.
    fn newest(&self, count: usize) -> impl Iterator<Item = f64> {
        self.times.iter().rev().take(count).copied()
    }

    /// Adds `by` to all but the newest `count`.
    fn shift_all_but(&mut self, count: usize, by: f64) {
        let old = self.times.len() - count;
        self.times.iter_mut().take(old).for_each(|time| *time += by);
        self.sorted = self.times.iter().copied().collect();
        self.sorted.sort_unstable_by(f64::total_cmp);
        self.take_quantiles();
    }
}

fn median(times: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = times.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// The quantile of Gamma(`shape`, 1) that lies as high as the normal one `z`.
fn gamma_quantile(shape: f64, z: f64) -> f64 {
    let cube = 1.0 - 1.0 / (9.0 * shape) + z / (3.0 * shape.sqrt());
    shape * cube.max(0.0).powi(3)
}

/// The standard normal quantile at `p` < 1/2 (Abramowitz and Stegun, 26.2.23; error below 4.5e-4).
fn normal_quantile(p: f64) -> f64 {
    let t = (-2.0 * p.ln()).sqrt();
    let numerator = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let denominator = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    numerator / denominator - t
}
