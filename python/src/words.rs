//! State, flags, leap indicator and selection as Python's enumerations.
//!
//! They are made from the Rust ones when the module is imported, so that no number stands in two places;
//! the stub repeats them for readers and type checkers, and a test compares it.

use ntpclock::{Events, Flags, Leap, NtsState, Relation, Role, Selection, State, Timescale};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule};

use crate::arguments::Given;
use crate::errors::bad_argument;

/// One enumeration of the module.
struct Word {
    name: &'static str,
    class: PyOnceLock<Py<PyAny>>,
}

static STATE: Word = Word::new("State");
static FLAGS: Word = Word::new("Flags");
static LEAP: Word = Word::new("Leap");
static SELECTION: Word = Word::new("Selection");
static ROLE: Word = Word::new("Role");
static RELATION: Word = Word::new("Relation");
static TIMESCALE: Word = Word::new("Timescale");
static NTS_STATE: Word = Word::new("NtsState");
static EVENTS: Word = Word::new("Events");

pub(crate) const STATES: [State; 4] = [State::Unsynchronized, State::Synchronized, State::Holdover, State::Disrupted];

/// By name.
pub(crate) const LEAPS: [(&str, Leap); 4] =
    [("NONE", Leap::None), ("INSERT", Leap::Insert), ("DELETE", Leap::Delete), ("UNKNOWN", Leap::Unknown)];

/// The clocks of a machine, by name.
const TIMESCALES: [(&str, Timescale); 4] = [
    ("RAW", Timescale::Raw),
    ("MONOTONIC", Timescale::Monotonic),
    ("BOOTTIME", Timescale::Boottime),
    ("REALTIME", Timescale::Realtime),
];

impl Word {
    const fn new(name: &'static str) -> Self {
        Self { name, class: PyOnceLock::new() }
    }

    /// Makes the class, derived from `base` of Python's `enum`, and adds it to the module.
    fn add_to(
        &self,
        module: &Bound<'_, PyModule>,
        base: &str,
        members: impl IntoIterator<Item = (String, i64)>,
        doc: &str,
    ) -> PyResult<()> {
        let py = module.py();
        let options = PyDict::new(py);
        options.set_item("module", "ntpclock")?;
        let members: Vec<_> = members.into_iter().collect();
        let class = PyModule::import(py, "enum")?.getattr(base)?.call((self.name, members), Some(&options))?;
        class.setattr("__doc__", doc)?;
        module.add(self.name, &class)?;
        // As with the exceptions: after a second import the first one's classes stay in use.
        let _ = self.class.set(py, class.unbind());
        Ok(())
    }

    /// The member with this number.
    fn member(&self, py: Python<'_>, number: i64) -> PyResult<Py<PyAny>> {
        let class = self.class.get(py).ok_or_else(|| PyTypeError::new_err("ntpclock was not imported as a module"))?;
        class.call1(py, (number,))
    }
}

/// Makes the enumerations and adds them to the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let states = STATES.map(|state| (state.to_string(), state as i64));
    STATE.add_to(module, "IntEnum", states, "How far a clock's interval can be trusted.")?;

    let flags = [
        ("AUTHENTICATED", Flags::AUTHENTICATED),
        ("PROVISIONAL", Flags::PROVISIONAL),
        ("SLEWING", Flags::SLEWING),
        ("LEAP_PENDING", Flags::LEAP_PENDING),
        ("VETOED", Flags::VETOED),
    ];
    let flags = flags.map(|(name, flag)| (name.to_owned(), flag.0.into()));
    FLAGS.add_to(module, "IntFlag", flags, "Facts beside the state, one bit each.")?;

    let leaps = LEAPS.map(|(name, leap)| (name.to_owned(), leap as i64));
    LEAP.add_to(module, "IntEnum", leaps, "The leap indicator of RFC 5905, as the sources agree on it.")?;

    let selections = [
        Selection::Unreachable,
        Selection::Truechimer,
        Selection::Falseticker,
        Selection::Unusable,
        Selection::Duplicate,
        Selection::Candidate,
    ];
    let selections = selections.map(|selection| (selection.to_string().to_ascii_uppercase(), selection as i64));
    SELECTION.add_to(module, "IntEnum", selections, "What selection thinks of a source.")?;

    let nts = [NtsState::Off, NtsState::NoKeys, NtsState::Provisional, NtsState::Unreviewed, NtsState::Authenticated];
    let nts = nts.map(|state| (state.to_string().to_ascii_uppercase().replace(' ', "_"), state as i64));
    NTS_STATE.add_to(module, "IntEnum", nts, "What a source has of Network Time Security.")?;
    let roles = [Role::Alone, Role::Leader, Role::Follower];
    let roles = roles.map(|role| (role.to_string().to_ascii_uppercase(), role as i64));
    ROLE.add_to(module, "IntEnum", roles, "Whose work the time is that a clock shows.")?;

    let relations = [("BEFORE", Relation::Before), ("OVERLAP", Relation::Overlap), ("AFTER", Relation::After)];
    let relations = relations.map(|(name, relation)| (name.to_owned(), relation as i64));
    RELATION.add_to(module, "IntEnum", relations, "How one reading lies to another.")?;

    let timescales = TIMESCALES.map(|(name, scale)| (name.to_owned(), scale as i64));
    TIMESCALE.add_to(module, "IntEnum", timescales, "A clock of this machine that stamps are taken on.")?;

    let events = [
        ("SYNCHRONIZED", Events::SYNCHRONIZED),
        ("LOST", Events::LOST),
        ("DISRUPTED", Events::DISRUPTED),
        ("STEPPED", Events::STEPPED),
    ];
    let events = events.map(|(name, event)| (name.to_owned(), event.0.into()));
    EVENTS.add_to(module, "IntFlag", events, "What has happened to a clock, one bit each.")
}

pub(crate) fn relation(py: Python<'_>, relation: Relation) -> PyResult<Py<PyAny>> {
    RELATION.member(py, relation as i64)
}

pub(crate) fn events(py: Python<'_>, events: Events) -> PyResult<Py<PyAny>> {
    EVENTS.member(py, events.0.into())
}

/// The clock that a member of `Timescale`, or its number, means.
pub(crate) fn timescale(number: Given<i64>) -> PyResult<Timescale> {
    let number = number.value("timescale")?;
    let known = TIMESCALES.into_iter().find(|(_, scale)| *scale as i64 == number);
    known.map(|(_, scale)| scale).ok_or_else(|| bad_argument("timescale", format!("is {number}, which is none")))
}

pub(crate) fn state(py: Python<'_>, state: State) -> PyResult<Py<PyAny>> {
    STATE.member(py, state as i64)
}

pub(crate) fn flags(py: Python<'_>, flags: Flags) -> PyResult<Py<PyAny>> {
    FLAGS.member(py, flags.0.into())
}

pub(crate) fn leap(py: Python<'_>, leap: Leap) -> PyResult<Py<PyAny>> {
    LEAP.member(py, leap as i64)
}

pub(crate) fn nts_state(py: Python<'_>, state: NtsState) -> PyResult<Py<PyAny>> {
    NTS_STATE.member(py, state as i64)
}

pub(crate) fn role(py: Python<'_>, role: Role) -> PyResult<Py<PyAny>> {
    ROLE.member(py, role as i64)
}

pub(crate) fn selection(py: Python<'_>, selection: Selection) -> PyResult<Py<PyAny>> {
    SELECTION.member(py, selection as i64)
}
