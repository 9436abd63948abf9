//! What calls return: frozen records whose unknown figures are `None`.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDateTime, PyDelta, PyDict, PyTzInfo};

use crate::arguments::Given;
use crate::pickled::{self, Parts};
use crate::words;

const NANOS_PER_MICRO: i64 = 1_000;
const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// Adds the classes to the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Reading>()?;
    module.add_class::<Deadline>()?;
    module.add_class::<Report>()?;
    module.add_class::<SourceInfo>()?;
    module.add_class::<QueryResult>()?;
    module.add_class::<ServerStatistics>()?;
    pickled::add_to(module)
}

/// The Rust face marks the unknown by the ends of the range, Python by `None`.
pub(crate) fn known(ns: i64) -> Option<i64> {
    (ns != i64::MIN && ns != i64::MAX).then_some(ns)
}

/// The Rust face marks a time that never was by zero.
fn happened(unix_ns: i64) -> Option<i64> {
    (unix_ns != 0).then_some(unix_ns)
}

/// Seconds as Python's `time.time()` gives them: a float is good to some 240 ns in these decades.
pub(crate) fn float_seconds(unix_ns: i64) -> f64 {
    unix_ns as f64 / 1e9
}

/// An aware datetime in UTC. Nanoseconds are cut off, towards the past.
pub(crate) fn datetime(py: Python<'_>, unix_ns: i64) -> PyResult<Bound<'_, PyAny>> {
    static EPOCH: PyOnceLock<Py<PyDateTime>> = PyOnceLock::new();
    let epoch = EPOCH.get_or_try_init(py, || {
        let utc = PyTzInfo::utc(py)?;
        PyDateTime::new(py, 1970, 1, 1, 0, 0, 0, 0, Some(&*utc)).map(Bound::unbind)
    })?;
    let micros = unix_ns.div_euclid(NANOS_PER_MICRO);
    let (seconds, micros) = (micros.div_euclid(MICROS_PER_SECOND), micros.rem_euclid(MICROS_PER_SECOND));
    let (days, seconds) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
    // All three fit: 2^63 ns are 106 752 days.
    let since = PyDelta::new(py, days as i32, seconds as i32, micros as i32, false)?;
    epoch.bind(py).add(since)
}

/// `ntpclock.Name(field=value, …)`.
fn represent(name: &str, fields: &Bound<'_, PyDict>) -> PyResult<String> {
    let fields = fields.iter().map(|(field, value)| Ok(format!("{field}={}", value.repr()?)));
    Ok(format!("ntpclock.{name}({})", fields.collect::<PyResult<Vec<_>>>()?.join(", ")))
}

/// One reading of a clock: the time, and the interval that holds UTC.
///
/// Its attributes are made when asked for: most callers want one or two.
#[pyclass(frozen, eq, module = "ntpclock")]
#[derive(PartialEq, Eq)]
pub(crate) struct Reading(pub(crate) ntpclock::Reading);

#[pymethods]
impl Reading {
    /// UTC, nanoseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
    #[getter]
    fn unix_ns(&self) -> i64 {
        self.0.unix_ns
    }

    /// UTC is not before this; None when unknown.
    #[getter]
    fn earliest_ns(&self) -> Option<i64> {
        known(self.0.earliest_ns)
    }

    /// UTC is not after this; None when unknown.
    #[getter]
    fn latest_ns(&self) -> Option<i64> {
        known(self.0.latest_ns)
    }

    /// The larger distance from `unix_ns` to either end of the interval, in nanoseconds: UTC lies within ± this.
    #[getter]
    fn error_ns(&self) -> Option<i64> {
        known(self.0.error_bound_ns())
    }

    /// The raw counter at the reading, as nanoseconds at its nominal rate; one origin per boot.
    #[getter]
    fn raw_ns(&self) -> i64 {
        self.0.raw_ns
    }

    /// Nanoseconds since the newest exchange that counted; None before the first.
    #[getter]
    fn age_ns(&self) -> Option<i64> {
        known(self.0.age_ns)
    }

    /// The number of the stretch without a step; 0 before the first synchronisation.
    #[getter]
    fn epoch(&self) -> u32 {
        self.0.epoch
    }

    /// How far the interval can be trusted.
    #[getter]
    fn state(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        words::state(py, self.0.state)
    }

    /// What else is to be known.
    #[getter]
    fn flags(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        words::flags(py, self.0.flags)
    }

    /// What the sources announce for the end of the month.
    #[getter]
    fn leap(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        words::leap(py, self.0.leap)
    }

    /// TAI minus UTC in seconds; None when unknown.
    #[getter]
    fn tai_minus_utc(&self) -> Option<i16> {
        self.0.tai_minus_utc
    }

    /// Whether this reading is certainly of an earlier or of a later instant than another, of whatever clock or host.
    fn compare(&self, py: Python<'_>, other: &Self) -> PyResult<Py<PyAny>> {
        words::relation(py, self.0.compare(&other.0))
    }

    /// Whether UTC was certainly after this.
    fn is_after(&self, unix_ns: Given<i64>) -> PyResult<bool> {
        Ok(self.0.is_after(unix_ns.value("unix_ns")?))
    }

    /// Whether UTC was certainly before this.
    fn is_before(&self, unix_ns: Given<i64>) -> PyResult<bool> {
        Ok(self.0.is_before(unix_ns.value("unix_ns")?))
    }

    /// The time as an aware datetime in UTC; nanoseconds are cut off.
    fn datetime<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        datetime(py, self.0.unix_ns)
    }

    /// The attributes by name, for tables and logs.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let fields = PyDict::new(py);
        fields.set_item("unix_ns", self.unix_ns())?;
        fields.set_item("earliest_ns", self.earliest_ns())?;
        fields.set_item("latest_ns", self.latest_ns())?;
        fields.set_item("error_ns", self.error_ns())?;
        fields.set_item("raw_ns", self.raw_ns())?;
        fields.set_item("age_ns", self.age_ns())?;
        fields.set_item("epoch", self.epoch())?;
        fields.set_item("state", self.state(py)?)?;
        fields.set_item("flags", self.flags(py)?)?;
        fields.set_item("leap", self.leap(py)?)?;
        fields.set_item("tai_minus_utc", self.tai_minus_utc())?;
        Ok(fields)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        represent("Reading", &self.to_dict(py)?)
    }

    /// For `pickle` and `copy`.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Parts)> {
        pickled::reduce(py, &self.0)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        // Equal readings agree in these; two different ones hardly ever do.
        (self.0.unix_ns, self.0.raw_ns).hash(&mut hasher);
        hasher.finish()
    }
}

/// A frozen class with one attribute a field, a `to_dict` and a representation that shows them all.
macro_rules! record {
    ($(#[$about:meta])* $name:ident { $($(#[$what:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[pyclass(frozen, get_all, module = "ntpclock")]
        pub(crate) struct $name {
            $($(#[$what])* $field: $type,)*
        }

        #[pymethods]
        impl $name {
            /// The attributes by name, for tables and logs.
            fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
                let fields = PyDict::new(py);
                $(fields.set_item(stringify!($field), &self.$field)?;)*
                Ok(fields)
            }

            fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
                represent(stringify!($name), &self.to_dict(py)?)
            }
        }
    };
}

record! {
    /// When a clock of the machine will show that some point of UTC has come.
    Deadline {
        /// The best guess.
        stamp_ns: i64,
        /// Before this UTC has certainly not come there.
        earliest_ns: i64,
        /// From this on it certainly has.
        latest_ns: i64,
    }
}

impl From<ntpclock::Deadline> for Deadline {
    fn from(deadline: ntpclock::Deadline) -> Self {
        Self { stamp_ns: deadline.stamp_ns, earliest_ns: deadline.earliest_ns, latest_ns: deadline.latest_ns }
    }
}

record! {
    /// The state of a whole clock in numbers; those of the clock that leads, where a page is shared.
    Report {
        /// As a reader would have seen it when the report was made.
        state: Py<PyAny>,
        /// The epoch of the published model; 0 before the first synchronisation.
        epoch: u32,
        /// Steps since the start: epochs begun after the first.
        steps: u32,
        /// Sources configured, usable pool members included, duplicates counted once.
        configured: u32,
        /// Sources that answer.
        answering: u32,
        /// The most sources whose intervals have one point in common.
        agreeing: u32,
        /// Sources assumed to lie at most.
        fault_limit: u32,
        /// More than `fault_limit` sources lie: the interval rests on a strict majority only.
        faults_exceeded: bool,
        /// Frequency of UTC against the raw counter, parts per 10^9; positive: UTC gains.
        frequency_ppb: f64,
        /// Standard deviation of the reading as estimated: a statistical figure, not a bound; None when unknown.
        estimated_error_ns: Option<i64>,
        /// The error bound when the report was made; None when unknown.
        bound_ns: Option<i64>,
        /// One below the source that is followed most, or 16.
        stratum: u8,
        /// Round trip to the root of the source that is followed most.
        root_delay_ns: Option<i64>,
        /// What a client of ours must allow for beside half the root delay; None when unknown.
        root_dispersion_ns: Option<i64>,
        /// Reference id of that source as RFC 5905 defines it for the next stratum.
        reference_id: u32,
        /// UTC of the newest exchange that counted; None before the first.
        reference_time_ns: Option<i64>,
        /// The announced leap second.
        leap: Py<PyAny>,
        /// Exchanges that counted, since the start.
        exchanges: u64,
        /// Replies refused, since the start.
        rejected: u64,
        /// Flags.AUTHENTICATED or not, of what was published last.
        flags: Py<PyAny>,
        /// Whether the clock shares a page, and whether it leads.
        role: Py<PyAny>,
        /// The process that leads; None if none does, or it is not known.
        leader_pid: Option<u32>,
    }
}

impl Report {
    pub(crate) fn new(py: Python<'_>, report: &ntpclock::Report) -> PyResult<Self> {
        Ok(Self {
            state: words::state(py, report.state)?,
            epoch: report.epoch,
            steps: report.steps,
            configured: report.configured,
            answering: report.answering,
            agreeing: report.agreeing,
            fault_limit: report.fault_limit,
            faults_exceeded: report.faults_exceeded,
            frequency_ppb: report.frequency_ppb,
            estimated_error_ns: known(report.estimated_error_ns),
            bound_ns: known(report.bound_ns),
            stratum: report.stratum,
            root_delay_ns: known(report.root_delay_ns),
            root_dispersion_ns: known(report.root_dispersion_ns),
            reference_id: report.reference_id,
            reference_time_ns: happened(report.reference_time_ns),
            leap: words::leap(py, report.leap)?,
            exchanges: report.exchanges,
            rejected: report.rejected,
            flags: words::flags(py, report.flags)?,
            role: words::role(py, report.role)?,
            leader_pid: (report.leader_pid != 0).then_some(report.leader_pid),
        })
    }
}

record! {
    /// One source as the clock sees it.
    SourceInfo {
        /// The entry of the server list it comes from.
        name: String,
        /// Its address and port, once resolved.
        address: Option<String>,
        /// What selection thinks of it.
        selection: Py<PyAny>,
        /// Of the last eight polls, which were answered; the newest is bit 0.
        reach: u8,
        /// The poll interval is 2^this seconds.
        poll_exponent: i8,
        /// Distance from a reference clock; None before the first reply.
        stratum: Option<u8>,
        /// Its leap indicator.
        leap: Py<PyAny>,
        /// Its time minus ours; None while it tells no time, or we have none.
        offset_ns: Option<i64>,
        /// Round trip of the newest exchange; None without one.
        delay_ns: Option<i64>,
        /// Spread of its recent offsets; None while it tells no time.
        estimated_error_ns: Option<i64>,
        /// Half the width of its correctness interval now; None when it has none.
        bound_ns: Option<i64>,
        /// The round trip to its own root that it claims.
        root_delay_ns: Option<i64>,
        /// The root dispersion it claims.
        root_dispersion_ns: Option<i64>,
        /// Its reference id.
        reference_id: Option<u32>,
        /// Nanoseconds since its newest exchange that counted.
        age_ns: Option<i64>,
        /// Exchanges that counted.
        exchanges: u64,
        /// Replies refused.
        rejected: u64,
        /// Times it contradicted itself and was begun anew.
        restarts: u32,
        /// What it has of Network Time Security.
        nts: Py<PyAny>,
        /// The cipher, by its number among AEAD algorithms: 15, 17 or 30; None without keys.
        nts_algorithm: Option<u16>,
        /// Cookies left: so many requests can be made without an answer.
        nts_cookies: u8,
        /// Key exchanges that brought keys.
        nts_key_exchanges: u32,
        /// Answers that said the keys are not known to the server; whoever sees a request can send them.
        nts_naks: u32,
        /// Why the last key exchange brought no keys, or why they were given up.
        nts_fault: Option<String>,
        /// What is wrong with it: why it is not believed, else its last fault since it last answered well, else why it
        /// is believed and yet not used.
        fault: Option<String>,
        /// Whether its answers are authenticated; others are refused.
        authenticated: bool,
        /// The id of its key.
        key: Option<u32>,
        /// Nothing is published unless at least one of the required sources agrees with it.
        require: bool,
        /// As long as preferred sources are believed, the others have no part in the estimate.
        prefer: bool,
        /// As long as trusted sources answer, they alone say where UTC lies.
        trust: bool,
        /// How often it, or an answer of it, was refused, by reason.
        refusals: BTreeMap<&'static str, u64>,
    }
}

impl SourceInfo {
    pub(crate) fn new(py: Python<'_>, source: ntpclock::SourceInfo) -> PyResult<Self> {
        // Before the first exchange the figures are zeros that mean nothing.
        let measured = |ns| if source.exchanges == 0 { None } else { known(ns) };
        Ok(Self {
            address: source.address.map(|address| address.to_string()),
            selection: words::selection(py, source.selection)?,
            reach: source.reach,
            poll_exponent: source.poll_exponent,
            stratum: (source.stratum != 0).then_some(source.stratum),
            leap: words::leap(py, source.leap)?,
            offset_ns: measured(source.offset_ns),
            delay_ns: measured(source.delay_ns),
            estimated_error_ns: measured(source.estimated_error_ns),
            bound_ns: measured(source.bound_ns),
            root_delay_ns: measured(source.root_delay_ns),
            root_dispersion_ns: measured(source.root_dispersion_ns),
            reference_id: (source.exchanges != 0).then_some(source.reference_id),
            age_ns: measured(source.age_ns),
            exchanges: source.exchanges,
            rejected: source.rejected,
            restarts: source.restarts,
            nts: words::nts_state(py, source.nts.state)?,
            nts_algorithm: (source.nts.algorithm != 0).then_some(source.nts.algorithm),
            nts_cookies: source.nts.cookies,
            nts_key_exchanges: source.nts.key_exchanges,
            nts_naks: source.nts.naks,
            nts_fault: source.nts.fault,
            name: source.name,
            fault: source.fault,
            authenticated: source.authenticated,
            key: source.options.key,
            require: source.options.require,
            prefer: source.options.prefer,
            trust: source.options.trust,
            refusals: source.refusals.iter().map(|(reason, count)| (reason.name(), count)).collect(),
        })
    }
}

record! {
    /// What one exchange with a server told.
    QueryResult {
        /// The address and port that answered.
        address: String,
        /// UTC minus the system clock: add it to the system clock.
        offset_ns: i64,
        /// The offset is within ± this if the server's own root distance is true; None when unknown.
        bound_ns: Option<i64>,
        /// Round trip less the server's time in between.
        delay_ns: i64,
        /// The server's UTC when the reply arrived.
        unix_ns: i64,
        /// Distance from a reference clock.
        stratum: u8,
        /// NTP version of the reply.
        version: u8,
        /// The leap indicator.
        leap: Py<PyAny>,
        /// The server's precision as an exponent of 2, in seconds.
        precision: i8,
        /// The server's round trip to its root.
        root_delay_ns: i64,
        /// The server's root dispersion.
        root_dispersion_ns: i64,
        /// The server's reference id.
        reference_id: u32,
        /// When the server's clock was last set; None if it does not say.
        reference_time_ns: Option<i64>,
        /// Whether the kernel stamped the arrival.
        kernel_timestamp: bool,
        /// Whether the answer was authenticated, by a server whose certificate holds at the time it tells.
        authenticated: bool,
    }
}

impl QueryResult {
    pub(crate) fn new(py: Python<'_>, result: &ntpclock::QueryResult) -> PyResult<Self> {
        Ok(Self {
            address: result.address.to_string(),
            offset_ns: result.offset_ns,
            bound_ns: known(result.bound_ns),
            delay_ns: result.delay_ns,
            unix_ns: result.unix_ns,
            stratum: result.stratum,
            version: result.version,
            leap: words::leap(py, result.leap)?,
            precision: result.precision,
            root_delay_ns: result.root_delay_ns,
            root_dispersion_ns: result.root_dispersion_ns,
            reference_id: result.reference_id,
            reference_time_ns: happened(result.reference_time_ns),
            kernel_timestamp: result.kernel_timestamp,
            authenticated: result.authenticated,
        })
    }
}

record! {
    /// What a server has done since its start.
    ServerStatistics {
        /// Datagrams received, whatever they were.
        requests: u64,
        /// Replies sent, kisses included.
        replies: u64,
        /// Replies in interleaved mode (RFC 9769).
        interleaved: u64,
        /// Clients that were told to ask less (`RATE`).
        kisses: u64,
        /// Requests beyond the rate limit that were answered all the same.
        leaked: u64,
        /// Dropped: no NTP header, or no sender.
        malformed: u64,
        /// Dropped: of another version than 1 to 4.
        wrong_version: u64,
        /// Dropped: no request of a client.
        wrong_mode: u64,
        /// Dropped: of a client that is denied, or sent to a broadcast or multicast address.
        denied: u64,
        /// Dropped: beyond the rate limit.
        limited: u64,
        /// Dropped: there was no time to give.
        unsynchronized: u64,
        /// Replies that the system would not send.
        unsent: u64,
        /// Requests answered that had no receive stamp of the kernel that could be used: their times are a little late.
        unstamped: u64,
        /// Datagrams that the kernel dropped since the receive buffer was full.
        overflowed: u64,
        /// Datagrams received in a second, lately.
        requests_per_second: f64,
        /// Replies sent in a second, lately.
        replies_per_second: f64,
        /// Threads that serve.
        threads: u32,
        /// The smallest receive buffer of a socket, in bytes as the kernel counts them.
        receive_buffer_bytes: u64,
        /// Requests with NTS whose fields made sense.
        nts_requests: u64,
        /// Replies that were authenticated.
        nts_replies: u64,
        /// Clients that were told to exchange keys anew: their cookies were too old, or nobody's.
        nts_naks: u64,
        /// Dropped: of NTS, with fields that made no sense, or left no room for a reply.
        nts_malformed: u64,
        /// Key exchanges that gave keys.
        key_exchanges: u64,
        /// Key exchanges that gave none: too slow, too long, refused, or no TLS at all.
        key_exchange_failures: u64,
        /// How often the file of cookie keys had changed and was of no use.
        cookie_key_faults: u64,
    }
}

impl From<ntpclock::ServerStatistics> for ServerStatistics {
    fn from(told: ntpclock::ServerStatistics) -> Self {
        let ntpclock::ServerStatistics {
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
