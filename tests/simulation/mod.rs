//! The simulator: the real core in virtual time, in worlds that are made up, under an oracle that looks every second.
//!
//! The list of scenarios below is the specification: whatever their worlds do, true time lies in the published interval
//! and no reading runs backwards. Each scenario is played again and again, with other numbers, until its share of the
//! simulated time is used up. A violation is told with its seed, which plays it again:
//!
//! ```text
//! NTPCLOCK_SEED=<seed> cargo test --lib --all-features simulation::<scenario>
//! ```
//!
//! `NTPCLOCK_SIMULATED_DAYS` sets the time that all scenarios get together.

mod calibration;
mod extremes;
mod hostile;
mod oracle;
mod ordinary;
mod oscillator;
mod oscillators;
mod processor;
mod random;
mod server;
mod trust;
mod verdicts;
mod world;

use std::env;
use std::str::FromStr;
use std::sync::Mutex;

use world::World;

/// Simulated days of all scenarios together, unless set otherwise.
const DAYS: f64 = 30.0;

/// Mean length of a year, in days.
const YEAR: f64 = 365.25;

/// What makes one playing of a scenario different from the others.
struct Trial {
    seed: u64,
    /// Days that are left for the scenario, at least a quarter: one that can go on for ever may use them at once.
    days: f64,
}

/// Declares the scenarios: each is a test, and all of them share the simulated time.
macro_rules! scenarios {
    ($($room:ident: $($name:ident)*;)*) => {
        const SCENARIOS: usize = [$($(stringify!($name)),*),*].len();

        $($(
            #[test]
            fn $name() {
                play(stringify!($name), $room::$name);
            }
        )*)*
    };
}

scenarios! {
    ordinary:
        one_server_in_the_same_building
        case_3_a_server_of_a_clock_says_no_less_than_what_that_is_off_by
        four_servers_on_the_internet
        sixteen_servers_of_all_kinds
        servers_that_are_nearly_alike_do_not_take_turns
        a_server_at_the_border_does_not_come_and_go
        a_server_off_by_all_that_it_claims
        a_path_that_is_lopsided_for_ever
        a_path_that_queues_more_on_the_way_back
        a_path_that_changes_its_route
        queues_of_every_shape
        a_wireless_link_with_storms_and_a_heavy_tail
        a_third_of_the_datagrams_lost
        datagrams_that_arrive_twice
        a_network_that_is_there_at_times_only
        servers_that_die_one_after_the_other_and_return
        a_server_that_is_heard_after_hours_only
        servers_that_want_to_be_asked_less_often
        a_dead_server_whose_name_leads_to_another
        two_servers_of_which_one_is_dead
        fewer_servers_than_must_agree
        polls_as_long_as_they_get
        restarts_that_go_on_from_what_was_remembered
        leaders_that_die_and_are_succeeded
        leaders_that_die_before_they_have_heard_of_anybody
        the_era_of_2036_begins
        the_seconds_of_1970_outgrow_31_bits;
    oscillators:
        an_oscillator_at_its_absolute_limit
        an_oscillator_that_wanders_a_little
        an_oscillator_that_wanders_as_much_as_it_may
        a_frequency_that_swings_within_hours
        a_frequency_that_swings_with_the_day
        temperature_steps_of_2_ppm_within_300_s_under_long_polls
        temperature_steps_of_2_ppm_within_300_s_under_polls_of_1024_s
        a_frequency_that_jumps_between_its_extremes
        a_frequency_that_creeps_from_one_extreme_to_the_other
        holdover_of_20000_s_after_a_shift_of_5_ppm
        holdover_until_the_interval_is_too_wide_to_mean_anything
        a_counter_that_stands_still_for_minutes
        a_counter_that_stands_still_for_a_night;
    hostile:
        stamps_that_contradict_each_other
        a_server_that_says_itself_it_is_no_good
        a_root_distance_of_zero_and_10_ms_off
        one_liar_of_three_and_two_of_five
        as_many_liars_of_every_kind_as_are_assumed
        as_many_liars_of_every_kind_as_can_be_assumed
        liars_whose_intervals_just_touch_the_honest
        a_server_that_ramps_away
        a_server_that_steps
        a_server_that_toggles
        a_server_that_smears_a_leap_second
        a_server_that_leaps_without_reason
        a_majority_that_lies_is_never_followed_in_silence
        a_majority_that_ramps_away_is_never_followed_in_silence
        a_ramp_of_all_within_the_drift_limit_is_followed_within_the_bound
        a_lie_of_an_earlier_run_is_forgotten
        servers_that_all_disagree_are_no_time
        requests_then_replies_held_back_by_50_ms
        a_frequency_bent_by_delays_and_then_silence
        a_delay_that_toggles_with_every_poll
        replies_of_long_ago
        replies_of_long_ago_with_a_new_stamp
        kisses_of_death
        a_leap_second_that_a_minority_announces
        a_leap_second_that_the_majority_announces
        a_leap_second_that_the_majority_announces_in_march
        a_year_whose_last_minute_has_61_or_59_seconds
        servers_that_smear_among_servers_that_do_not;
    trust:
        trusted_servers_are_believed_against_any_number_of_others
        trusted_servers_that_fall_silent_are_missed_only_if_required
        a_required_server_that_contradicts_the_others_stops_the_clock
        the_estimate_is_the_preferred_servers_while_they_are_believed
        authenticated_servers_must_agree_before_others_count
        where_authentication_is_required_the_others_have_no_say
        what_is_not_authenticated_by_the_servers_key_is_dropped
        a_pool_vetoes_the_few_of_it_that_are_polled
        a_pool_has_no_veto_over_servers_that_are_authenticated
        a_third_of_a_pool_cannot_veto_the_truth;
    verdicts:
        a_liar_is_named_for_as_long_as_it_lies
        one_liar_more_than_assumed_is_told_for_as_long_as_it_lies
        a_majority_that_lies_and_returns_leaves_nothing_behind
        sources_at_odds_are_candidates_until_they_agree
        a_silent_source_is_unreachable_and_no_liar;
}

/// Everything played so far in this process.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    scenarios: usize,
    seconds: f64,
    requests: u64,
    violations: u64,
}

static TOTAL: Mutex<Total> = Mutex::new(Total { scenarios: 0, seconds: 0.0, requests: 0, violations: 0 });

/// Plays a scenario for as long as it has time, tells how it went, and fails if anything was violated.
fn play(name: &str, scenario: fn(&Trial) -> World) {
    let share = variable("NTPCLOCK_SIMULATED_DAYS").unwrap_or(DAYS) / SCENARIOS as f64;
    let only: Option<u64> = variable("NTPCLOCK_SEED");
    let mut seed = only.unwrap_or_else(|| first_seed(name));
    let mut sum = Total { scenarios: 1, ..Total::default() };
    let (mut readings, mut synchronized, mut holdover, mut bounds, mut worst) = (0, 0, 0, 0.0, 0.0_f64);
    let mut told = Vec::new();
    loop {
        let world = scenario(&Trial { seed, days: f64::max(share - sum.seconds / 86_400.0, 0.25) });
        sum.seconds += world.seconds();
        sum.requests += world.requests;
        let oracle = world.oracle;
        sum.violations += oracle.violations;
        readings += oracle.readings;
        synchronized += oracle.synchronized;
        holdover += oracle.holdover;
        bounds += oracle.bounds;
        worst = worst.max(oracle.worst);
        told.extend(oracle.told.iter().map(|what| format!("seed {seed}: {what}")));
        if only.is_some() || sum.seconds >= share * 86_400.0 {
            break;
        }
        seed += 1;
    }
    let percent = |part: u64| 100.0 * part as f64 / f64::max(readings as f64, 1.0);
    tell(
        &sum,
        name,
        &format!(
            "{:5.1} % sync {:5.1} % holdover, mean bound {:9.3} ms, worst error/bound {worst:.3}",
            percent(synchronized),
            percent(holdover),
            bounds / f64::max((synchronized + holdover) as f64, 1.0) * 1e-6,
        ),
    );
    let again = "NTPCLOCK_SEED=<seed> cargo test --lib --all-features simulation::";
    let told = told.join("\n  ");
    assert!(sum.violations == 0, "{} violations, played again by {again}{name}:\n  {told}", sum.violations);
}

/// Prints a line about one scenario, and one about all when it was the last.
fn tell(sum: &Total, name: &str, more: &str) {
    let line = |sum: &Total, name: &str| {
        let years = sum.seconds / 86_400.0 / YEAR;
        format!("{name:65} {years:8.4} years {:9} requests {:4} violations", sum.requests, sum.violations)
    };
    println!("{} {more}", line(sum, name));
    let Ok(mut total) = TOTAL.lock() else { return };
    total.scenarios += sum.scenarios;
    total.seconds += sum.seconds;
    total.requests += sum.requests;
    total.violations += sum.violations;
    if total.scenarios == SCENARIOS {
        println!("{}", line(&total, "all scenarios"));
    }
}

/// A number from the environment; a text that is none is a mistake of whoever set it.
fn variable<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`, not a number")))
}

/// Scenarios begin with different seeds, so that no two of them live in the same world (FNV-1a).
fn first_seed(name: &str) -> u64 {
    let hash = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    u64::from(name.bytes().fold(0x811c_9dc5, hash)) * 1_000_000
}
