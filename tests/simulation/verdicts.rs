//! What the core says of its sources and of itself, minute by minute: who lies is named while it lies, with the reason,
//! and rehabilitated when it tells the truth again; and whether too many lie is told as long as they do.

use super::Trial;
use super::oracle::Promise;
use super::ordinary::{any, far, polling};
use super::oscillators;
use super::random::Random;
use super::server::{SECOND, Server};
use super::world::{World, is_apart};
use crate::config::Settings;
use crate::status::{Selection, SourceInfo, State};

/// The lies begin and end at these hours; some minutes later that is known.
const BEGIN: f64 = 1.0;
const END: f64 = 2.5;
const NOTICED: f64 = 0.1;

/// So much later a second lie begins, and so much earlier it ends.
const LATER: f64 = 0.3;

/// A lie told in between, and never else.
fn lying(server: Server, off: f64) -> Server {
    server.lying_by(move |t, _| if (BEGIN * 3600.0..END * 3600.0).contains(&t) { off } else { 0.0 })
}

fn world(trial: &Trial, settings: &Settings, servers: Vec<Server>) -> World {
    let oscillator = oscillators::ordinary(&mut Random::new(trial.seed ^ 5), settings);
    World::new(trial, settings, oscillator, servers)
}

/// Lets hours pass and looks every minute whether `what` is true.
fn expect_until(world: &mut World, hours: f64, what: &str, holds: impl Fn(&World) -> bool) {
    while world.seconds() + 60.0 < hours * 3600.0 {
        world.run(1.0 / 60.0);
        let holds = holds(world);
        world.expect(what, holds);
    }
}

fn is_synchronized(world: &World, exceeded: bool) -> bool {
    world.state() == State::Synchronized && world.report().faults_exceeded == exceeded
}

/// All sources are believed, and nothing is held against any of them.
fn all_is_well(world: &World) -> bool {
    let believed =
        |source: &SourceInfo| source.selection == Selection::Truechimer && (source.fault.is_none() || is_apart(source));
    is_synchronized(world, false)
        && world.report().agreeing == world.report().configured
        && world.sources().iter().all(believed)
}

/// Exactly the sources at `places` are false, and it is said by how much.
fn are_named(world: &World, places: &[usize]) -> bool {
    world.sources().iter().enumerate().all(|(place, source)| {
        let named = source.selection == Selection::Falseticker;
        let told = source.fault.as_ref().is_some_and(|fault| fault.starts_with("its interval misses"));
        named == places.contains(&place) && named == told
    })
}

/// One of four, as is assumed to be possible.
pub(super) fn a_liar_is_named_for_as_long_as_it_lies(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let honest = any(&mut random, 3);
    one_liar_among(honest, trial, &mut random, "the liar is named, and no more than may lie do", false)
}

/// One of three, of whom none is assumed to lie: the majority is right, but that is more than was promised.
pub(super) fn one_liar_more_than_assumed_is_told_for_as_long_as_it_lies(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let honest = far(&mut random, 2);
    one_liar_among(honest, trial, &mut random, "the liar is named, and that one was not assumed", true)
}

/// One server lies for a while among `honest` ones, which is more than was assumed if `exceeded`.
fn one_liar_among(
    honest: Vec<Server>,
    trial: &Trial,
    random: &mut Random,
    verdict: &'static str,
    exceeded: bool,
) -> World {
    let agreeing = honest.len();
    let mut servers = honest;
    let place = (random.unit() * (agreeing + 1) as f64) as usize;
    let off = random.pick(&[-1.0, 1.0]) * random.between(0.2, 20.0) * SECOND;
    servers.insert(place, lying(Server::far(random), off));
    let mut world = world(trial, &polling(4, 6), servers);
    world.run(NOTICED);
    expect_until(&mut world, BEGIN, "all are believed", all_is_well);
    world.run(NOTICED);
    expect_until(&mut world, END, verdict, |world| {
        is_synchronized(world, exceeded) && are_named(world, &[place]) && world.report().agreeing as usize == agreeing
    });
    world.run(NOTICED);
    expect_until(&mut world, END + 1.0, "all are believed again", all_is_well);
    world.expect("there was no step", world.report().steps == 0);
    world
}

/// Two of three lie together: whom to believe cannot be known, but that the sources are at odds is told all the time,
/// and when the truth is back all is as before.
pub(super) fn a_majority_that_lies_and_returns_leaves_nothing_behind(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let mut servers = far(&mut random, 3);
    let off = random.pick(&[-1.0, 1.0]) * random.between(1.0, 20.0) * SECOND;
    for place in [0, 2] {
        let honest = std::mem::replace(&mut servers[place], Server::far(&mut random));
        servers[place] = lying(honest, off);
    }
    let mut world = world(trial, &polling(4, 6), servers);
    world.run(NOTICED);
    expect_until(&mut world, BEGIN, "all are believed", all_is_well);
    world.promise(Promise::Nothing);
    world.run(NOTICED);
    expect_until(&mut world, END, "one contradicts the others, and more are false than may be", |world| {
        is_synchronized(world, true) && are_named(world, &[1])
    });
    world.run(NOTICED);
    world.promise(Promise::HoldsUtc);
    expect_until(&mut world, END + 1.0, "all are believed again", all_is_well);
    world.expect("both changes were steps", world.report().steps >= 2);
    world
}

/// One of three goes its own way, then another: as long as all three tell different times none is believed, none is
/// called false, each says that there is no majority, and the clock holds over.
pub(super) fn sources_at_odds_are_candidates_until_they_agree(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let mut servers = far(&mut random, 3);
    let between = |t: f64| ((BEGIN + LATER) * 3600.0..(END - LATER) * 3600.0).contains(&t);
    servers[0] = lying(Server::far(&mut random), -3.0 * SECOND);
    servers[1] = Server::far(&mut random).lying_by(move |t, _| if between(t) { 2.0 * SECOND } else { 0.0 });
    let mut world = world(trial, &polling(4, 6), servers);
    world.run(NOTICED);
    expect_until(&mut world, BEGIN, "all are believed", all_is_well);
    world.run(NOTICED);
    let one = |world: &World| is_synchronized(world, true) && are_named(world, &[0]);
    expect_until(&mut world, BEGIN + LATER, "the first is named", one);
    world.run(NOTICED);
    expect_until(&mut world, END - LATER, "nobody is believed, each says why, and the clock holds over", |world| {
        let undecided = world.selections() == [Selection::Candidate; 3];
        let why = Some("no majority of the sources agrees on a time");
        let told = world.sources().iter().all(|source| source.fault.as_deref() == why);
        world.state() == State::Holdover && undecided && told
    });
    world.run(NOTICED);
    expect_until(&mut world, END, "the first is named again", one);
    world.run(NOTICED);
    expect_until(&mut world, END + 1.0, "all are believed again", all_is_well);
    world.expect("there was no step", world.report().steps == 0);
    world
}

/// Who falls silent is not called a liar, and who returns is believed at once.
pub(super) fn a_silent_source_is_unreachable_and_no_liar(trial: &Trial) -> World {
    let mut random = Random::new(trial.seed);
    let mut servers = far(&mut random, 4);
    let silent = |t: f64| (BEGIN * 3600.0..END * 3600.0).contains(&t);
    servers[2] = Server::far(&mut random).dead_when(silent);
    let mut world = world(trial, &polling(4, 6), servers);
    world.run(NOTICED);
    expect_until(&mut world, BEGIN, "all are believed", all_is_well);
    // Eight polls go unanswered before it is given up.
    world.run(10.0 * 64.0 / 3600.0);
    expect_until(&mut world, END, "three answer, and the fourth is silent", |world| {
        let (selections, report) = (world.selections(), world.report());
        let believed = selections.iter().filter(|&&selection| selection == Selection::Truechimer).count();
        let silent = &world.sources()[2];
        let told = silent.selection == Selection::Unreachable && silent.fault.as_deref() == Some("no answer");
        is_synchronized(world, false) && told && believed == 3 && (report.answering, report.agreeing) == (3, 3)
    });
    world.run(NOTICED);
    expect_until(&mut world, END + 1.0, "all are believed again", all_is_well);
    world
}
