//! What the local oscillator may do: every scenario stays within the declared limits, and goes to the end of them.

use super::Trial;
use super::ordinary::{any, expect_synchronized, far, polling};
use super::oscillator::Oscillator;
use super::random::Random;
use super::server::MILLISECOND;
use super::world::World;
use crate::config::Settings;
use crate::status::State;

/// One part in a million, in ppb.
const PPM: f64 = 1000.0;

/// A crystal in a machine room: some tens of ppm off, wandering by some ppb within minutes.
pub(super) fn ordinary(random: &mut Random, settings: &Settings) -> Oscillator {
    let ppb = random.between(-100.0, 100.0) * PPM;
    Oscillator::wandering(settings, ppb, random.pick(&[0.0, 1.0, 10.0]))
}

/// Plays up to four honest servers under the given frequency.
fn play(
    trial: &Trial,
    settings: &Settings,
    hours: f64,
    frequency: impl FnMut(f64, &mut Random) -> f64 + 'static,
) -> World {
    let mut random = Random::new(trial.seed ^ 2);
    let count = random.pick(&[1, 1, 2, 4]);
    let servers = any(&mut random, count);
    let mut world = World::new(trial, settings, Oscillator::new(settings, Box::new(frequency)), servers);
    world.run(hours);
    expect_synchronized(&mut world);
    world.expect("there was no step", world.epoch() == 1);
    world
}

pub(super) fn an_oscillator_at_its_absolute_limit(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let settings = polling(random.pick(&[4, 6]), 10);
    let ppb = random.pick(&[-1.0, 1.0]) * settings.frequency_limit.0;
    play(trial, &settings, 8.0, move |_, _| ppb)
}

pub(super) fn an_oscillator_that_wanders_a_little(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let settings = polling(4, 10);
    let oscillator = Oscillator::wandering(&settings, random.between(-50.0, 50.0) * PPM, random.pick(&[0.1, 1.0, 3.0]));
    let servers = any(&mut random, 1);
    let mut world = World::new(trial, &settings, oscillator, servers);
    world.run(12.0);
    expect_synchronized(&mut world);
    world
}

/// At 100 ppb per √s the walk would leave the limit in most quarters of an hour: it is held there.
pub(super) fn an_oscillator_that_wanders_as_much_as_it_may(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let settings = polling(random.pick(&[4, 6, 10]), 10);
    let wander = random.pick(&[10.0, 100.0, 300.0]);
    let oscillator = Oscillator::wandering(&settings, random.between(-50.0, 50.0) * PPM, wander);
    let count = random.pick(&[1, 2, 4]);
    let servers = any(&mut random, count);
    let mut world = World::new(trial, &settings, oscillator, servers);
    world.run(12.0);
    expect_synchronized(&mut world);
    world
}

pub(super) fn a_frequency_that_swings_within_hours(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    // Half an hour at 0.2 ppm, two hours at 2.3 ppm: within 1000 s just below 2 ppm.
    let (period, ppm) = random.pick(&[(1800.0, 0.2), (7200.0, 2.3), (1000.0, 1.0)]);
    let middle = random.between(-100.0, 100.0);
    let frequency = move |t: f64, _: &mut Random| PPM * (middle + ppm * (std::f64::consts::TAU * t / period).sin());
    play(trial, &polling(random.pick(&[4, 6]), 10), 12.0, frequency)
}

pub(super) fn a_frequency_that_swings_with_the_day(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let middle = random.between(-100.0, 100.0);
    let phase = random.unit();
    let day =
        move |t: f64, _: &mut Random| PPM * (middle + 7.4 * (std::f64::consts::TAU * (t / 86_400.0 + phase)).sin());
    play(trial, &polling(6, 10), trial.days.max(1.0) * 24.0, day)
}

/// 2 ppm up within 300 s and down again, every three hours.
fn steps_of_temperature(t: f64) -> f64 {
    let phase = (t / 10_800.0).fract() * 10_800.0;
    let rising = ((t / 10_800.0) as u64).is_multiple_of(2);
    let share = ((phase - 5_400.0) / 300.0).clamp(0.0, 1.0);
    2.0 * PPM * if rising { share } else { 1.0 - share }
}

pub(super) fn temperature_steps_of_2_ppm_within_300_s_under_long_polls(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let middle = random.between(-50.0, 50.0) * PPM;
    play(trial, &polling(6, 10), 24.0, move |t, _| middle + steps_of_temperature(t))
}

pub(super) fn temperature_steps_of_2_ppm_within_300_s_under_polls_of_1024_s(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let middle = random.between(-50.0, 50.0) * PPM;
    play(trial, &polling(10, 10), 24.0, move |t, _| middle + steps_of_temperature(t))
}

/// 2 ppm at once, at any time: the worst that the limit allows in the short run.
pub(super) fn a_frequency_that_jumps_between_its_extremes(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let middle = random.between(-50.0, 50.0) * PPM;
    let mean = random.pick(&[60.0, 600.0, 6000.0]);
    let (mut up, mut until) = (false, 0.0);
    let jumps = move |t: f64, random: &mut Random| {
        if t >= until {
            up = !up;
            until = t + random.exponential(mean);
        }
        middle + if up { PPM } else { -PPM }
    };
    play(trial, &polling(random.pick(&[4, 6, 10]), 10), 12.0, jumps)
}

/// 2 ppm per 1000 s, up to 15 ppm and back: the worst that the limit allows in the long run.
pub(super) fn a_frequency_that_creeps_from_one_extreme_to_the_other(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let middle = random.between(-50.0, 50.0) * PPM;
    let creep = move |t: f64, _: &mut Random| {
        let phase = (t / 15_000.0).fract();
        middle + 15.0 * PPM * (2.0 * phase - 1.0).abs()
    };
    play(trial, &polling(random.pick(&[4, 6, 10]), 10), 12.0, creep)
}

/// 5 h 33 min of silence; the frequency shifts by 5 ppm as it begins, as fast as the limit allows.
pub(super) fn holdover_of_20000_s_after_a_shift_of_5_ppm(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let settings = polling(random.pick(&[4, 6, 10]), 10);
    let middle = random.between(-50.0, 50.0) * PPM;
    let (silence, direction) = (random.between(14_000.0, 16_000.0), random.pick(&[-1.0, 1.0]));
    // The shift may also come before the silence, when only some of it was seen.
    let shift = silence - random.pick(&[0.0, 500.0, 2500.0]);
    let frequency =
        move |t: f64, _: &mut Random| middle + direction * (2.0 * PPM * (t - shift) / 1000.0).clamp(0.0, 5.0 * PPM);
    let dead = move |t: f64| (silence..silence + 20_000.0).contains(&t);
    let count = random.pick(&[1, 4]);
    let servers = any(&mut random, count).into_iter().map(|server| server.dead_when(dead)).collect();
    let mut world = World::new(trial, &settings, Oscillator::new(&settings, Box::new(frequency)), servers);
    world.run((silence + 19_900.0) / 3600.0);
    world.expect("the clock is in holdover", world.state() == State::Holdover);
    world.run(1.0);
    expect_synchronized(&mut world);
    world
}

pub(super) fn holdover_until_the_interval_is_too_wide_to_mean_anything(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let settings = polling(6, 10);
    let middle = random.between(-50.0, 50.0) * PPM;
    let direction = random.pick(&[-1.0, 1.0]);
    let frequency =
        move |t: f64, _: &mut Random| middle + direction * (2.0 * PPM * (t - 7200.0) / 1000.0).clamp(0.0, 15.0 * PPM);
    let dead = |t: f64| (7200.0..100_000.0).contains(&t);
    let servers = far(&mut random, 3).into_iter().map(|server| server.dead_when(dead)).collect();
    let mut world = World::new(trial, &settings, Oscillator::new(&settings, Box::new(frequency)), servers);
    world.run(99_000.0 / 3600.0);
    world.expect("nobody claims to know the time any more", world.state() == State::Unsynchronized);
    world.run(2.0);
    expect_synchronized(&mut world);
    world
}

/// Suspended, or paused by its host: UTC goes on meanwhile. From when most servers were heard again the interval holds.
fn pauses(trial: &Trial, spans: std::ops::Range<f64>) -> World {
    let mut random = Random::new(trial.seed);
    let settings = polling(random.pick(&[4, 6]), 10);
    let pauses: Vec<(f64, f64)> = (1..4)
        .map(|index| {
            let at = 3600.0 * 4.0 * f64::from(index) + random.between(0.0, 7200.0);
            (at, random.between(spans.start, spans.end))
        })
        .collect();
    let oscillator = ordinary(&mut random, &settings).pausing(&pauses);
    let count = random.pick(&[1, 2, 3, 4, 5]);
    let servers = any(&mut random, count);
    let mut world = World::new(trial, &settings, oscillator, servers);
    world.run(20.0);
    expect_synchronized(&mut world);
    world.expect("the clock shows UTC again", world.is_right_within(200.0 * MILLISECOND));
    world.expect("each pause began a new epoch", world.epoch() > 3);
    world
}

pub(super) fn a_counter_that_stands_still_for_minutes(trial: &Trial) -> World {
    pauses(trial, 1.0..1200.0)
}

/// A suspend or a pause of the virtual machine. (case 30)
pub(super) fn a_counter_that_stands_still_for_a_night(trial: &Trial) -> World {
    pauses(trial, 20_000.0..40_000.0)
}
