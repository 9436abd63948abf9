//! Answers that prove a lie, and servers that are no good by their own word.

use ntpclock::{Reason, Selection, State};

use crate::scripted::{RECEIVE, ROOT_DELAY, ROOT_DISPERSION, STRATUM, Scripted, TRANSMIT, get, milliseconds, put};
use crate::{assert_right, await_exchanges, await_that, clock_of, refused, source};

/// (case 13)
#[test]
fn times_that_no_clock_shows_are_proof_of_a_lie_and_cost_the_server_its_say() {
    let server = Scripted::start(|turn| match turn.number {
        // It answers before it was asked; holds the request for an age; and for longer than all of it took.
        2 => turn.send(&turn.spoilt(|reply| put(reply, TRANSMIT, get(reply, RECEIVE) - milliseconds(1)))),
        3 => turn.send(&turn.spoilt(|reply| put(reply, TRANSMIT, get(reply, RECEIVE) + milliseconds(4_001)))),
        4 => turn.send(&turn.spoilt(|reply| put(reply, TRANSMIT, get(reply, RECEIVE) + milliseconds(1_000)))),
        _ => turn.answer(),
    });
    let clock = clock_of(&server);
    await_exchanges(&clock, 2);
    assert_right(&clock);
    await_that("it is caught", 10, &clock, || source(&clock).selection == Selection::Unusable);
    assert!(source(&clock).fault.is_some());
    await_that("all three are counted", 10, &clock, || {
        refused(&clock, Reason::Hold) == 2 && refused(&clock, Reason::NegativeDelay) == 1
    });
    await_exchanges(&clock, 3);
    // One good answer does not make up for it.
    let told = source(&clock);
    assert!(told.selection == Selection::Unusable || told.exchanges > 5, "{told:#?}");
    await_that("it has earned its say anew", 10, &clock, || source(&clock).selection == Selection::Truechimer);
    assert!(source(&clock).exchanges >= 6);
    assert_right(&clock);
}

/// (case 14)
#[test]
fn servers_that_are_no_good_by_their_own_word_are_not_selectable() {
    let root = |at: usize, value: u32, turn: &crate::scripted::Turn<'_>| {
        turn.spoilt(|reply| reply[at..at + 4].copy_from_slice(&value.to_be_bytes()))
    };
    let server = Scripted::start(move |turn| {
        turn.send(&match turn.number % 8 {
            0 => root(ROOT_DELAY, 16 << 16, turn),
            1 => root(ROOT_DELAY, u32::MAX, turn),
            2 => root(ROOT_DISPERSION, 16 << 16, turn),
            3 => root(ROOT_DISPERSION, u32::MAX, turn),
            4 => turn.spoilt(|reply| reply[STRATUM] = 16),
            5 => turn.spoilt(|reply| reply[STRATUM] = 255),
            6 => turn.spoilt(|reply| reply[0] |= 0b1100_0000),
            // A server of the lowest rank that there is, but one.
            _ => turn.spoilt(|reply| reply[STRATUM] = 15),
        });
    });
    let clock = clock_of(&server);
    await_that("each was seen", 90, &clock, || server.requests() >= 7);
    let seen = source(&clock);
    assert_eq!((seen.exchanges, clock.now().state), (0, State::Unsynchronized));
    await_that("the last answer counts", 90, &clock, || source(&clock).exchanges == 1);
    assert_right(&clock);
    let told = source(&clock);
    assert_eq!((told.refusals.count(Reason::RootDistance), told.refusals.count(Reason::Unsynchronized)), (4, 3));
}
