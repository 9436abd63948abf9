//! Sources that are not all trusted alike: what they were given beside their names, and the keys that some of them
//! share with us.

use super::Trial;
use super::oracle::Promise;
use super::ordinary::{any, expect_synchronized, far, polling};
use super::oscillators;
use super::random::Random;
use super::server::{SECOND, Server, address};
use super::world::World;
use crate::config::{Authentication, Settings};
use crate::packet::reference_id;
use crate::status::{Flags, Reason, Selection, ServerOptions, State};

const TRUST: ServerOptions = ServerOptions { key: None, require: false, prefer: false, trust: true, nts: false };
const REQUIRE: ServerOptions = ServerOptions { key: None, require: true, prefer: false, trust: false, nts: false };
const PREFER: ServerOptions = ServerOptions { key: None, require: false, prefer: true, trust: false, nts: false };

fn world(trial: &Trial, settings: &Settings, servers: Vec<Server>) -> World {
    let oscillator = oscillators::ordinary(&mut Random::new(trial.seed ^ 6), settings);
    World::new(trial, settings, oscillator, servers)
}

/// So many servers that lie alike, from the beginning or from the second hour on.
fn conspirators(random: &mut Random, count: usize) -> Vec<Server> {
    let off = random.pick(&[-1.0, 1.0]) * random.between(0.2, 20.0) * SECOND;
    let since = random.pick(&[0.0, 3600.0]);
    let liars = far(random, count).into_iter();
    liars.map(|liar| liar.lying_by(move |t, _| if t < since { 0.0 } else { off })).collect()
}

fn are(selections: &[Selection], expected: Selection) -> bool {
    selections.iter().all(|&selection| selection == expected)
}

fn is_authenticated(world: &World) -> bool {
    world.report().flags.contains(Flags::AUTHENTICATED)
}

pub(super) fn trusted_servers_are_believed_against_any_number_of_others(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let trusted = random.pick(&[1, 2, 3]);
    let mut servers: Vec<Server> = any(&mut random, trusted).into_iter().map(|server| server.trusted(TRUST)).collect();
    servers.extend(conspirators(&mut random, 5));
    let mut world = world(trial, &polling(4, 8), servers);
    world.run(4.0);
    expect_synchronized(&mut world);
    let selections = world.selections();
    world.expect("the trusted are believed", are(&selections[..trusted], Selection::Truechimer));
    world.expect("the others are named", are(&selections[trusted..], Selection::Falseticker));
    world.expect("there was no step", world.epoch() == 1);
    world
}

/// The first of four is trusted, and dies: whether the others may stand in for it is a matter of its being required.
pub(super) fn trusted_servers_that_fall_silent_are_missed_only_if_required(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let required = random.chance(0.5);
    let options = ServerOptions { require: required, ..TRUST };
    let mut servers = far(&mut random, 4);
    let dead = |t: f64| (3600.0..10_800.0).contains(&t);
    servers[0] = Server::far(&mut random).trusted(options).dead_when(dead);
    let mut world = world(trial, &polling(4, 6), servers);
    world.run(0.9);
    expect_synchronized(&mut world);
    world.run(2.0);
    let expected = if required { State::Holdover } else { State::Synchronized };
    world.expect("the clock goes on without it, unless it is required", world.state() == expected);
    world.run(0.8);
    expect_synchronized(&mut world);
    world
}

pub(super) fn a_required_server_that_contradicts_the_others_stops_the_clock(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let mut servers = far(&mut random, 4);
    let off = random.pick(&[-1.0, 1.0]) * random.between(0.2, 20.0) * SECOND;
    let lies = |t: f64| (3600.0..7200.0).contains(&t);
    servers[0] = Server::far(&mut random).trusted(REQUIRE).lying_by(move |t, _| if lies(t) { off } else { 0.0 });
    let mut world = world(trial, &polling(4, 6), servers);
    world.run(0.9);
    expect_synchronized(&mut world);
    world.run(1.0);
    world.expect("the clock holds over", world.state() == State::Holdover);
    world.expect("it is named", world.selections()[0] == Selection::Falseticker);
    world.run(0.4);
    expect_synchronized(&mut world);
    world.expect("there was no step", world.epoch() == 1);
    world
}

pub(super) fn the_estimate_is_the_preferred_servers_while_they_are_believed(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let mut servers: Vec<Server> = (0..3).map(|_| Server::near(&mut random)).collect();
    let off = random.pick(&[-1.0, 1.0]) * 3.0 * SECOND;
    let preferred = Server::far(&mut random).trusted(PREFER);
    servers.push(preferred.lying_by(move |t, _| if t < 7200.0 { 0.0 } else { off }));
    let mut world = world(trial, &polling(4, 6), servers);
    world.run(1.9);
    expect_synchronized(&mut world);
    world.expect("it is followed", world.report().reference_id == reference_id(address(3).ip()));
    world.run(1.0);
    expect_synchronized(&mut world);
    world.expect("a liar is not", world.report().reference_id != reference_id(address(3).ip()));
    world
}

/// Unless told otherwise: nobody can speak for the authenticated servers, and without them the others are not believed.
pub(super) fn authenticated_servers_must_agree_before_others_count(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let dead = |t: f64| (10_800.0..18_000.0).contains(&t);
    let mut servers = vec![
        Server::far(&mut random).with_key(1).dead_when(dead),
        Server::far(&mut random).with_key(2).dead_when(dead),
    ];
    servers.extend(far(&mut random, 1));
    servers.extend(conspirators(&mut random, 4));
    let mut world = world(trial, &polling(4, 6), servers);
    world.run(2.9);
    expect_synchronized(&mut world);
    let selections = world.selections();
    world.expect("the liars are named", are(&selections[3..], Selection::Falseticker));
    world.expect("an honest one refines the estimate", selections[2] == Selection::Truechimer);
    world.expect("the estimate is not theirs alone", !is_authenticated(&world));
    world.run(2.0);
    world.expect("without them nothing is believed", world.state() == State::Holdover);
    world.run(1.1);
    expect_synchronized(&mut world);
    world.expect("there was no step", world.epoch() == 1);
    world
}

pub(super) fn where_authentication_is_required_the_others_have_no_say(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let mut servers = vec![Server::far(&mut random).with_key(1), Server::far(&mut random).with_key(2)];
    servers.extend(far(&mut random, 2));
    servers.extend(conspirators(&mut random, 3));
    let settings = Settings { authentication: Authentication::Require, ..polling(4, 6) };
    let mut world = world(trial, &settings, servers);
    world.run(3.0);
    expect_synchronized(&mut world);
    world.expect("the time is authenticated", is_authenticated(&world));
    world.expect("two agree", world.report().agreeing == 2);
    world
}

/// Somebody answers in a server's name: without a key, with that of another server, or with one of its own.
pub(super) fn what_is_not_authenticated_by_the_servers_key_is_dropped(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let other = Server::far(&mut random).with_key(2).standing.key;
    let forged = random.pick(&[0, 1, 2]);
    let server = Server::far(&mut random).with_key(1).lying_by(|_, _| SECOND).tampering(move |reply, t, _| {
        if t > 1800.0 {
            reply.key = match forged {
                0 => None,
                1 => other.clone(),
                _ => Server::impostor(1),
            };
        }
    });
    let mut world = world(trial, &polling(4, 6), vec![server]);
    world.promise(Promise::Nothing);
    world.run(0.5);
    expect_synchronized(&mut world);
    world.expect("the time is authenticated", is_authenticated(&world));
    world.run(1.0);
    world.expect("the clock holds over", world.state() == State::Holdover);
    let source = &world.sources()[0];
    let counted = source.refusals.count(Reason::Authentication) > 10;
    world.expect("it is told why", counted && source.authenticated);
    world
}

/// Somebody owns the four servers that are polled, but not the pool: from the second hour on they lie, and two hours
/// later they stop. The first look beyond them may come an hour later, the second two minutes after that.
pub(super) fn a_pool_vetoes_the_few_of_it_that_are_polled(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let off = random.pick(&[-1.0, 1.0]) * random.between(0.2, 20.0) * SECOND;
    let lying = |t: f64| (3600.0..14_400.0).contains(&t);
    let owned = far(&mut random, 4).into_iter();
    let owned = owned.map(|server| server.lying_by(move |t, _| if lying(t) { off } else { 0.0 })).collect();
    // Of the others he owns some, which tell the truth when it serves him.
    let mut others = far(&mut random, 9);
    others.extend(far(&mut random, 3).into_iter().map(|server| server.lying_by(move |_, _| off)));
    let settings = Settings { khronos: true, ..polling(4, 6) };
    let mut world = world(trial, &settings, owned).with_bystanders(others);
    world.run(0.95);
    expect_synchronized(&mut world);
    world.expect("nothing is vetoed", !world.report().flags.contains(Flags::VETOED));
    world.promise(Promise::Nothing);
    // An hour, two minutes, and some seconds for the answers.
    world.run(1.2);
    // In holdover, or lost: who has believed them for an hour may know little of the time by now.
    world.expect("they are not believed", world.state() != State::Synchronized);
    world.expect("it is told", world.report().flags.contains(Flags::VETOED));
    world.run(1.85);
    world.expect("nor later", world.state() != State::Synchronized);
    // What they say of themselves contradicts itself, and then the pool must back them.
    world.run(0.3);
    world.promise(Promise::HoldsUtc);
    world.run(1.0);
    expect_synchronized(&mut world);
    world.expect("the veto is over", !world.report().flags.contains(Flags::VETOED));
    world
}

/// Plays until `end`, in seconds: synchronised all the time, and never vetoed.
fn play_unvetoed(world: &mut World, end: f64) {
    while world.seconds() < end {
        world.run(0.1);
        expect_synchronized(world);
        world.expect("nothing is vetoed", !world.report().flags.contains(Flags::VETOED));
    }
}

/// Somebody on the path answers for a whole pool, and lies; what authenticated servers say is believed all the same.
pub(super) fn a_pool_has_no_veto_over_servers_that_are_authenticated(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let mut servers: Vec<Server> = vec![Server::far(&mut random).with_key(1), Server::far(&mut random).with_key(2)];
    servers.extend(far(&mut random, 2));
    let off = random.pick(&[-1.0, 1.0]) * random.between(0.2, 20.0) * SECOND;
    let others = far(&mut random, 12).into_iter().map(|server| server.lying_by(move |_, _| off)).collect();
    let authentication = random.pick(&[Authentication::Mix, Authentication::Require]);
    let settings = Settings { khronos: true, authentication, ..polling(4, 6) };
    let mut world = world(trial, &settings, servers).with_bystanders(others);
    play_unvetoed(&mut world, 3.0 * 3600.0);
    world
}

/// A pool most of whose other servers agree with those that are polled vetoes nothing, whatever the rest says.
pub(super) fn a_third_of_a_pool_cannot_veto_the_truth(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let servers = far(&mut random, 4);
    let mut others = far(&mut random, 8);
    let off = random.pick(&[-1.0, 1.0]) * random.between(0.01, 20.0) * SECOND;
    others.extend(far(&mut random, 4).into_iter().map(|server| server.lying_by(move |_, _| off)));
    let settings = Settings { khronos: true, ..polling(4, 8) };
    let mut world = world(trial, &settings, servers).with_bystanders(others);
    play_unvetoed(&mut world, 6.0 * 3600.0);
    world
}
