//! Aligned columns, and what the commands put into them.

use std::fmt;

use super::{Faults, json, text};
use crate::clock::Offset;
use crate::error::Error;
use crate::reading::Reading;
use crate::status::{Flags, NtsInfo, NtsState, QueryResult, Refusals, Report, Role, ServerOptions, SourceInfo};

/// On which side of its column a cell stands.
#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}
use Side::{Left, Right};

/// Rows of text, each column as wide as its widest cell.
pub(super) struct Table<const N: usize> {
    sides: [Side; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    fn with_heads(heads: [(&str, Side); N]) -> Self {
        Self { sides: heads.map(|(_, side)| side), rows: vec![heads.map(|(head, _)| head.to_owned())] }
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                // Characters, not bytes: `µ` and `±` are one column wide.
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), side) in row.iter().zip(widths).zip(self.sides) {
                line += &match side {
                    Left => format!("{cell:<width$}  "),
                    Right => format!("{cell:>width$}  "),
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// The state of a clock, one fact a line.
pub(super) fn status(reading: &Reading, offset: Offset, report: &Report, faults: Faults) -> Table<2> {
    let mut facts = vec![
        ("time", text::time(reading)),
        ("offset", format!("{} (UTC minus the system clock)", text::offset(offset))),
        ("state", format!("{}, epoch {}, {}", reading.state, reading.epoch, steps(report.steps))),
        ("flags", flags(reading.flags)),
        ("leap", text::leap(report.leap).to_owned()),
        ("sources", agreement(report)),
        ("frequency", format!("{:+.3} ppm (UTC against the raw counter)", report.frequency_ppb / 1e3)),
        ("stratum", report.stratum.to_string()),
        ("root delay", text::span(report.root_delay_ns)),
        ("root dispersion", text::bound(report.root_dispersion_ns)),
        ("reference id", text::reference(report.reference_id, report.stratum.saturating_sub(1))),
        ("last exchange", last_exchange(report)),
        ("exchanges", format!("{} counted, {} refused", report.exchanges, report.rejected)),
    ];
    if report.faults_exceeded {
        facts.push(("warning", "more sources disagree than may lie: the interval rests on a bare majority".to_owned()));
    }
    if report.role != Role::Alone {
        facts.push(("role", role(report)));
    }
    facts.extend([faults.state_file, faults.shared_page].into_iter().flatten().map(|fault| ("warning", fault)));
    Table { sides: [Left, Left], rows: facts.into_iter().map(|(name, fact)| [name.to_owned(), fact]).collect() }
}

/// What a server has done, one fact a line.
pub(super) fn statistics(told: &json::Statistics) -> Table<2> {
    let rate = |per_second: f64| format!("{per_second:.1} a second lately");
    let facts = [
        ("as of", text::utc(told.unix_ns)),
        ("requests", format!("{}, {}", told.requests, rate(told.requests_per_second))),
        ("replies", format!("{}, {}", told.replies, rate(told.replies_per_second))),
        ("interleaved", told.interleaved.to_string()),
        (
            "rate limit",
            format!("{} refused, {} told so, {} answered all the same", told.limited, told.kisses, told.leaked),
        ),
        ("dropped", format!("{} denied, {} without time to give", told.denied, told.unsynchronized)),
        (
            "no requests",
            format!(
                "{} malformed, {} of a wrong version, {} of a wrong mode",
                told.malformed, told.wrong_version, told.wrong_mode
            ),
        ),
        (
            "nts",
            format!(
                "{} requests, {} replies, {} told to exchange keys, {} malformed",
                told.nts_requests, told.nts_replies, told.nts_naks, told.nts_malformed
            ),
        ),
        (
            "key exchanges",
            format!(
                "{}, {} failed, {} files of cookie keys of no use",
                told.key_exchanges, told.key_exchange_failures, told.cookie_key_faults
            ),
        ),
        ("lost", format!("{} in a full receive buffer, {} not sent", told.overflowed, told.unsent)),
        ("without a stamp", told.unstamped.to_string()),
        ("threads", format!("{}, receive buffers of {} KiB", told.threads, told.receive_buffer_bytes / 1024)),
    ];
    Table { sides: [Left, Left], rows: facts.into_iter().map(|(name, fact)| [name.to_owned(), fact]).collect() }
}

fn steps(steps: u32) -> String {
    if steps == 1 { "1 step".to_owned() } else { format!("{steps} steps") }
}

fn agreement(report: &Report) -> String {
    let Report { configured, answering, agreeing, fault_limit, .. } = report;
    format!("{configured} configured, {answering} answering, {agreeing} agreeing; {fault_limit} may lie")
}

fn role(report: &Report) -> String {
    match report.leader_pid {
        0 => format!("{}, of nobody that is known", report.role),
        pid => format!("{}; process {pid} leads", report.role),
    }
}

fn last_exchange(report: &Report) -> String {
    match report.reference_time_ns {
        0 => "none".to_owned(),
        time => text::utc(time),
    }
}

fn flags(flags: Flags) -> String {
    let names = flag_names(flags);
    if names.is_empty() { "none".to_owned() } else { names.join(", ").replace('_', " ") }
}

/// The names of the bits that are set; they are also JSON's.
pub(super) fn flag_names(flags: Flags) -> Vec<&'static str> {
    let all = [
        (Flags::AUTHENTICATED, "authenticated"),
        (Flags::PROVISIONAL, "provisional"),
        (Flags::SLEWING, "slewing"),
        (Flags::LEAP_PENDING, "leap_pending"),
        (Flags::VETOED, "vetoed"),
    ];
    all.into_iter().filter(|&(flag, _)| flags.contains(flag)).map(|(_, name)| name).collect()
}

/// One line a source.
pub(super) fn sources(sources: &[SourceInfo]) -> Table<14> {
    let mut table = Table::with_heads([
        ("source", Left),
        ("address", Left),
        ("selection", Left),
        ("nts", Left),
        ("stratum", Right),
        ("reach", Right),
        ("poll", Right),
        ("age", Right),
        ("offset", Right),
        ("± bound", Right),
        ("delay", Right),
        ("options", Left),
        ("refused", Left),
        ("fault", Left),
    ]);
    let unknown = || "-".to_owned();
    for source in sources {
        // A bound that nobody knows is told of in words: it is what the others are measured by.
        let measured = |figure: fn(i64) -> String, ns| if ns == i64::MAX { unknown() } else { figure(ns) };
        let bound = if source.exchanges == 0 { unknown() } else { text::bound(source.bound_ns) };
        table.rows.push([
            source.name.clone(),
            source.address.map_or_else(unknown, |address| address.to_string()),
            source.selection.to_string(),
            nts(&source.nts),
            if source.stratum == 0 { unknown() } else { source.stratum.to_string() },
            format!("{:08b}", source.reach),
            2_f64.powi(source.poll_exponent.into()).to_string() + " s",
            measured(text::span, source.age_ns),
            measured(text::difference, source.offset_ns),
            bound,
            measured(text::span, source.delay_ns),
            options(source),
            refusals(&source.refusals),
            complaints(source),
        ]);
    }
    table
}

/// The state, and the cipher with the cookies that are left: `authenticated (30, 8 cookies)`.
fn nts(nts: &NtsInfo) -> String {
    match (nts.state, nts.algorithm) {
        (NtsState::Off, _) => "-".to_owned(),
        (state, 0) => state.to_string(),
        (state, algorithm) => format!("{state} ({algorithm}, {} cookies)", nts.cookies),
    }
}

/// What is wrong with it, and with its keys if that is another thing.
fn complaints(source: &SourceInfo) -> String {
    let of_keys = source.nts.fault.as_ref().filter(|why| source.fault.as_ref() != Some(*why));
    let complaints: Vec<&str> = source.fault.iter().chain(of_keys).map(String::as_str).collect();
    complaints.join("; ")
}

/// What the source was given beside its name, in the words of `--source`.
fn options(source: &SourceInfo) -> String {
    // The name of the source says `nts`.
    let ServerOptions { key, require, prefer, trust, nts: _ } = source.options;
    let words = [(require, "require"), (prefer, "prefer"), (trust, "trust")];
    let words = words.into_iter().filter(|(given, _)| *given).map(|(_, word)| word.to_owned());
    key.map(|key| format!("key {key}")).into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

/// `3 silence, 1 origin`: what happened most stands first.
fn refusals(refusals: &Refusals) -> String {
    let mut counts: Vec<_> = refusals.iter().filter(|(_, count)| *count > 0).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.iter().map(|(reason, count)| format!("{count} {}", reason.name())).collect::<Vec<_>>().join(", ")
}

/// One line a server that answered.
pub(super) fn answers(answers: &[(&str, Result<QueryResult, Error>)]) -> Table<9> {
    let mut table = Table::with_heads([
        ("server", Left),
        ("address", Left),
        ("offset", Right),
        ("± bound", Right),
        ("delay", Right),
        ("stratum", Right),
        ("reference", Left),
        ("leap", Left),
        ("authenticated", Left),
    ]);
    for (host, answer) in answers {
        if let Ok(answer) = answer {
            table.rows.push([
                (*host).to_owned(),
                answer.address.to_string(),
                text::difference(answer.offset_ns),
                text::bound(answer.bound_ns),
                text::span(answer.delay_ns),
                answer.stratum.to_string(),
                text::reference(answer.reference_id, answer.stratum),
                text::leap(answer.leap).to_owned(),
                if answer.authenticated { "yes" } else { "no" }.to_owned(),
            ]);
        }
    }
    if table.rows.len() == 1 {
        // Nobody answered; heads over nothing help nobody.
        table.rows.clear();
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_have_no_tail() {
        let mut table = Table::with_heads([("a", Left), ("size", Right), ("b", Left)]);
        table.rows.push(["long".into(), "1 µs".into(), String::new()]);
        table.rows.push(["x".into(), "10 µs".into(), "end".into()]);
        assert_eq!(table.to_string(), "a      size  b\nlong   1 µs\nx     10 µs  end\n");
    }

    #[test]
    fn a_table_of_answers_nobody_gave_is_empty() {
        let silent = Err(Error::Timeout { detail: String::new() });
        assert_eq!(answers(&[("a", silent)]).to_string(), "");
    }

    #[test]
    fn flags_are_named() {
        assert_eq!(flags(Flags::default()), "none");
        assert_eq!(flags(Flags(Flags::SLEWING.0 | Flags::LEAP_PENDING.0)), "slewing, leap pending");
    }
}
