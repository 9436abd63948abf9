//! Whose word counts for what, by how far the sources are trusted.
//!
//! Without trusted sources everybody votes on where UTC lies, and the interval rests on what is assumed of all: at most
//! `f` of `n` lie. As long as trusted sources answer, they alone vote, and the interval rests on the same assumption
//! about them: at most `f` of the `n` trusted ones lie, with `f` the same share of that `n`. Whatever the others say
//! can then neither move the interval nor narrow it; those that miss it are falsetickers, the rest may refine the
//! estimate, which stays inside. Who falls back on the others when no trusted source answers would be at the mercy of
//! somebody who silences those: hence *required* sources, without one of which nothing new is published. (chrony's
//! options of the same names mean the same.)
//!
//! A source whose certificate nobody could check at any clock's time yet is *provisional*, and may be whoever once had
//! that name: it votes beside those that are not authenticated, is trusted by nobody, and content with it is nobody who
//! requires it. Where others are authenticated for certain, they are trusted against it.

use super::Synchronizer;
use super::plan::Judgement;
use crate::config::Authentication;
use crate::source::Source;
use crate::source::filter::Testimony;
use crate::status::Selection;

/// What each source may do, in their order.
#[derive(Debug)]
pub(super) struct Electorate(Vec<Rights>);

#[derive(Clone, Copy, Debug)]
struct Rights {
    /// The one that is counted already, if it is another name for one.
    original: Option<usize>,
    /// It says, with others, where UTC lies.
    votes: bool,
    /// It may have part in the estimate.
    speaks: bool,
    required: bool,
    provisional: bool,
}

impl Synchronizer {
    pub(super) fn electorate(
        &self,
        mode: Authentication,
        testimonies: &[Option<Testimony>],
        duplicates: &[Option<usize>],
    ) -> Electorate {
        let authenticated = |source: &Source| source.standing.is_authenticated();
        let certain = |source: &Source| authenticated(source) && !source.is_provisional();
        let mixed = mode == Authentication::Mix
            && self.sources.iter().any(authenticated)
            && !self.sources.iter().all(authenticated);
        let uncertain = mode != Authentication::Ignore && self.sources.iter().any(Source::is_provisional);
        let speaks = |source: &Source| mode != Authentication::Require || authenticated(source);
        let trusted = |source: &Source| {
            speaks(source)
                && !source.is_provisional()
                && (source.standing.options.trust || (mixed || uncertain) && certain(source))
        };
        let trusted_answer =
            self.sources.iter().zip(testimonies).any(|(source, testimony)| trusted(source) && testimony.is_some());
        let rights = |(source, original): (&Source, &Option<usize>)| Rights {
            original: *original,
            votes: speaks(source) && (trusted(source) || !trusted_answer),
            speaks: speaks(source),
            required: source.standing.options.require || mixed && authenticated(source),
            provisional: source.is_provisional(),
        };
        Electorate(self.sources.iter().zip(duplicates).map(rights).collect())
    }
}

impl Electorate {
    /// How many sources vote, or would if they answered.
    pub(super) fn size(&self) -> usize {
        self.0.iter().filter(|rights| rights.original.is_none() && rights.votes).count()
    }

    pub(super) fn votes(&self, index: usize) -> bool {
        self.0.get(index).is_some_and(|rights| rights.votes)
    }

    pub(super) fn speaks(&self, index: usize) -> bool {
        self.0.get(index).is_some_and(|rights| rights.speaks)
    }

    /// Whether one of the required sources is among those that are believed, or none is required.
    pub(super) fn is_content_with(&self, judgements: &[Judgement]) -> bool {
        let mut required = self.0.iter().enumerate().filter(|(_, rights)| rights.required).peekable();
        // What its other name is called holds for it.
        let is_believed = |(index, rights): (usize, &Rights)| {
            let told = judgements.get(rights.original.unwrap_or(index)).map(|(told, _)| *told);
            told == Some(Selection::Truechimer) && !rights.provisional
        };
        required.peek().is_none() || required.any(is_believed)
    }
}
