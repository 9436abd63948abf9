//! Readings as they are pickled: a call that makes the same again, of plain numbers.

use pyo3::prelude::*;

use crate::errors::bad_argument;
use crate::records::Reading;
use crate::words;

pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // Not `add_function`, which would make it one of those that the package shows.
    module.setattr("_reading", wrap_pyfunction!(_reading, module)?)
}

/// What a reading consists of, as it is pickled: its times, epoch, words and TAI minus UTC.
pub(crate) type Parts = ((i64, i64, i64, i64, i64), u32, (i64, u32, i64), Option<i16>);

/// What is called to make `reading` again, and with what.
pub(crate) fn reduce<'py>(py: Python<'py>, reading: &ntpclock::Reading) -> PyResult<(Bound<'py, PyAny>, Parts)> {
    let times = (reading.unix_ns, reading.earliest_ns, reading.latest_ns, reading.raw_ns, reading.age_ns);
    let words = (reading.state as i64, reading.flags.0, reading.leap as i64);
    let parts = (times, reading.epoch, words, reading.tai_minus_utc);
    Ok((PyModule::import(py, "ntpclock._ntpclock")?.getattr("_reading")?, parts))
}

/// The reading that was pickled.
#[pyfunction]
fn _reading(
    times: (i64, i64, i64, i64, i64),
    epoch: u32,
    words: (i64, u32, i64),
    tai_minus_utc: Option<i16>,
) -> PyResult<Reading> {
    let (unix_ns, earliest_ns, latest_ns, raw_ns, age_ns) = times;
    let (state, flags, leap) = words;
    let senseless = || bad_argument("a pickled reading", "makes no sense");
    if !(earliest_ns..=latest_ns).contains(&unix_ns) {
        return Err(senseless());
    }
    let state = words::STATES.into_iter().find(|known| *known as i64 == state).ok_or_else(senseless)?;
    let leap =
        words::LEAPS.into_iter().map(|(_, leap)| leap).find(|known| *known as i64 == leap).ok_or_else(senseless)?;
    let flags = ntpclock::Flags(flags);
    Ok(Reading(ntpclock::Reading {
        unix_ns,
        earliest_ns,
        latest_ns,
        raw_ns,
        age_ns,
        epoch,
        state,
        flags,
        leap,
        tai_minus_utc,
    }))
}
