//! How long the two ways take: their common base, and how far each way's queueing spreads.
//!
//! A one-way delay is a base that hardly ever changes plus a queueing time, taken to be Gamma(k, θ) with its own θ in
//! each direction. Offsets cancel in differences, so θ is judged by the distance of two quantiles, not by any level.
//! Of N round trips the shortest still has an excess of about the 1/(N+1)-quantile of Gamma(2k, θ): that much is
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
/// A queue that comes and goes is no other route: what is longer may take its time, for until then it is held to be
/// stray.
const LONGER: usize = 24;
const SHORTER: usize = 5;

/// How much the shortest of the first and of the second half of them may differ, as a share of what they all do from
/// those before: a way that goes on changing is a queue.
const STEADY: f64 = 1.0 / 16.0;

/// By how much they must be shorter than the shortest, as a multiple of the distance of the quartiles.
const FAR: f64 = 4.0;

/// Former routes that are remembered.
const ROUTES: usize = 4;

/// Normal quantiles.
const OCTILE: f64 = -1.150_35;
const QUARTILE: f64 = -0.674_49;
const SIXTEENTH: f64 = -1.534_12;

/// The delays of one source, in ns.
#[derive(Clone, Debug, Default)]
pub(super) struct Delays {
    route: Route,
    /// Routes that were left, the last one last.
    left: VecDeque<Route>,
    round_trips: Recent,
    /// One-way times, less the offset as it was estimated.
    there: Recent,
    back: Recent,
}

/// What does not change as long as packets take the same way.
#[derive(Clone, Copy, Debug, Default)]
struct Route {
    shortest: f64,
    /// By how much the way back is longer than the way there: half of it, and what routes have done since the first
    /// one.
    lead: f64,
    /// Round trips on it.
    seen: u32,
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
        if self.route.seen == 0 || delay < self.route.shortest && !(self.is_known() && self.is_shorter(delay)) {
            self.route.shortest = delay;
        }
        self.route.seen = self.route.seen.saturating_add(1);
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

    /// A round trip much shorter than the present route allows, and such as a shorter one was: that one is back, or was
    /// never left but for a queue.
    fn reconsider_route(&mut self, delay: f64) {
        let allows = |route: &&Route| {
            route.shortest < self.route.shortest
                && 2.0 * delay < route.shortest + self.route.shortest
                && delay > route.shortest - self.round_trips.quartiles.max(GRAIN)
        };
        let known = self.left.iter().filter(allows).max_by(|a, b| a.shortest.total_cmp(&b.shortest)).copied();
        if let Some(route) = known {
            self.take_route(route, 0);
        }
    }

    fn is_known(&self) -> bool {
        self.round_trips.count() >= 2 * ENOUGH as usize && self.there.count() == self.round_trips.count()
    }

    /// Whether the newest `count` are all longer than nearly all before, and no longer become so.
    fn are_longer(&self, count: usize) -> bool {
        let shortest = |times: &mut dyn Iterator<Item = f64>| times.fold(f64::INFINITY, f64::min);
        let newer = shortest(&mut self.round_trips.newest(count / 2));
        let older = shortest(&mut self.round_trips.newest(count).skip(count / 2));
        let least = newer.min(older);
        if least < self.route.shortest + self.round_trips.common
            || (newer - older).abs() > STEADY * (least - self.route.shortest)
        {
            return false;
        }
        let before = || self.round_trips.newest(RECENT).skip(count);
        // Half of the others are not shorter: so it is as a rule, and needs no sorting to be seen.
        if before().filter(|&delay| delay < least).count() * 2 < before().count() {
            return false;
        }
        let mut before: Vec<f64> = before().collect();
        before.sort_unstable_by(f64::total_cmp);
        let at = |quarters: usize| before[(before.len() - 1) * quarters / 4];
        least > at(2) + at(3) - at(1)
    }

    fn is_shorter(&self, delay: f64) -> bool {
        delay < self.route.shortest - FAR * self.round_trips.quartiles
    }

    /// The newest `count` exchanges went another way. By how much the medians of the two ways have changed tells which
    /// one it was. A route that was known before is known again, else every way there and back would leave an error
    /// behind.
    fn change_route(&mut self, count: usize) {
        let shortest = self.round_trips.newest(count).fold(f64::INFINITY, f64::min);
        let longer = shortest - self.route.shortest;
        let change = |way: &Recent| median(way.newest(count)) - median(way.newest(RECENT).skip(count));
        // Either one way has changed, or both alike; in between only if it clearly is.
        let share = ((change(&self.back) - change(&self.there)) / longer).clamp(-1.0, 1.0);
        let plain = share.round();
        let share = if (share - plain).abs() < 0.3 { plain } else { share };
        let measured = Route { shortest, lead: self.route.lead + longer * share / 2.0, seen: count as u32 };
        let is_it = |route: &&Route| {
            (route.shortest - shortest).abs() < longer.abs() / 4.0
                && (route.lead - measured.lead).abs() < longer.abs() / 4.0
        };
        let known =
            self.left.iter().find(is_it).map(|route| Route { shortest: route.shortest.min(shortest), ..*route });
        self.take_route(known.unwrap_or(measured), count);
    }

    /// The newest `count` exchanges went along `route`. What is remembered of the one before is kept, less the change.
    fn take_route(&mut self, route: Route, count: usize) {
        let (longer, lead) = (route.shortest - self.route.shortest, route.lead - self.route.lead);
        self.round_trips.shift(count, 0.0, longer);
        self.there.shift(count, lead, longer / 2.0);
        self.back.shift(count, -lead, longer / 2.0);
        self.left.retain(|left| left.lead != route.lead || (left.shortest - route.shortest).abs() > GRAIN);
        if self.left.len() == ROUTES {
            self.left.pop_front();
        }
        self.left.push_back(std::mem::replace(&mut self.route, route));
    }

    /// Forgets the one-way times: the estimates they rest on are made anew.
    pub(super) fn forget_ways(&mut self) {
        self.there.clear();
        self.back.clear();
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
        let first = gamma_quantile(2.0 * k, normal_quantile(1.0 / (f64::from(self.route.seen.min(4096)) + 1.0)));
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
    times: Vec<f64>,
    /// The place of the next one: once there are enough, that of the oldest.
    next: usize,
    /// Their places, from the shortest to the longest. (A list of the times once more would need eight times the room.)
    order: Vec<u8>,
    /// Distance of the quartiles, of octile and median, of sixteenth and quartile; and the upper quartile.
    quartiles: f64,
    common: f64,
    low: f64,
    upper: f64,
}

impl Recent {
    fn add(&mut self, time: f64) {
        let place = self.next;
        if self.times.len() == RECENT {
            self.order.retain(|&other| usize::from(other) != place);
            self.times[place] = time;
        } else {
            // All the room at once: lists that double leave holes behind.
            self.times.reserve_exact(RECENT - self.times.len());
            self.order.reserve_exact(RECENT - self.order.len());
            self.times.push(time);
        }
        self.next = (place + 1) % RECENT;
        let rank = self.order.partition_point(|&other| self.times[usize::from(other)].total_cmp(&time).is_lt());
        const { assert!(RECENT <= 256, "a place is a byte") };
        self.order.insert(rank, place as u8);
        self.take_quantiles();
    }

    fn take_quantiles(&mut self) {
        let at = |sixteenths: usize| self.times[usize::from(self.order[(self.order.len() - 1) * sixteenths / 16])];
        (self.quartiles, self.common, self.low, self.upper) = (at(12) - at(4), at(8) - at(2), at(4) - at(1), at(12));
    }

    /// As at the beginning; the room stays.
    fn clear(&mut self) {
        self.times.clear();
        self.order.clear();
        (self.next, self.quartiles, self.common, self.low, self.upper) = (0, 0.0, 0.0, 0.0, 0.0);
    }

    fn count(&self) -> usize {
        self.times.len()
    }

    /// The newest `count`, newest first.
    fn newest(&self, count: usize) -> impl Iterator<Item = f64> {
        let (later, earlier) = self.times.split_at(self.next);
        later.iter().rev().chain(earlier.iter().rev()).take(count).copied()
    }

    /// Adds `new` to the newest `count`, and `old` to the others.
    fn shift(&mut self, count: usize, new: f64, old: f64) {
        if self.times.is_empty() {
            return;
        }
        let (later, earlier) = self.times.split_at_mut(self.next);
        for (age, time) in later.iter_mut().rev().chain(earlier.iter_mut().rev()).enumerate() {
            *time += if age < count { new } else { old };
        }
        let times = &self.times;
        self.order.sort_unstable_by(|&a, &b| times[usize::from(a)].total_cmp(&times[usize::from(b)]));
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

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: f64 = 10_000_000.0;

    /// Exchanges whose ways are `extra` longer than the base, there and back, with some queueing. The estimate is held
    /// to be right throughout.
    fn play(delays: &mut Delays, extra: (f64, f64), count: usize) {
        for index in 0..count {
            let queue = |step: usize| (index * step % 17) as f64 * 10_000.0;
            let (there, back) = (BASE + extra.0 + queue(5), BASE + extra.1 + queue(11));
            delays.add(there + back);
            // As the estimator does it, with an offset of 0.
            let middle = (there - back) / 2.0 + delays.lead();
            delays.add_ways((there + back) / 2.0 + middle, (there + back) / 2.0 - middle);
        }
    }

    fn lead_after(legs: &[(f64, f64)]) -> f64 {
        let mut delays = Delays::default();
        legs.iter().for_each(|&leg| play(&mut delays, leg, 150));
        delays.lead()
    }

    #[test]
    fn another_route_is_told_by_the_way_that_has_changed() {
        for (leg, lead) in [
            ((0.0, 4e6), 2e6),
            ((4e6, 0.0), -2e6),
            ((2e6, 2e6), 0.0),
            ((0.0, -4e6), -2e6),
            ((-4e6, 0.0), 2e6),
            ((-2e6, -2e6), 0.0),
        ] {
            let found = lead_after(&[(0.0, 0.0), leg]);
            assert!((found - lead).abs() < 200_000.0, "{leg:?}: {found}");
        }
    }

    #[test]
    fn the_way_back_to_a_known_route_leaves_nothing_behind() {
        let legs = [(0.0, 0.0), (0.0, 2e6), (3e6, 2e6), (0.0, 0.0)];
        assert_eq!(lead_after(&legs), 0.0);
        let legs = [(0.0, 0.0), (0.0, 4e6), (0.0, 0.0), (0.0, 4e6), (0.0, 0.0)];
        assert_eq!(lead_after(&legs), 0.0);
    }

    #[test]
    fn a_shorter_route_stays_in_force() {
        let mut delays = Delays::default();
        play(&mut delays, (0.0, 0.0), 150);
        for _ in 0..100 {
            play(&mut delays, (-1e6, -1e6), 1);
        }
        let base = delays.scale(1.0, false, Spread::Common).base;
        assert!((base - (BASE - 1e6)).abs() < 100_000.0, "{base}");
    }

    #[test]
    fn a_way_that_grows_without_an_end_is_no_other_route() {
        let mut delays = Delays::default();
        play(&mut delays, (0.0, 0.0), 150);
        for step in 0..150 {
            play(&mut delays, (0.0, f64::from(step) * 100_000.0), 1);
            assert_eq!(delays.lead(), 0.0, "{step}");
        }
    }

    #[test]
    fn a_queue_that_went_away_was_no_route() {
        assert_eq!(lead_after(&[(0.0, 0.0), (0.0, 4e6), (0.0, 100_000.0)]), 0.0);
    }
}
