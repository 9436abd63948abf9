//! Servers that lie and networks that attack. Delaying, losing and replaying is no lie: there the interval must hold
//! with a single server. Lies are outvoted, as long as no more servers lie than is assumed.

use super::Trial;
use super::oracle::Promise;
use super::ordinary::{any, expect_synchronized, far, polling};
use super::oscillators;
use super::random::Random;
use super::server::{MICROSECOND, MILLISECOND, OverTime, SECOND, Server, delay, exponential, moved};
use super::world::{PIVOT, World};
use crate::config::Settings;
use crate::packet::Packet;
use crate::status::{Leap, Selection, State};
use crate::units::{Nanos, NtpShort, NtpTime, UnixTime, unix_seconds};

fn world(trial: &Trial, settings: &Settings, servers: Vec<Server>) -> World {
    let oscillator = oscillators::ordinary(&mut Random::new(trial.seed ^ 3), settings);
    World::new(trial, settings, oscillator, servers)
}

/// The same from another time on.
fn world_from(begin: UnixTime, trial: &Trial, settings: &Settings, servers: Vec<Server>) -> World {
    let oscillator = oscillators::ordinary(&mut Random::new(trial.seed ^ 3), settings);
    World::beginning(begin, trial, settings, oscillator, servers)
}

/// `liar` stands somewhere among the servers; answers where.
fn hide(servers: &mut Vec<Server>, liar: Server, random: &mut Random) -> usize {
    let place = (random.unit() * (servers.len() + 1) as f64) as usize;
    servers.insert(place, liar);
    place
}

/// Plays three honest servers and one liar, who is not among those that are believed at the end.
fn outvoted(trial: &Trial, hours: f64, liar: impl FnOnce(Server) -> Server) -> World {
    let mut random = Random::new(trial.seed);
    let mut servers = any(&mut random, 3);
    let liar = liar(Server::far(&mut random));
    let place = hide(&mut servers, liar, &mut random);
    let mut world = world(trial, &polling(random.pick(&[4, 6]), 10), servers);
    world.run(hours);
    expect_synchronized(&mut world);
    world.expect("the liar is not believed", world.selections()[place] != Selection::Truechimer);
    world.expect("there was no step", world.epoch() == 1);
    world
}

/// (case 13, and 2)
pub(super) fn stamps_that_contradict_each_other(trial: &Trial) -> World {
    let kind = trial.seed % 3;
    outvoted(trial, 4.0, move |liar| {
        liar.tampering(move |reply, _, random| {
            let packet = &mut reply.packet;
            match kind {
                // It answers before it was asked.
                0 => packet.transmit = moved(packet.receive, -random.between(MILLISECOND, SECOND), PIVOT),
                // It claims to have held the request for longer than the whole exchange took, or for an age.
                1 => packet.transmit = moved(packet.transmit, random.between(0.5 * SECOND, 9.0 * SECOND), PIVOT),
                _ => (packet.receive, packet.transmit) = (NtpTime::ZERO, NtpTime(random.next())),
            }
        })
    })
}

/// (case 14)
pub(super) fn a_server_that_says_itself_it_is_no_good(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let mut servers = vec![Server::far(&mut random)];
    for kind in 0..4 {
        let useless = Server::far(&mut random).lying_by(|_, _| 3.0 * SECOND).tampering(move |reply, _, random| {
            let packet = &mut reply.packet;
            match kind {
                0 => packet.leap = Leap::Unknown,
                1 => packet.stratum = 16 + (random.next() % 240) as u8,
                2 => packet.root_delay = random.pick(&[NtpShort::MAX, NtpShort(32 << 16)]),
                _ => packet.root_dispersion = random.pick(&[NtpShort::MAX, NtpShort(16 << 16)]),
            }
        });
        hide(&mut servers, useless, &mut random);
    }
    // All but one of five may be useless if they say so: only lies count as faults. But as a third of the five may
    // lie, one that answers alone is not enough; with no liar assumed it is.
    let settings = Settings { fault_limit: Some(0), ..polling(4, 10) };
    let mut world = world(trial, &settings, servers);
    world.run(6.0);
    expect_synchronized(&mut world);
    let believed = world.selections().iter().filter(|&&selection| selection == Selection::Truechimer).count();
    world.expect("one server is believed", believed == 1);
    world
}

/// (case 15)
pub(super) fn a_root_distance_of_zero_and_10_ms_off(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let mut servers: Vec<Server> = (0..2).map(|_| Server::near(&mut random)).collect();
    let off = random.pick(&[-10.0, 10.0]) * MILLISECOND;
    let path = || exponential(100.0 * MICROSECOND, 10.0 * MICROSECOND);
    let liar = Server::behind(path(), path()).lying_by(move |_, _| off);
    let place = hide(&mut servers, liar, &mut random);
    // Polls do not grow beyond what the servers' intervals bear, or the honest ones would reach as far as the lie.
    let mut world = world(trial, &polling(4, 10), servers);
    world.run(6.0);
    expect_synchronized(&mut world);
    world.expect("the liar is named", world.selections()[place] == Selection::Falseticker);
    world
}

/// More liars than are assumed, but their intervals are disjoint from the honest ones: a majority tells the truth.
/// (case 16)
pub(super) fn one_liar_of_three_and_two_of_five(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let liars = random.pick(&[1, 2]);
    let mut servers: Vec<Server> = any(&mut random, liars + 1);
    let mut places = Vec::new();
    for _ in 0..liars {
        let off = random.pick(&[-1.0, 1.0]) * random.between(1.0, 100.0) * SECOND;
        let liar = Server::far(&mut random).lying_by(move |_, _| off);
        let place = hide(&mut servers, liar, &mut random);
        places.iter_mut().for_each(|former| *former += usize::from(*former >= place));
        places.push(place);
    }
    let mut world = world(trial, &polling(6, 10), servers);
    world.run(8.0);
    expect_synchronized(&mut world);
    let selections = world.selections();
    world.expect("the liars are named", places.iter().all(|&place| selections[place] == Selection::Falseticker));
    world.expect("there was no step", world.epoch() == 1);
    world
}

/// A liar of a kind drawn by chance: by offset, root distance, or whatever harms most at the moment.
fn liar_of_any_kind(random: &mut Random) -> Server {
    let server = Server::far(random);
    let size = 10_f64.powf(random.between(4.0, 10.0)) * random.pick(&[-1.0, 1.0]);
    let period = random.between(100.0, 20_000.0);
    match random.pick(&[0, 1, 2, 3, 4, 5, 6, 7]) {
        0 => server.lying_by(move |_, _| size),
        1 => {
            let ppb = random.pick(&[1e3, 20e3, 100e3, -1e3, -5e3, -20e3]);
            server.lying_by(move |t, _| ppb * t)
        }
        2 => server.lying_by(move |t, _| if (t / period).fract() < 0.5 { size } else { 0.0 }),
        3 => server.lying_by(move |_, random| random.pick(&[0.0, 1.0, -1.0]) * random.exponential(size.abs())),
        4 => server.lying_by(move |t, _| (t / period).sin() * size),
        // It claims to be closer to UTC than it is.
        5 => server.lying_by(|t, _| 5.0 * MILLISECOND * (t / 3000.0).sin()).tampering(|reply, _, _| {
            (reply.packet.root_delay, reply.packet.root_dispersion) = (NtpShort(0), NtpShort(0));
        }),
        // It claims to be so far off that it agrees with everybody, and now and then that it is near.
        6 => server.lying_by(move |_, _| size).tampering(|reply, _, random| {
            reply.packet.root_dispersion = NtpShort(if random.chance(0.1) { 0 } else { 15 << 16 });
        }),
        // It steps, and stays there.
        _ => server.lying_by(move |t, _| if t > period { size } else { 0.0 }),
    }
}

/// Plays `liars` of `count` servers.
fn with_liars(trial: &Trial, count: usize, liars: usize, settings: &Settings) -> World {
    let mut random = Random::new(trial.seed);
    let mut servers = any(&mut random, count - liars);
    for _ in 0..liars {
        let liar = liar_of_any_kind(&mut random);
        hide(&mut servers, liar, &mut random);
    }
    let mut world = world(trial, settings, servers);
    world.run(8.0);
    expect_synchronized(&mut world);
    world.expect("there was no step", world.epoch() == 1);
    world
}

pub(super) fn as_many_liars_of_every_kind_as_are_assumed(trial: &Trial) -> World {
    let (count, liars) = Random::new(trial.seed ^ 4).pick(&[(4, 1), (5, 1), (7, 2), (10, 3)]);
    with_liars(trial, count, liars, &polling(6, 10))
}

pub(super) fn as_many_liars_of_every_kind_as_can_be_assumed(trial: &Trial) -> World {
    let (count, liars) = Random::new(trial.seed ^ 4).pick(&[(3, 1), (5, 2), (7, 3), (9, 4)]);
    with_liars(trial, count, liars, &Settings { fault_limit: Some(liars), ..polling(6, 10) })
}

/// The strongest lie is one that cannot be told from the truth, and shifts what all agree on.
pub(super) fn liars_whose_intervals_just_touch_the_honest(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let (count, liars) = random.pick(&[(4, 1), (7, 2), (10, 3)]);
    let way = random.between(0.5, 20.0) * MILLISECOND;
    let path = move || exponential(way, way / 100.0);
    let mut servers: Vec<Server> = (0..count - liars).map(|_| Server::behind(path(), path())).collect();
    // The honest intervals reach `way` to either side of UTC, and so do the liars'.
    let share = random.between(1.5, 2.1) * random.pick(&[-1.0, 1.0]);
    for _ in 0..liars {
        let wavering = random.pick(&[0.0, 0.05, 0.3]);
        let liar =
            Server::behind(path(), path()).lying_by(move |t, _| way * share * (1.0 + wavering * (t / 5000.0).sin()));
        hide(&mut servers, liar, &mut random);
    }
    let mut world = world(trial, &polling(6, 10), servers);
    world.run(8.0);
    expect_synchronized(&mut world);
    world
}

pub(super) fn a_server_that_ramps_away(trial: &Trial) -> World {
    let ppm = Random::new(trial.seed ^ 4).pick(&[-100.0, -20.0, 20.0, 100.0]);
    outvoted(trial, 8.0, move |liar| liar.lying_by(move |t, _| ppm * 1e3 * (t - 3600.0).max(0.0)))
}

pub(super) fn a_server_that_steps(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed ^ 4);
    let step = random.pick(&[-1.0, 1.0]) * random.between(0.5, 50.0) * SECOND;
    let at = random.between(60.0, 10_000.0);
    outvoted(trial, 6.0, move |liar| liar.lying_by(move |t, _| if t < at { 0.0 } else { step }))
}

pub(super) fn a_server_that_toggles(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed ^ 4);
    let size = random.between(0.2, 5.0) * SECOND;
    let period = random.between(50.0, 5000.0);
    outvoted(trial, 6.0, move |liar| {
        liar.lying_by(move |t, _| if ((t / period) as u64).is_multiple_of(2) { -size } else { size })
    })
}

/// A second spread over a day: 11.6 ppm, slower than what an oscillator may do.
pub(super) fn a_server_that_smears_a_leap_second(trial: &Trial) -> World {
    outvoted(trial, 30.0, |liar| liar.lying_by(|t, _| SECOND * ((t - 20_000.0) / 86_400.0).clamp(0.0, 1.0)))
}

pub(super) fn a_server_that_leaps_without_reason(trial: &Trial) -> World {
    let leap = Random::new(trial.seed ^ 4).pick(&[-1.0, 1.0]);
    outvoted(trial, 4.0, move |liar| {
        liar.announcing(Leap::Insert).lying_by(move |t, _| if t < 7200.0 { 0.0 } else { leap * SECOND })
    })
}

/// Two of three, three of five: the contract promises nothing, but the change is a step with a new epoch, and the
/// report says that too many lie, or there is no agreement. (case 17)
pub(super) fn a_majority_that_lies_is_never_followed_in_silence(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let (count, liars) = random.pick(&[(3, 2), (5, 3)]);
    let mut servers = far(&mut random, count);
    let off = random.pick(&[-1.0, 1.0]) * random.between(1.0, 100.0) * SECOND;
    for liar in servers.drain(..liars).collect::<Vec<_>>() {
        let liar = liar.lying_by(move |t, _| if t < 3600.0 { 0.0 } else { off });
        servers.push(liar);
    }
    let mut world = world(trial, &polling(4, 6), servers);
    world.run(1.0);
    expect_synchronized(&mut world);
    world.promise(Promise::Nothing);
    world.run(3.0);
    let report = world.report();
    let told = report.faults_exceeded && report.steps > 0;
    world.expect("the change is told", told || report.state != State::Synchronized);
    world
}

/// A server that lied while an earlier program ran, by any amount: the next hears the truth, and has forgotten the lie
/// after the knee of the drift limit. Within it the promise is the earlier run's, and broken; even so, what cannot be
/// true is dropped at once.
pub(super) fn a_lie_of_an_earlier_run_is_forgotten(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let off = random.pick(&[-1.0, 1.0]) * 10_f64.powf(random.between(4.0, 10.0));
    let server = Server::far(&mut random).lying_by(move |t, _| if t < 3600.0 { off } else { 0.0 });
    let settings = polling(4, 6);
    let mut world = world(trial, &settings, vec![server]);
    world.promise(Promise::Nothing);
    world.run(1.0);
    world.restart(0.01);
    // A second for the votes, some for the burst.
    world.run((settings.drift.knee.as_f64() / SECOND + 70.0) / 3600.0);
    world.promise(Promise::HoldsUtc);
    world.run(2.0);
    expect_synchronized(&mut world);
    world.restart(0.1);
    world.run(2.0);
    world.expect("no lie was passed on", world.report().steps == 0);
    world
}

/// Faster than any oscillator within the limits: their own intervals contradict each other, which is proof. Whoever reads
/// on in the epoch that was believed is never led away with them; that the ramp began is told at once, by another epoch.
/// (Once it is as steady as an oscillator may be off, it cannot be told from one: the new epoch follows it.) (case 19)
pub(super) fn a_majority_that_ramps_away_is_never_followed_in_silence(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let ppm = random.pick(&[-100.0, -20.0, 20.0, 100.0]);
    let servers = (0..3).map(|_| Server::near(&mut random));
    let servers = servers.map(|server| server.lying_by(move |t, _| ppm * 1e3 * (t - 3600.0).max(0.0))).collect();
    let settings = polling(4, 6);
    let mut world = world(trial, &settings, servers);
    world.run(1.0);
    expect_synchronized(&mut world);
    world.promise(Promise::Nothing);
    // By so much an exchange may be off without a lie, before the ramp as under it.
    let widths = world
        .sources()
        .into_iter()
        .map(|source| source.root_delay_ns / 2 + source.root_dispersion_ns + source.delay_ns / 2);
    let width = widths.max().unwrap() as f64;
    let (mut told, mut judged) = (None, 0);
    while world.seconds() < 7.0 * 3600.0 {
        // Closely for as long as the old epoch may be led astray.
        world.run(if told.is_none() { 1.0 / 3600.0 } else { 1.0 / 60.0 });
        let since = world.seconds() - 3600.0;
        // Once most of them are caught, the others are no longer what the clock follows.
        let caught = world.sources().iter().filter(|source| source.restarts > 0).count();
        if world.epoch() == 1 && world.state().is_usable() && caught < 2 {
            // What our oscillator may have done meanwhile, and what was not known at the beginning.
            let limit = if Nanos((since * SECOND) as i64) <= settings.drift.knee {
                settings.drift.short
            } else {
                settings.drift.long
            };
            let right = world.is_right_within(2.0 * width + limit.0 * since);
            world.expect("nobody is led further than an oscillator may drift", right);
            judged += 1;
        }
        if world.epoch() > 1 || world.state() != State::Synchronized {
            told.get_or_insert(since);
        }
    }
    world.expect("the old epoch was looked at under the ramp", judged > 0);
    // Two polls of 64 s show a change of 20 ppm twice over, and what is known of the servers is finer than that.
    world.expect("it is told within five minutes", told.is_some_and(|since| since <= 300.0));
    let noticed = world.sources().iter().filter(|source| source.restarts > 0).count();
    world.expect("most of them were caught in the act", noticed >= 2);
    let report = world.report();
    world.expect("what was proven a lie was not slewed to", report.steps > 0 || report.state != State::Synchronized);
    world
}

/// No faster than what our oscillator may do: nobody can tell that from it, and the interval holds what they all say.
/// (case 19)
pub(super) fn a_ramp_of_all_within_the_drift_limit_is_followed_within_the_bound(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let ramp = random.pick(&[-1.0, 1.0]) * 1e3;
    let lie = move |t: f64| ramp * (t - 3600.0).max(0.0);
    let servers = (0..3).map(|_| Server::near(&mut random).lying_by(move |t, _| lie(t))).collect();
    let mut world = world(trial, &polling(4, 6), servers);
    world.promise(Promise::Nothing);
    while world.seconds() < 6.0 * 3600.0 {
        world.run(1.0 / 60.0);
        let told = lie(world.seconds().floor());
        let follows = (world.oracle.error as f64 - told).abs() <= 0.5 * MILLISECOND;
        world.expect("the clock goes with them, of whom none is off by a tenth of that", follows);
        // A second of the ramp and of its own errors: the reading is not exactly of this moment.
        let told = world.tells(told) || world.tells(told - ramp) || world.tells(told + ramp);
        world.expect("what they say lies in the interval", told);
    }
    expect_synchronized(&mut world);
    world.expect("there was no step", world.epoch() == 1);
    let followed = (world.oracle.error as f64 - lie(world.seconds())).abs() <= 0.03 * lie(world.seconds()).abs();
    world.expect("18 ms of the ramp were followed", followed);
    world
}

/// (case 18)
pub(super) fn servers_that_all_disagree_are_no_time(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let count = random.pick(&[2, 3, 5]);
    let servers = far(&mut random, count).into_iter().enumerate().map(|(index, server)| {
        let off = index as f64 * 3.0 * SECOND;
        server.lying_by(move |t, _| if t < 3600.0 { 0.0 } else { off })
    });
    let servers = servers.collect();
    let mut world = world(trial, &polling(4, 8), servers);
    // The first is right.
    world.run(1.0);
    expect_synchronized(&mut world);
    world.run(3.0);
    // From the last good exchange on the clock is in holdover, and its interval holds. But where most of them jump at
    // once, nobody can tell that from a counter that stood still: then nothing is claimed until they agree.
    let unclaimed = if count == 2 { State::Holdover } else { State::Disrupted };
    world.expect("there is no agreement", [unclaimed, State::Unsynchronized].contains(&world.state()));
    world.expect("there was no step", world.epoch() == 1);
    world
}

/// Who sits on the path holds requests back, later replies, by slowly varying amounts. (case 20)
pub(super) fn requests_then_replies_held_back_by_50_ms(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let most = 50.0 * MILLISECOND;
    let turn = random.between(3600.0, 14_400.0);
    let held = move |first: bool| -> OverTime {
        delay(3.0 * MILLISECOND, move |t, random| {
            let mine = (t < turn) == first;
            let now = if mine { most * (0.5 - 0.5 * (t / 1500.0).cos()) } else { 0.0 };
            now + random.exponential(0.1 * MILLISECOND)
        })
    };
    let mut world = world(trial, &polling(4, 10), vec![Server::behind(held(true), held(false))]);
    while world.seconds() < 8.0 * 3600.0 {
        world.run(1.0 / 60.0);
        // Each exchange is off by half of what is held back, and the jitter. But what is held back slowly on one way looks
        // like a queue on the other and a clock that runs away: the filters of a fast wander may take it for that where it
        // begins before the frequency is known. Then the estimate is off by all of it, as it is by more than half in one
        // world of 150.
        let right = world.is_right_within(most + MILLISECOND);
        world.expect("the estimate moves by what is held back at most", right);
    }
    expect_synchronized(&mut world);
    world.expect("there was no step", world.epoch() == 1);
    world
}

/// A ramp of delay on one way only bends the frequency; then everything is dropped for six hours. (case 21)
pub(super) fn a_frequency_bent_by_delays_and_then_silence(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let silence = random.between(7_000.0, 12_000.0);
    let ppm = random.pick(&[5.0, 20.0, 100.0]);
    let bent = delay(2.0 * MILLISECOND, move |t, random| {
        let bending = t < silence;
        let more = if bending { ppm * 1e3 * (t - silence + 3000.0).max(0.0) } else { 0.0 };
        more + random.exponential(0.1 * MILLISECOND)
    });
    let straight = exponential(2.0 * MILLISECOND, 0.1 * MILLISECOND);
    let (there, back) = if random.chance(0.5) { (bent, straight) } else { (straight, bent) };
    let server = Server::behind(there, back).dead_when(move |t| (silence..silence + 21_600.0).contains(&t));
    let mut world = world(trial, &polling(6, 10), vec![server]);
    world.run((silence + 21_000.0) / 3600.0);
    world.expect("the clock is in holdover", world.state() == State::Holdover);
    world.run(1.5);
    expect_synchronized(&mut world);
    world
}

/// (case 22)
pub(super) fn a_delay_that_toggles_with_every_poll(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let size = random.between(1.0, 100.0) * MILLISECOND;
    let (base, both) = (random.between(0.1, 10.0) * MILLISECOND, random.chance(0.5));
    let toggling = |first: bool| -> OverTime {
        let mut turn = first;
        delay(base, move |_, random| {
            turn = !turn;
            let more = if turn && (first || both) { size } else { 0.0 };
            more + random.exponential(0.02 * MILLISECOND)
        })
    };
    let mut world = world(trial, &polling(4, 10), vec![Server::behind(toggling(true), toggling(false))]);
    world.run(6.0);
    expect_synchronized(&mut world);
    world
}

/// Who sits on the path keeps replies and delivers them instead of later ones: they answer no request that is open.
/// (case 4)
pub(super) fn replies_of_long_ago(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let mut kept: Option<Packet> = None;
    let replayed = Server::far(&mut random).tampering(move |reply, _, random| match kept {
        Some(old) if random.chance(0.7) => reply.packet = old,
        _ => kept = Some(reply.packet),
    });
    let mut world = world(trial, &polling(random.pick(&[4, 6]), 10), vec![replayed]);
    world.run(6.0);
    let (refused, sent) = (world.report().rejected, world.requests);
    world.expect("the old replies are refused", refused * 2 > sent);
    world
}

/// The same with the new request's stamp upon them, which makes them lies.
pub(super) fn replies_of_long_ago_with_a_new_stamp(trial: &Trial) -> World {
    outvoted(trial, 6.0, |liar| {
        let mut kept: Option<Packet> = None;
        liar.tampering(move |reply, t, _| {
            if t > 600.0 {
                let old = *kept.get_or_insert(reply.packet);
                reply.packet = Packet { origin: reply.packet.origin, ..old };
            }
        })
    })
}

/// (cases 10 and 11)
pub(super) fn kisses_of_death(trial: &Trial) -> World {
    let code = Random::new(trial.seed ^ 4).pick(&[*b"DENY", *b"RSTR", *b"RATE", *b"INIT"]);
    outvoted(trial, 6.0, move |liar| {
        liar.tampering(move |reply, t, _| {
            if t > 3600.0 {
                let reference_id = u32::from_be_bytes(code);
                reply.packet = Packet { stratum: 0, reference_id, poll: -128, ..reply.packet };
            }
        })
    })
}

/// Midnight after the first of December 2026, of March 2027; and after the last of December 2026.
const DECEMBER: UnixTime = unix_seconds(1_796_169_600);
const MARCH: UnixTime = unix_seconds(1_803_945_600);
const YEARS_END: UnixTime = unix_seconds(1_798_761_600);

/// Plays five servers of which the first `announcing` announce a leap second, from `begin` on.
fn announced(trial: &Trial, begin: UnixTime, announcing: usize) -> World {
    let mut random = Random::new(trial.seed);
    let servers = any(&mut random, 5).into_iter().enumerate();
    let servers =
        servers.map(|(index, server)| if index < announcing { server.announcing(Leap::Insert) } else { server });
    let servers = servers.collect();
    let mut world = world_from(begin, trial, &polling(6, 10), servers);
    world.run(3.0);
    expect_synchronized(&mut world);
    world
}

/// (case 29)
pub(super) fn a_leap_second_that_a_minority_announces(trial: &Trial) -> World {
    let mut world = announced(trial, DECEMBER, 2);
    world.expect("no leap second is announced", world.report().leap == Leap::None);
    world
}

/// (case 29)
pub(super) fn a_leap_second_that_the_majority_announces(trial: &Trial) -> World {
    let mut world = announced(trial, DECEMBER, 3);
    world.expect("a leap second is announced", world.report().leap == Leap::Insert);
    world
}

/// So far no month but June and December has ended in a leap second. (case 29)
pub(super) fn a_leap_second_that_the_majority_announces_in_march(trial: &Trial) -> World {
    let mut world = announced(trial, MARCH, 5);
    world.expect("no leap second is announced", world.report().leap == Leap::None);
    world
}

/// All announce a leap second, and then it comes: the last minute of the year has 61 seconds, or 59. (case 29)
pub(super) fn a_year_whose_last_minute_has_61_or_59_seconds(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let (leap, by) = random.pick(&[(Leap::Insert, -SECOND), (Leap::Delete, SECOND)]);
    let before = 7200.0;
    let servers = far(&mut random, 3).into_iter().map(|server| {
        let server = server.lying_by(move |t, _| if t < before { 0.0 } else { by });
        server.tampering(move |reply, t, _| reply.packet.leap = if t < before { leap } else { Leap::None })
    });
    let servers = servers.collect();
    let mut world = world_from(YEARS_END - Nanos((before * SECOND) as i64), trial, &polling(4, 6), servers);
    world.run(1.9);
    expect_synchronized(&mut world);
    world.expect("the leap second is announced", world.report().leap == leap);
    world.promise(Promise::Nothing);
    world.run(1.0);
    expect_synchronized(&mut world);
    let told = world.tells(by);
    world.expect("the clock has leapt", told && world.report().steps > 0);
    world.expect("no other is announced", world.report().leap == Leap::None);
    world
}

/// Some spread the leap second over a day, the others leap: the groups contradict each other, and there is no time in
/// between. (case 29)
pub(super) fn servers_that_smear_among_servers_that_do_not(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let mut servers = far(&mut random, 3);
    let mut places = Vec::new();
    for _ in 0..2 {
        let smearing = Server::far(&mut random);
        let smearing = smearing.lying_by(|t, _| SECOND * ((t - 20_000.0) / 86_400.0).clamp(0.0, 1.0));
        let place = hide(&mut servers, smearing, &mut random);
        places.iter_mut().for_each(|former| *former += usize::from(*former >= place));
        places.push(place);
    }
    let mut world = world(trial, &Settings { fault_limit: Some(2), ..polling(4, 8) }, servers);
    // Long enough that the second is half done; at all times the interval holds UTC.
    world.run(18.0);
    expect_synchronized(&mut world);
    let selections = world.selections();
    let named = places.iter().all(|&place| selections[place] == Selection::Falseticker);
    world.expect("those that smear are falsetickers", named);
    world.expect("the clock is with the others", world.is_right_within(100.0 * MILLISECOND) && world.epoch() == 1);
    world
}
