//! What is wrong with a source, in values and in words.

use std::fmt;

use super::Source;
use crate::exchange::Refusal;
use crate::units::Nanos;

/// The last thing that went wrong with a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Refused(Refusal),
    /// No answer came in time.
    Silence,
    /// Nor one that could be the server's, of so many replies; the last was refused for this.
    NoneGood(u32, Refusal),
    /// The operating system's word.
    World(String),
    /// The server no longer knows the keys.
    Nak,
    /// There was no cookie left to ask with.
    NoCookie,
    /// The resolver's word.
    NoAddress(String),
    /// Its own exchanges contradicted each other.
    Contradiction,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Silence => f.write_str("no answer"),
            Self::NoneGood(1, refusal) => write!(f, "one reply came and was refused: {refusal}"),
            Self::NoneGood(replies, last) => write!(f, "{replies} replies came and were refused, the last: {last}"),
            Self::Nak => f.write_str("the server no longer knows the keys (NTS NAK)"),
            Self::NoCookie => f.write_str("there are no cookies left"),
            Self::World(text) | Self::NoAddress(text) => f.write_str(text),
            Self::Contradiction => f.write_str("its exchanges contradict each other; begun anew"),
        }
    }
}

/// What selection has against a source that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Objection {
    /// By how much its interval misses the agreed one.
    Misses(Nanos),
    /// Its interval may be true, but its estimate lies so far from what the others say.
    Apart(Nanos),
    /// Its interval may be true, and so may others that contradict it.
    NoMajority,
    /// It may be one of those that lie.
    TooFew,
    /// Only others are asked what time it is, and there is no agreement among them.
    Voiceless,
    /// Others say the same, but none without whom nothing new is published.
    Unsupported,
}

impl Source {
    /// What is wrong with it, in words: why it is not believed, else its last fault, else why it is believed and not
    /// used.
    pub(crate) fn complaint(&self) -> Option<String> {
        match (self.objection, &self.fault) {
            (Some(Objection::Misses(miss)), _) => Some(format!("its interval misses the agreed one by {} ns", miss.0)),
            // Why there are none says more, where that is known.
            (_, Some(fault @ Fault::NoCookie)) => {
                let of_keys = self.nts.as_ref().and_then(|nts| nts.fault.clone());
                Some(of_keys.unwrap_or_else(|| fault.to_string()))
            }
            (_, Some(fault)) => Some(fault.to_string()),
            (Some(Objection::NoMajority), None) => Some("no majority of the sources agrees on a time".to_owned()),
            (Some(Objection::TooFew), None) => Some("no more sources answer than may lie".to_owned()),
            (Some(Objection::Voiceless), None) => {
                Some("sources that are trusted more have the say, and agree on nothing".to_owned())
            }
            (Some(Objection::Unsupported), None) => {
                Some("no source that is required, or authenticated where others are not, agrees".to_owned())
            }
            (Some(Objection::Apart(miss)), None) => Some(format!("set apart: {} ns from what the others say", miss.0)),
            (None, None) if self.probation > 0 => {
                Some(format!("it was caught lying; heard again after {} more good answers", self.probation))
            }
            (None, None) => None,
        }
    }
}
