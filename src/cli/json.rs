//! The same facts for programs: nanoseconds as integers, null for what is unknown, names that stay.
//!
//! Each conversion takes its source apart field by field, so that a new fact cannot be forgotten here.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Failure, Faults, table, text};
use crate::clock::Offset;
use crate::error::Error;
use crate::server::ServerStatistics;
use crate::status::ServerOptions;
use crate::sys::{counter, file};
use crate::{reading, status};

/// Writes `value` with indentation and a newline.
pub(super) fn write(out: &mut dyn Write, value: &impl Serialize) -> Result<(), Failure> {
    // Writing is all that can fail; serde_json's error turns back into the writer's, with its kind.
    serde_json::to_writer_pretty(&mut *out, value).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}

/// The Rust face marks the unknown by the ends of the range.
fn known(ns: i64) -> Option<i64> {
    (ns != i64::MIN && ns != i64::MAX).then_some(ns)
}

/// The Rust face marks a time that never was by zero.
fn happened(unix_ns: i64) -> Option<i64> {
    (unix_ns != 0).then_some(unix_ns)
}

fn state(state: status::State) -> String {
    state.to_string().to_ascii_lowercase()
}

fn leap(leap: status::Leap) -> &'static str {
    match leap {
        status::Leap::None => "none",
        status::Leap::Insert => "insert",
        status::Leap::Delete => "delete",
        status::Leap::Unknown => "unknown",
    }
}

#[derive(Serialize)]
pub(super) struct Reading {
    utc: String,
    unix_ns: i64,
    earliest_ns: Option<i64>,
    latest_ns: Option<i64>,
    error_ns: Option<i64>,
    raw_ns: i64,
    age_ns: Option<i64>,
    epoch: u32,
    state: String,
    flags: Vec<&'static str>,
    leap: &'static str,
    tai_minus_utc: Option<i16>,
}

/// A reading, and why the clock could not be synchronised before it.
#[derive(Serialize)]
pub(super) struct Now {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    reading: Reading,
}

impl Now {
    pub(super) fn new(reading: &reading::Reading, error: Option<&Error>) -> Self {
        Self { error: error.map(Error::to_string), reading: reading.into() }
    }
}

impl From<&reading::Reading> for Reading {
    fn from(reading: &reading::Reading) -> Self {
        let &reading::Reading {
            unix_ns,
            earliest_ns,
            latest_ns,
            raw_ns,
            age_ns,
            epoch,
            state: judged,
            flags,
            leap: announced,
            tai_minus_utc,
        } = reading;
        Self {
            utc: text::utc(unix_ns),
            unix_ns,
            earliest_ns: known(earliest_ns),
            latest_ns: known(latest_ns),
            error_ns: known(reading.error_bound_ns()),
            raw_ns,
            age_ns: known(age_ns),
            epoch,
            state: state(judged),
            flags: table::flag_names(flags),
            leap: leap(announced),
            tai_minus_utc,
        }
    }
}

#[derive(Serialize)]
pub(super) struct Status {
    reading: Reading,
    offset_ns: i64,
    offset_bound_ns: Option<i64>,
    report: Report,
    state_file_fault: Option<String>,
    shared_page_fault: Option<String>,
}

impl Status {
    pub(super) fn new(reading: &reading::Reading, offset: Offset, report: &status::Report, faults: Faults) -> Self {
        Self {
            reading: reading.into(),
            offset_ns: offset.offset_ns,
            offset_bound_ns: known(offset.bound_ns),
            report: report.into(),
            state_file_fault: faults.state_file,
            shared_page_fault: faults.shared_page,
        }
    }
}

#[derive(Serialize)]
struct Report {
    state: String,
    epoch: u32,
    steps: u32,
    configured: u32,
    answering: u32,
    agreeing: u32,
    fault_limit: u32,
    faults_exceeded: bool,
    frequency_ppb: f64,
    estimated_error_ns: Option<i64>,
    bound_ns: Option<i64>,
    stratum: u8,
    root_delay_ns: Option<i64>,
    root_dispersion_ns: Option<i64>,
    reference_id: u32,
    reference_time_ns: Option<i64>,
    leap: &'static str,
    exchanges: u64,
    rejected: u64,
    flags: Vec<&'static str>,
    role: String,
    leader_pid: Option<u32>,
}

impl From<&status::Report> for Report {
    fn from(report: &status::Report) -> Self {
        let &status::Report {
            state: judged,
            epoch,
            steps,
            configured,
            answering,
            agreeing,
            fault_limit,
            faults_exceeded,
            frequency_ppb,
            estimated_error_ns,
            bound_ns,
            stratum,
            root_delay_ns,
            root_dispersion_ns,
            reference_id,
            reference_time_ns,
            leap: announced,
            exchanges,
            rejected,
            flags,
            role,
            leader_pid,
        } = report;
        Self {
            state: state(judged),
            epoch,
            steps,
            configured,
            answering,
            agreeing,
            fault_limit,
            faults_exceeded,
            frequency_ppb,
            estimated_error_ns: known(estimated_error_ns),
            bound_ns: known(bound_ns),
            stratum,
            root_delay_ns: known(root_delay_ns),
            root_dispersion_ns: known(root_dispersion_ns),
            reference_id,
            reference_time_ns: happened(reference_time_ns),
            leap: leap(announced),
            exchanges,
            rejected,
            flags: table::flag_names(flags),
            role: role.to_string(),
            leader_pid: (leader_pid != 0).then_some(leader_pid),
        }
    }
}

#[derive(Serialize)]
pub(super) struct SourceInfo {
    name: String,
    address: Option<SocketAddr>,
    selection: String,
    reach: u8,
    poll_exponent: i8,
    stratum: Option<u8>,
    leap: &'static str,
    offset_ns: Option<i64>,
    delay_ns: Option<i64>,
    estimated_error_ns: Option<i64>,
    bound_ns: Option<i64>,
    root_delay_ns: Option<i64>,
    root_dispersion_ns: Option<i64>,
    reference_id: Option<u32>,
    age_ns: Option<i64>,
    exchanges: u64,
    rejected: u64,
    restarts: u32,
    nts: Option<Nts>,
    fault: Option<String>,
    authenticated: bool,
    key: Option<u32>,
    require: bool,
    prefer: bool,
    trust: bool,
    refusals: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct Nts {
    state: String,
    algorithm: Option<u16>,
    cookies: u8,
    key_exchanges: u32,
    naks: u32,
    fault: Option<String>,
}

impl Nts {
    fn new(nts: &status::NtsInfo) -> Option<Self> {
        let &status::NtsInfo { state, algorithm, cookies, key_exchanges, naks, ref fault } = nts;
        (state != status::NtsState::Off).then(|| Self {
            state: state.to_string().replace(' ', "_"),
            algorithm: (algorithm != 0).then_some(algorithm),
            cookies,
            key_exchanges,
            naks,
            fault: fault.clone(),
        })
    }
}

impl From<&status::SourceInfo> for SourceInfo {
    fn from(source: &status::SourceInfo) -> Self {
        let &status::SourceInfo {
            ref name,
            address,
            selection,
            reach,
            poll_exponent,
            stratum,
            leap: announced,
            offset_ns,
            delay_ns,
            estimated_error_ns,
            bound_ns,
            root_delay_ns,
            root_dispersion_ns,
            reference_id,
            age_ns,
            exchanges,
            rejected,
            restarts,
            ref nts,
            ref fault,
            authenticated,
            // Its `nts` says so.
            options: ServerOptions { key, require, prefer, trust, nts: _ },
            ref refusals,
        } = source;
        // Before the first exchange the figures are zeros that mean nothing.
        let measured = |ns| if exchanges == 0 { None } else { known(ns) };
        Self {
            name: name.clone(),
            address,
            selection: selection.to_string(),
            reach,
            poll_exponent,
            stratum: (stratum != 0).then_some(stratum),
            leap: leap(announced),
            offset_ns: measured(offset_ns),
            delay_ns: measured(delay_ns),
            estimated_error_ns: measured(estimated_error_ns),
            bound_ns: measured(bound_ns),
            root_delay_ns: measured(root_delay_ns),
            root_dispersion_ns: measured(root_dispersion_ns),
            reference_id: (exchanges != 0).then_some(reference_id),
            age_ns: measured(age_ns),
            exchanges,
            rejected,
            restarts,
            nts: Nts::new(nts),
            fault: fault.clone(),
            authenticated,
            key,
            require,
            prefer,
            trust,
            refusals: refusals.iter().map(|(reason, count)| (reason.name(), count)).collect(),
        }
    }
}

/// What one host answered, or why it did not.
#[derive(Serialize)]
pub(super) struct Answer<'a> {
    server: &'a str,
    error: Option<String>,
    #[serde(flatten)]
    result: Option<QueryResult>,
}

impl<'a> Answer<'a> {
    pub(super) fn new(server: &'a str, answer: Result<&status::QueryResult, &Error>) -> Self {
        match answer {
            Ok(result) => Self { server, error: None, result: Some(result.into()) },
            Err(error) => Self { server, error: Some(error.to_string()), result: None },
        }
    }
}

#[derive(Serialize)]
struct QueryResult {
    address: SocketAddr,
    offset_ns: i64,
    bound_ns: Option<i64>,
    delay_ns: i64,
    unix_ns: i64,
    stratum: u8,
    version: u8,
    leap: &'static str,
    precision: i8,
    root_delay_ns: i64,
    root_dispersion_ns: i64,
    reference_id: u32,
    reference_time_ns: Option<i64>,
    kernel_timestamp: bool,
    authenticated: bool,
}

impl From<&status::QueryResult> for QueryResult {
    fn from(result: &status::QueryResult) -> Self {
        let &status::QueryResult {
            address,
            offset_ns,
            bound_ns,
            delay_ns,
            unix_ns,
            stratum,
            version,
            leap: announced,
            precision,
            root_delay_ns,
            root_dispersion_ns,
            reference_id,
            reference_time_ns,
            kernel_timestamp,
            authenticated,
        } = result;
        Self {
            address,
            offset_ns,
            bound_ns: known(bound_ns),
            delay_ns,
            unix_ns,
            stratum,
            version,
            leap: leap(announced),
            precision,
            root_delay_ns,
            root_dispersion_ns,
            reference_id,
            reference_time_ns: happened(reference_time_ns),
            kernel_timestamp,
            authenticated,
        }
    }
}

/// A longer file is none of a server's statistics.
const STATISTICS_MAX: u64 = 1 << 16;

/// What a server has done. Also read back: from its statistics file.
#[derive(Deserialize, Serialize)]
pub(super) struct Statistics {
    /// When it was told.
    pub(super) unix_ns: i64,
    pub(super) requests: u64,
    pub(super) replies: u64,
    pub(super) interleaved: u64,
    pub(super) kisses: u64,
    pub(super) leaked: u64,
    pub(super) malformed: u64,
    pub(super) wrong_version: u64,
    pub(super) wrong_mode: u64,
    pub(super) denied: u64,
    pub(super) limited: u64,
    pub(super) unsynchronized: u64,
    pub(super) unsent: u64,
    pub(super) unstamped: u64,
    pub(super) overflowed: u64,
    pub(super) requests_per_second: f64,
    pub(super) replies_per_second: f64,
    pub(super) threads: u32,
    pub(super) receive_buffer_bytes: u64,
    pub(super) nts_requests: u64,
    pub(super) nts_replies: u64,
    pub(super) nts_naks: u64,
    pub(super) nts_malformed: u64,
    pub(super) key_exchanges: u64,
    pub(super) key_exchange_failures: u64,
    pub(super) cookie_key_faults: u64,
}

impl From<&ServerStatistics> for Statistics {
    fn from(told: &ServerStatistics) -> Self {
        let &ServerStatistics {
            requests,
            replies,
            interleaved,
            kisses,
            leaked,
            malformed,
            wrong_version,
            wrong_mode,
            denied,
            limited,
            unsynchronized,
            unsent,
            unstamped,
            overflowed,
            requests_per_second,
            replies_per_second,
            threads,
            receive_buffer_bytes,
            nts_requests,
            nts_replies,
            nts_naks,
            nts_malformed,
            key_exchanges,
            key_exchange_failures,
            cookie_key_faults,
        } = told;
        Self {
            unix_ns: counter::system_time().0,
            requests,
            replies,
            interleaved,
            kisses,
            leaked,
            malformed,
            wrong_version,
            wrong_mode,
            denied,
            limited,
            unsynchronized,
            unsent,
            unstamped,
            overflowed,
            requests_per_second,
            replies_per_second,
            threads,
            receive_buffer_bytes,
            nts_requests,
            nts_replies,
            nts_naks,
            nts_malformed,
            key_exchanges,
            key_exchange_failures,
            cookie_key_faults,
        }
    }
}

impl Statistics {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = file::read_any(path, STATISTICS_MAX)
            .map_err(|error| Error::io(format!("reading {}", path.display()), error))?;
        let malformed = |error: serde_json::Error| {
            let (line, why) = (error.line(), format!("these are no statistics of a server: {error}"));
            Error::Malformed { path: path.to_owned(), line, why }
        };
        Ok(serde_json::from_slice(&text).map_err(malformed)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_null() {
        let reading = reading::Reading {
            unix_ns: 1,
            earliest_ns: i64::MIN,
            latest_ns: i64::MAX,
            raw_ns: 2,
            age_ns: i64::MAX,
            epoch: 0,
            state: status::State::Unsynchronized,
            flags: status::Flags::SLEWING,
            leap: status::Leap::Unknown,
            tai_minus_utc: None,
        };
        let value = serde_json::to_value(Reading::from(&reading)).unwrap();
        for name in ["earliest_ns", "latest_ns", "error_ns", "age_ns", "tai_minus_utc"] {
            assert!(value[name].is_null(), "{name}");
        }
        assert_eq!((&value["unix_ns"], &value["state"]), (&1.into(), &"unsynchronized".into()));
        assert_eq!(value["flags"], serde_json::json!(["slewing"]));
    }

    #[test]
    fn a_host_that_does_not_answer_has_an_error_instead_of_figures() {
        let value = serde_json::to_value(Answer::new("a", Err(&Error::NotRunning))).unwrap();
        assert_eq!(value, serde_json::json!({"server": "a", "error": "the clock is not running"}));
    }
}
