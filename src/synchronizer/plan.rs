//! From the sources' testimonies to what is to be published: who tells the truth, what follows from it, and what is
//! said of those who do not.

use super::electorate::Electorate;
use super::rounds::Rounds;
use super::{Primary, Synchronizer, Verdict};
use crate::config::Authentication;
use crate::model::bound::Witness;
use crate::model::slew::{Course, steer};
use crate::model::{ClockModel, UtcSpan};
use crate::nts::trust::Basis;
use crate::packet;
use crate::selection::cluster::{self, Voice};
use crate::selection::{self, Agreement, Disagreement};
use crate::source::filter::Testimony;
use crate::source::{Fault, Objection, Source};
use crate::status::{Flags, Leap, Selection, State};
use crate::units::{Counter, Nanos, Rate, UnixTime};

/// What would be published at one instant.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) model: ClockModel,
    pub(super) verdict: Verdict,
    /// One for each source.
    pub(super) judgements: Vec<Judgement>,
    /// For each source, whether it says where UTC lies.
    pub(super) voters: Vec<bool>,
    /// What those agree on, and when, whether it is believed or not.
    pub(super) agreed: Option<(Witness, Counter)>,
    /// What the sources alone agree on, if they do.
    pub(super) heard: Option<UtcSpan>,
    /// What the sources agree on cannot be true if what is remembered is.
    pub(super) refutes_memory: bool,
    /// It rests on a certificate that was not checked at the time obtained.
    pub(super) unreviewed: bool,
}

/// What a plan is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Publication,
    /// To learn the time at which certificates are to be checked.
    Review,
}

/// What selection thinks of a source, and what it has against it.
pub(super) type Judgement = (Selection, Option<Objection>);

impl Synchronizer {
    /// What to publish so that it takes effect at `switch`, a little after now.
    pub(crate) fn plan(&self, switch: Counter) -> Plan {
        self.plan_for(Purpose::Publication, switch)
    }

    /// The same; for a review nobody is heard who is not authenticated: anybody on the path could have a certificate
    /// checked at the time that suits him. And nobody is required, since whoever is may be one of those that are
    /// reviewed.
    pub(super) fn plan_for(&self, purpose: Purpose, switch: Counter) -> Plan {
        let heard = |source: &&Source| purpose != Purpose::Review || source.standing.is_authenticated();
        // Every pair of a source's exchanges has its say in its testimony: that is worked out once.
        let testimonies: Vec<Option<Testimony>> = (self.sources.iter())
            .map(|source| Some(source).filter(heard).and_then(|source| source.testimony(switch, &self.settings)))
            .collect();
        let duplicates = self.duplicates(&testimonies);
        let authentication =
            if purpose == Purpose::Review { Authentication::Require } else { self.settings.authentication };
        let electorate = self.electorate(authentication, &testimonies, &duplicates);
        let witnesses: Vec<Option<Witness>> =
            (0..testimonies.len()).map(|index| self.unite(index, &testimonies, &duplicates)).collect();
        let chosen = |which: &dyn Fn(usize) -> bool| -> Vec<Witness> {
            (0..witnesses.len()).filter(|&index| which(index)).filter_map(|index| witnesses[index]).collect()
        };
        let faults = self.settings.faults(electorate.size());
        // More than there are cannot agree on when certificates hold.
        let most = if purpose == Purpose::Review { electorate.size() } else { usize::MAX };
        let min_agreeing = self.settings.min_agreeing.min(most);
        let agreement = selection::agree(&chosen(&|index| electorate.votes(index)), electorate.size(), faults);
        let mut judgements = self.judge(&testimonies, &duplicates, &electorate, &agreement);
        let is_content = purpose == Purpose::Review || electorate.is_content_with(&judgements);
        if !is_content {
            let believed = |judgement: &&mut Judgement| judgement.0 == Selection::Truechimer;
            judgements.iter_mut().filter(believed).for_each(|judgement| judgement.1 = Some(Objection::Unsupported));
        }
        let believed = |index: usize| electorate.speaks(index) && judgements[index].0 == Selection::Truechimer;
        let verdict = Verdict {
            configured: self.sources.len() - duplicates.iter().flatten().count(),
            answering: witnesses.iter().flatten().count(),
            // Also those that do not vote: they could have said otherwise.
            agreeing: agreement.as_ref().map_or(0, |_| selection::deepest(&chosen(&believed))),
            faults,
            faults_exceeded: agreement.as_ref().is_ok_and(|agreement| agreement.faults_exceeded),
            ..Verdict::default()
        };
        // Until the sources agree anew, nobody knows what a disruption has left of what was published.
        // And until they were tried, what an earlier run has promised stands, with its deadlines; what another leader
        // has, until they agree: it was true when it was published, and its deadlines end it soon enough.
        let held = match () {
            () if self.disruption.is_some() => State::Disrupted,
            () if self.inherited || !self.may_start(switch) => self.model.state,
            () => State::Holdover,
        };
        // Those that veto are not authenticated: against voters that all are, it would be anybody's on the path.
        let certain = |source: &Source| {
            source.standing.is_authenticated() && (purpose == Purpose::Review || !source.is_provisional())
        };
        let vetoed = self.is_vetoed()
            && self.sources.iter().enumerate().any(|(index, source)| electorate.votes(index) && !certain(source));
        let enough =
            verdict.agreeing >= min_agreeing && is_content && self.may_start(switch) && !self.is_disrupted() && !vetoed;
        let agreed = agreement.as_ref().ok().map(|agreement| (agreement.told, switch));
        let voters = (0..self.sources.len()).map(|index| electorate.votes(index)).collect();
        let plan = match agreement {
            Ok(agreement) if enough => self.follow(switch, &agreement, &testimonies, &electorate, verdict, judgements),
            _ => self.hold(held, vetoed, verdict, judgements),
        };
        Plan { voters, agreed, ..plan }
    }

    /// For each source, the one that it is another name of: the first of them that has something to say. They have the
    /// same address, or, above stratum 1, the same reference at the same time. A stranger may *claim* another's
    /// reference; intervals that do not meet prove that it is not the same server.
    fn duplicates(&self, testimonies: &[Option<Testimony>]) -> Vec<Option<usize>> {
        let same = |one: usize, other: usize| {
            let (a, b) = (&self.sources[one], &self.sources[other]);
            if a.address().is_some() && a.address() == b.address() {
                return true;
            }
            // Nor does anybody who is trusted less get to say that he is one who is trusted more.
            if a.rank() != b.rank() {
                return false;
            }
            let (Some(a), Some(b)) = (&a.server, &b.server) else { return false };
            let claim = a.stratum > 1
                && a.stratum == b.stratum
                && a.reference_id == b.reference_id
                && a.reference_time.is_some()
                && a.reference_time == b.reference_time;
            claim
                && match (&testimonies[one], &testimonies[other]) {
                    (Some(a), Some(b)) => a.witness.offset.overlaps(b.witness.offset),
                    _ => false,
                }
        };
        let original = |index: usize| {
            let names = || (0..self.sources.len()).filter(|&other| other == index || same(other, index));
            let heard = |name: &usize| testimonies[*name].is_some();
            let rank = |name: usize| self.sources[name].rank();
            let first = names().filter(heard).reduce(|best, other| if rank(other) > rank(best) { other } else { best });
            first.or_else(|| names().next()).filter(|&first| first != index)
        };
        (0..self.sources.len()).map(original).collect()
    }

    fn judge(
        &self,
        testimonies: &[Option<Testimony>],
        duplicates: &[Option<usize>],
        electorate: &Electorate,
        agreement: &Result<Agreement, Disagreement>,
    ) -> Vec<Judgement> {
        let judge = |index: usize| match (&testimonies[index], agreement) {
            _ if duplicates[index].is_some() => (Selection::Duplicate, None),
            (Some(testimony), Ok(agreement)) => match agreement.missed_by(&testimony.witness) {
                None => (Selection::Truechimer, None),
                Some(miss) => (Selection::Falseticker, Some(Objection::Misses(miss))),
            },
            (Some(_), Err(_)) if !electorate.votes(index) => (Selection::Candidate, Some(Objection::Voiceless)),
            (Some(_), Err(Disagreement::TooFew)) => (Selection::Candidate, Some(Objection::TooFew)),
            (Some(_), Err(Disagreement::NoMajority)) => (Selection::Candidate, Some(Objection::NoMajority)),
            // It answers, and nothing follows from what it says; or it has said that nothing does.
            (None, _) if self.is_heard(index) => (Selection::Unusable, None),
            (None, _) => (Selection::Unreachable, None),
        };
        (0..self.sources.len()).map(judge).collect()
    }

    fn is_heard(&self, index: usize) -> bool {
        let source = &self.sources[index];
        source.reach() != 0 || matches!(source.fault(), Some(Fault::Refused(_)))
    }

    /// The model that follows the survivors: what they say together, held inside what was agreed on.
    fn follow(
        &self,
        switch: Counter,
        agreement: &Agreement,
        testimonies: &[Option<Testimony>],
        electorate: &Electorate,
        verdict: Verdict,
        mut judgements: Vec<Judgement>,
    ) -> Plan {
        let told = agreement.told;
        let narrowed = self.remembered.as_ref().map_or(Some(told), |remembered| remembered.narrow(told, switch));
        let refutes_memory = narrowed.is_none();
        let known = narrowed.unwrap_or(told);
        let survives = |index: &usize| judgements[*index].0 == Selection::Truechimer && electorate.speaks(*index);
        let voters: Vec<usize> =
            (0..self.sources.len()).filter(survives).filter(|&index| electorate.votes(index)).collect();
        let preferred = |index: &usize| self.sources[*index].standing.options.prefer;
        let any_preferred = (0..self.sources.len()).filter(survives).any(|index| preferred(&index));
        let survivors: Vec<(usize, Voice)> = (testimonies.iter().enumerate())
            .filter(|(index, _)| survives(index) && (preferred(index) || !any_preferred))
            .filter_map(|(index, testimony)| Some((index, self.voice(index, testimony.as_ref()?, switch))))
            .collect();
        let voices: Vec<Voice> = survivors.iter().map(|(_, voice)| *voice).collect();
        let Some(consensus) = cluster::combine(&voices, known.offset) else {
            return self.hold(State::Holdover, false, verdict, judgements);
        };
        for ((index, _), apart) in survivors.iter().zip(&consensus.apart) {
            judgements[*index].1 = apart.map(Objection::Apart);
        }
        let members = survivors.iter().zip(&consensus.apart).filter(|(_, apart)| apart.is_none());
        let widths: Vec<(usize, Nanos)> =
            members.map(|((index, _), _)| (*index, self.sources[*index].width())).collect();
        let primary = cluster::lead(&widths, self.verdict.primary.map(|primary| primary.source));
        let frequency = known.frequency.clamp(consensus.frequency);

        // What was shown before a disruption, or by a memory that proves wrong, is no line to continue.
        let disrupted = self.model.state == State::Disrupted || self.disruption.is_some();
        let continues = self.model.has_line() && !disrupted && !refutes_memory;
        let former = continues.then_some(&self.model.line);
        // The consensus is a guess, the interval is what holds: it is never left, whatever the guess.
        let target = UnixTime(switch.0) + known.offset.clamp(consensus.offset);
        let (line, epoch) = match steer(former, switch, target, frequency, self.settings.step_threshold) {
            Course::Slew(line) => (line, self.model.epoch),
            Course::Step(line) => (line, self.last_epoch + 1),
        };
        // The others may refine the estimate; what is known of UTC is as fresh as those who vouch for it.
        let sources = || voters.iter().map(|&index| &self.sources[index]);
        let newest = sources().filter_map(|source| source.newest()).map(|newest| newest.at).max();
        let model = ClockModel {
            line,
            span: self.utc_span(switch, &known),
            state: State::Synchronized,
            leap: self.leap(&voters, target),
            flags: self.flags(switch, &voters, &survivors),
            epoch,
            holdover_at: sources().filter_map(|source| source.fresh_until()).max().unwrap_or(switch),
            bound_cap: self.settings.bound_cap,
            newest_exchange: newest.unwrap_or(switch),
        };
        let primary = primary.and_then(|source| self.primary(source));
        let verdict = Verdict { frequency, deviation: Some(consensus.deviation), primary, ..verdict };
        let heard = Some(self.utc_span(switch, &told));
        let unreviewed = self.resting_on(&voters, &survivors).any(Source::awaits_review);
        Plan { model, verdict, judgements, voters: Vec::new(), agreed: None, heard, refutes_memory, unreviewed }
    }

    /// What source `index` says to the others at `switch`.
    fn voice(&self, index: usize, testimony: &Testimony, switch: Counter) -> Voice {
        let estimate = &testimony.estimate;
        let frequency_deviation = self.sources[index].frequency().deviation;
        let since = (switch - estimate.at).gain(frequency_deviation).as_f64();
        Voice {
            offset: estimate.offset_at(switch),
            deviation: Nanos::from_f64_outward(estimate.deviation.as_f64().hypot(since)),
            half_width: testimony.witness.offset.half_width(),
            frequency: estimate.frequency,
            frequency_deviation,
            was_apart: self.sources[index].is_apart(),
        }
    }

    fn primary(&self, index: usize) -> Option<Primary> {
        let source = &self.sources[index];
        let delay = source.newest().map_or(Nanos::ZERO, |newest| newest.delay.max(Nanos::ZERO));
        let reference_id = source.address().map_or(0, |address| packet::reference_id(address.ip()));
        source.server.map(|server| Primary { source: index, server, delay, reference_id })
    }

    /// The model when nothing new can be said: what was published goes on as `state`, its interval growing.
    fn hold(&self, state: State, vetoed: bool, verdict: Verdict, judgements: Vec<Judgement>) -> Plan {
        let state = if self.model.has_line() { state } else { State::Unsynchronized };
        let Verdict { frequency, deviation, primary, .. } = self.verdict;
        let verdict = Verdict { frequency, deviation, primary, ..verdict };
        let flags = self.model.flags.with(Flags::VETOED, vetoed);
        let model = ClockModel { state, flags, ..self.model };
        Plan {
            model,
            verdict,
            judgements,
            voters: Vec::new(),
            agreed: None,
            heard: None,
            refutes_memory: false,
            unreviewed: false,
        }
    }

    /// Whether servers that are not polled contradict those that are.
    fn is_vetoed(&self) -> bool {
        self.rounds.as_ref().is_some_and(Rounds::veto)
    }

    fn utc_span(&self, at: Counter, known: &Witness) -> UtcSpan {
        UtcSpan {
            at,
            earliest: UnixTime(at.0) + known.offset.low,
            latest: UnixTime(at.0) + known.offset.high,
            slowest: Rate::from_ppb_down(known.frequency.low),
            fastest: Rate::from_ppb_up(known.frequency.high),
            knee: known.horizon,
            drift_long: Rate::from_ppb_up(self.settings.drift.long),
        }
    }

    /// The sources that interval and estimate rest on.
    fn resting_on<'a>(
        &'a self,
        voters: &'a [usize],
        survivors: &'a [(usize, Voice)],
    ) -> impl Iterator<Item = &'a Source> {
        let all = voters.iter().chain(survivors.iter().map(|(index, _)| index));
        all.map(|&index| &self.sources[index])
    }

    /// What can be said of all of them together, and of what is remembered as long as that has a say.
    fn flags(&self, switch: Counter, voters: &[usize], survivors: &[(usize, Voice)]) -> Flags {
        let authenticated = self.resting_on(voters, survivors).all(|source| {
            source.standing.is_authenticated() && source.nts().is_none_or(|nts| nts.basis() == Some(Basis::Obtained))
        });
        let remembered = self.remembered.as_ref();
        let known = remembered.is_none_or(|remembered| remembered.is_authenticated_or_silent(switch));
        let provisional = self.resting_on(voters, survivors).any(Source::is_provisional);
        Flags::default().with(Flags::AUTHENTICATED, authenticated && known).with(Flags::PROVISIONAL, provisional)
    }

    /// The leap second that more than half of the `voters` announce, in a month at whose end there may be one: as yet
    /// all were at the end of June or December, the first choice of ITU-R TF.460-6, and a warning in another month has
    /// so far always been a fault of a server's.
    fn leap(&self, voters: &[usize], utc: UnixTime) -> Leap {
        if ![6, 12].contains(&utc.month()) {
            return Leap::None;
        }
        let announced = |leap| {
            let votes = voters.iter().filter(|&&index| self.sources[index].server.is_some_and(|s| s.leap == leap));
            votes.count() * 2 > voters.len()
        };
        [Leap::Insert, Leap::Delete].into_iter().find(|&leap| announced(leap)).unwrap_or(Leap::None)
    }

    /// What source `index` and its duplicates testify together: they count once, and either may be the one that lies
    /// about being the other. So the union of what they say is what one of them vouches for; but who is trusted more
    /// need not answer for who is trusted less. `None` from a duplicate, and from a source that has nothing to say
    /// itself.
    fn unite(&self, index: usize, testimonies: &[Option<Testimony>], duplicates: &[Option<usize>]) -> Option<Witness> {
        if duplicates[index].is_some() {
            return None;
        }
        let own = testimonies[index].as_ref()?.witness;
        let rank = |index: usize| self.sources[index].rank();
        let others = duplicates
            .iter()
            .zip(testimonies)
            .enumerate()
            .filter(|(other, (original, _))| **original == Some(index) && rank(*other) == rank(index));
        Some(others.filter_map(|(_, (_, testimony))| testimony.as_ref()).fold(own, |all, one| all.hull(&one.witness)))
    }
}
