//! Honest servers, and networks as they are. The list follows chrony's simulation tests on the client's side.

use super::random::Random;
use super::server::{MILLISECOND, SECOND, Server, bursts, delay, exponential, gamma, heavy_tailed};
use super::world::{Favour, World};
use super::{Trial, oscillators};
use crate::config::Settings;
use crate::packet::Packet;
use crate::status::{Selection, State};
use crate::units::unix_seconds;

/// Defaults, with poll intervals between these exponents.
pub(super) fn polling(min: i8, max: i8) -> Settings {
    Settings { poll_min: min, poll_max: max, ..Settings::default() }
}

/// Servers in the same building and on the internet, mixed.
pub(super) fn any(random: &mut Random, count: usize) -> Vec<Server> {
    (0..count).map(|_| if random.chance(0.3) { Server::near(random) } else { Server::far(random) }).collect()
}

pub(super) fn far(random: &mut Random, count: usize) -> Vec<Server> {
    (0..count).map(|_| Server::far(random)).collect()
}

/// Expects a clock that has found its time.
pub(super) fn expect_synchronized(world: &mut World) {
    world.expect("the clock is synchronised", world.state() == State::Synchronized);
}

/// Plays honest `servers` with an ordinary oscillator for `hours`.
fn play(trial: &Trial, settings: &Settings, servers: Vec<Server>, hours: f64) -> World {
    let oscillator = oscillators::ordinary(&mut Random::new(trial.seed ^ 1), settings);
    let mut world = World::new(trial, settings, oscillator, servers);
    world.run(hours);
    world
}

pub(super) fn one_server_in_the_same_building(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let servers = vec![Server::near(&mut random)];
    let mut world = play(trial, &polling(random.pick(&[4, 6]), 10), servers, 8.0);
    expect_synchronized(&mut world);
    world.expect("there was no step", world.epoch() == 1);
    world
}

/// Case 3 of other servers' faults. What is served is judged in every scenario; here it is seen that it is, from the
/// first synchronisation over a holdover to the loss of the time.
pub(super) fn case_3_a_server_of_a_clock_says_no_less_than_what_that_is_off_by(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let servers = any(&mut random, 3).into_iter().map(|server| server.dead_when(|second| second > 4.0 * 3600.0));
    let mut world = play(trial, &polling(4, 8), servers.collect(), 24.0);
    // A bound of a second is what ends it, which takes a good part of a day.
    let served = world.oracle.served;
    world.expect("in holdover it served as long again, and more", served > 2 * 4 * 3600 / 13);
    world.expect("the clock is in holdover, or lost", world.state() != State::Synchronized);
    world
}

pub(super) fn four_servers_on_the_internet(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let servers = far(&mut random, 4);
    // What the daemons do by default, for as long as there is time.
    let mut world = play(trial, &polling(6, 10), servers, trial.days * 24.0);
    expect_synchronized(&mut world);
    world.expect("there was no step", world.epoch() == 1);
    world
}

pub(super) fn sixteen_servers_of_all_kinds(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let servers = any(&mut random, 16);
    let mut world = play(trial, &polling(6, 10), servers, 6.0);
    expect_synchronized(&mut world);
    let honest = world.selections().iter().all(|&selection| selection == Selection::Truechimer);
    world.expect("every honest server is believed", honest);
    world
}

/// Who is followed, and who belongs to those that are used, is nothing to change one's mind about with every exchange.
pub(super) fn servers_that_are_nearly_alike_do_not_take_turns(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let way = random.pick(&[0.1, 1.0, 10.0]) * MILLISECOND;
    let servers = (0..random.pick(&[2, 3, 5])).map(|_| {
        let mut path = || exponential(way * random.between(0.9, 1.1), way * random.between(0.02, 0.1));
        Server::behind(path(), path())
    });
    let servers = servers.collect();
    let settings = polling(random.pick(&[4, 6]), 10);
    let oscillator = oscillators::ordinary(&mut random, &settings);
    let mut world = World::new(trial, &settings, oscillator, servers);
    let favour = favour_of_a_day(&mut world);
    world.expect("the lead hardly ever changes", favour.leads <= 2);
    world.expect("nobody comes and goes all the time", favour.uses <= 4);
    world
}

/// What selection has favoured from half an hour on for a day.
fn favour_of_a_day(world: &mut World) -> Favour {
    world.run(0.5);
    world.favour = Some(Favour::default());
    world.run(24.0);
    world.favour.take().unwrap_or_default()
}

pub(super) fn a_server_off_by_all_that_it_claims(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let claim = random.between(-20.0, 20.0) * MILLISECOND;
    let server = Server::near(&mut random).with_error_at_its_claim(claim);
    play(trial, &Settings::default(), vec![server], 6.0)
}

pub(super) fn a_path_that_is_lopsided_for_ever(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let (short, long) = (random.between(0.02, 0.5) * MILLISECOND, random.between(5.0, 150.0) * MILLISECOND);
    let (there, back) = if random.chance(0.5) { (short, long) } else { (long, short) };
    // Hardly any queues: the error is the asymmetry, all of it.
    let queues = random.pick(&[0.0, 100.0, 10_000.0]);
    let server = Server::behind(exponential(there, queues), exponential(back, queues));
    play(trial, &polling(4, 10), vec![server], 8.0)
}

pub(super) fn a_path_that_queues_more_on_the_way_back(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let base = random.between(1.0, 20.0) * MILLISECOND;
    let servers = (0..random.pick(&[1, 3, 4])).map(|_| {
        let back = random.between(1.0, 8.0) * MILLISECOND;
        Server::behind(exponential(base, 0.5 * MILLISECOND), exponential(base, back))
    });
    let servers = servers.collect();
    play(trial, &polling(6, 10), servers, 12.0)
}

pub(super) fn a_path_that_changes_its_route(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let mut way = || {
        let (before, after) = (random.between(1.0, 40.0) * MILLISECOND, random.between(1.0, 40.0) * MILLISECOND);
        let period = random.between(1.0, 5.0) * 3600.0;
        delay(0.0, move |t, random| {
            let base = if ((t / period) as u64).is_multiple_of(2) { before } else { after };
            base + random.exponential(0.3 * MILLISECOND)
        })
    };
    let (there, back) = (way(), way());
    play(trial, &polling(6, 10), vec![Server::behind(there, back)], 12.0)
}

pub(super) fn queues_of_every_shape(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let way = |random: &mut Random| {
        let (base, mean) = (random.between(0.1, 20.0) * MILLISECOND, random.between(0.01, 30.0) * MILLISECOND);
        gamma(base, random.pick(&[1, 2, 4, 12, 40]), mean)
    };
    let count = random.pick(&[1, 2, 4]);
    let servers = (0..count).map(|_| Server::behind(way(&mut random), way(&mut random))).collect();
    play(trial, &polling(4, 10), servers, 8.0)
}

pub(super) fn a_wireless_link_with_storms_and_a_heavy_tail(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let base = 2.0 * MILLISECOND;
    let servers = (0..3).map(|_| {
        let storm = random.between(20.0, 400.0) * MILLISECOND;
        let stormy = Server::behind(bursts(base, MILLISECOND, storm), bursts(base, MILLISECOND, storm));
        let scale = random.between(0.2, 2.0) * MILLISECOND;
        if random.chance(0.5) { stormy } else { stormy.with_path(heavy_tailed(base, scale), heavy_tailed(base, scale)) }
    });
    let servers = servers.collect();
    let mut world = play(trial, &polling(6, 10), servers, 12.0);
    world.expect("there was no step", world.epoch() == 1);
    world
}

pub(super) fn a_third_of_the_datagrams_lost(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let servers = any(&mut random, 4).into_iter().map(|server| server.with_loss(0.33)).collect();
    play(trial, &polling(6, 10), servers, 12.0)
}

pub(super) fn datagrams_that_arrive_twice(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let servers = any(&mut random, 3).into_iter().map(|server| server.with_doubles(0.5)).collect();
    let mut world = play(trial, &polling(4, 10), servers, 6.0);
    let sent = world.requests;
    world.expect("no reply counted twice", world.report().exchanges <= sent);
    world
}

pub(super) fn a_network_that_is_there_at_times_only(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let (period, share) = (random.between(1200.0, 14_000.0), random.between(0.1, 0.7));
    let dead = move |t: f64| (t / period).fract() > share;
    let servers = any(&mut random, 4).into_iter().map(|server| server.dead_when(dead)).collect();
    let mut world = play(trial, &polling(6, 10), servers, 12.0);
    world.expect("the clock was in holdover meanwhile", world.oracle.holdover > 0);
    world.expect("there was no step", world.epoch() == 1);
    world
}

pub(super) fn servers_that_die_one_after_the_other_and_return(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let dying = any(&mut random, 4).into_iter().enumerate().map(|(index, server)| {
        let (from, until) = (3600.0 * (2.0 + index as f64), 3600.0 * (8.0 + 0.3 * index as f64));
        server.dead_when(move |t| (from..until).contains(&t))
    });
    let servers = dying.collect();
    let mut world = play(trial, &polling(6, 10), servers, 12.0);
    expect_synchronized(&mut world);
    world.expect("there was no step", world.epoch() == 1);
    world
}

pub(super) fn a_server_that_is_heard_after_hours_only(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let servers = vec![Server::far(&mut random).dead_when(|t| t < 10_000.0)];
    let settings = Settings::default();
    let oscillator = oscillators::ordinary(&mut random, &settings);
    let mut world = World::new(trial, &settings, oscillator, servers);
    world.run(2.7);
    world.expect("nobody has claimed to know the time", world.state() == State::Unsynchronized);
    world.run(2.0);
    expect_synchronized(&mut world);
    world
}

/// Servers that answer RATE if asked again within 100 s.
pub(super) fn servers_that_want_to_be_asked_less_often(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let servers = any(&mut random, 2).into_iter().map(|server| {
        let mut last = f64::NEG_INFINITY;
        server.tampering(move |reply, t, _| {
            if t - last < 100.0 {
                let kiss = u32::from_be_bytes(*b"RATE");
                // The poll field of a kiss is not to be believed.
                reply.packet = Packet { stratum: 0, reference_id: kiss, poll: 127, ..reply.packet };
            }
            last = t;
        })
    });
    let servers = servers.collect();
    let mut world = play(trial, &polling(4, 10), servers, 6.0);
    expect_synchronized(&mut world);
    let spared = world.sources().iter().all(|source| source.poll_exponent >= 7);
    world.expect("the servers are asked less often", spared);
    world
}

pub(super) fn a_dead_server_whose_name_leads_to_another(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let mut servers = any(&mut random, 3);
    servers[1] = Server::far(&mut random).dead_when(|t| t > 4000.0);
    let settings = polling(4, 10);
    let oscillator = oscillators::ordinary(&mut random, &settings);
    let spares = vec![Server::near(&mut random)];
    let mut world = World::new(trial, &settings, oscillator, servers).with_spares(spares);
    world.run(10.0);
    let all = world.selections().iter().all(|&selection| selection == Selection::Truechimer);
    world.expect("another has taken its place", all);
    world
}

pub(super) fn two_servers_of_which_one_is_dead(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let servers = vec![Server::far(&mut random).dead_when(|_| true), Server::far(&mut random)];
    let mut world = play(trial, &polling(6, 10), servers, 6.0);
    expect_synchronized(&mut world);
    world
}

pub(super) fn fewer_servers_than_must_agree(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let mut servers = any(&mut random, 3);
    servers[2] = Server::far(&mut random).dead_when(|t| t < 7200.0);
    let settings = Settings { min_agreeing: 3, ..polling(4, 8) };
    let oscillator = oscillators::ordinary(&mut random, &settings);
    let mut world = World::new(trial, &settings, oscillator, servers);
    world.run(1.9);
    world.expect("two are not enough where three must agree", world.state() == State::Unsynchronized);
    world.run(2.0);
    expect_synchronized(&mut world);
    world
}

pub(super) fn polls_as_long_as_they_get(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let exponent = random.pick(&[10, 12, 13]);
    let servers = any(&mut random, 3);
    play(trial, &polling(exponent, exponent), servers, 24.0)
}

/// Processes share a page, and whoever leads dies after minutes or hours: in mid-slew, in holdover, whenever it is.
pub(super) fn leaders_that_die_and_are_succeeded(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let settings = polling(random.pick(&[4, 6]), 10);
    let count = random.pick(&[1, 3, 5]);
    let servers = any(&mut random, count);
    let oscillator = oscillators::ordinary(&mut random, &settings);
    let mut world = World::new(trial, &settings, oscillator, servers);
    for _ in 0..20 {
        world.run(random.exponential(0.3));
        world.change_leader(random.exponential(0.5).min(2.0));
        // What was promised to readers stands, as the former leader's deadlines have it.
        let usable = world.state().is_usable() || world.epoch() == 0;
        world.expect("the time is not lost with its leader", usable);
    }
    world.run(0.1);
    expect_synchronized(&mut world);
    world.expect("there was no step", world.epoch() == 1);
    world
}

/// One after the other takes over and dies within seconds: now and then one of them hears a server.
pub(super) fn leaders_that_die_before_they_have_heard_of_anybody(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let settings = polling(4, 6);
    let servers = far(&mut random, 3);
    let oscillator = oscillators::ordinary(&mut random, &settings);
    let mut world = World::new(trial, &settings, oscillator, servers);
    world.run(0.1);
    for _ in 0..300 {
        world.run(random.exponential(0.0005));
        world.change_leader(random.exponential(0.1));
    }
    world.run(0.1);
    expect_synchronized(&mut world);
    world.expect("there was no step", world.epoch() == 1);
    world
}

/// A program that is started again and again: its clock is there at once, and its memory never contradicts what it
/// hears.
pub(super) fn restarts_that_go_on_from_what_was_remembered(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let count = random.pick(&[1, 2, 4]);
    let servers = any(&mut random, count);
    let settings = polling(random.pick(&[4, 6]), 10);
    let oscillator = oscillators::ordinary(&mut random, &settings);
    let mut world = World::new(trial, &settings, oscillator, servers);
    for _ in 0..8 {
        // A run of half a minute knows too little of the frequency to be remembered for hours.
        let (run, pause) = random.pick(&[(0.01, 0.001), (0.01, 0.2), (0.3, 0.1), (1.0, 2.0)]);
        world.run(run);
        world.restart(pause);
        world.run(0.0);
        world.expect("a bound is known at once", world.report().state == State::Holdover);
        world.run(0.01);
        world.expect("nothing remembered was wrong", world.report().steps == 0);
    }
    expect_synchronized(&mut world);
    world
}

/// One of five is so lopsided that it is just about cast out, and its queues let it waver there: it does not come and
/// go.
pub(super) fn a_server_at_the_border_does_not_come_and_go(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let mut server = |more: f64| {
        let (way, mean) = (random.between(9.0, 11.0) * MILLISECOND, 0.3 * MILLISECOND);
        Server::behind(exponential(way + more, mean), exponential(way - more, mean))
    };
    let mut servers: Vec<Server> = (0..4).map(|_| server(0.0)).collect();
    let more = Random::new(trial.seed ^ 6).between(0.3, 1.5) * MILLISECOND;
    servers.push(server(more));
    let settings = polling(6, 8);
    let oscillator = oscillators::ordinary(&mut random, &settings);
    let mut world = World::new(trial, &settings, oscillator, servers);
    let favour = favour_of_a_day(&mut world);
    // Of 1800 exchanges: 27 were the most in 112 worlds. If being out did not count, it would be hundreds.
    world.expect("it hardly ever changes sides", favour.uses <= 40);
    world
}

/// NTP's seconds wrap to zero at 2036-02-07T06:28:16Z. (case 30)
pub(super) fn the_era_of_2036_begins(trial: &Trial) -> World {
    passing(trial, (1_i64 << 32) - 2_208_988_800)
}

/// Signed seconds of 32 bits end at 2038-01-19T03:14:07Z. (case 30)
pub(super) fn the_seconds_of_1970_outgrow_31_bits(trial: &Trial) -> World {
    passing(trial, 1 << 31)
}

/// Plays honest servers around a second of UTC that is like any other.
fn passing(trial: &Trial, second: i64) -> World {
    let mut random = Random::new(trial.seed);
    let begin = unix_seconds(second - random.between(10.0, 10_000.0) as i64);
    let settings = polling(4, 8);
    let servers = any(&mut random, 3);
    let oscillator = oscillators::ordinary(&mut random, &settings);
    let mut world = World::beginning(begin, trial, &settings, oscillator, servers);
    world.run(4.0);
    expect_synchronized(&mut world);
    world.expect("there was no step", world.epoch() == 1 && world.is_right_within(SECOND));
    world
}
