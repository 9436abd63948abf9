//! Keys and certificates of the sources that ask for Network Time Security, and at which time they are checked
//! ([`crate::nts::trust`]).

use std::net::SocketAddr;

use super::{SourceId, Synchronizer};
use crate::nts::session::{Grant, KeyFault};
use crate::nts::trust::CertificateTime;
use crate::source::Source;
use crate::status::{Flags, State};
use crate::units::{Counter, UnixTime};

impl Synchronizer {
    /// Source `id` asks for Network Time Security; to be said before anything else is asked about it.
    pub(crate) fn require_nts(&mut self, id: SourceId, now: Counter) {
        self.sources[id.0].require_nts(now);
    }

    /// UTC is known not to be before `floor`.
    pub(crate) fn raise_floor(&mut self, floor: UnixTime) {
        self.floor = self.floor.max(floor);
    }

    /// The time to check a certificate at, where the host's clock shows `host`.
    #[cfg_attr(not(feature = "_nts"), expect(dead_code, reason = "without ciphers nobody grants keys"))]
    pub(crate) fn certificate_time(&self, host: UnixTime, now: Counter) -> CertificateTime {
        // What plain sources say of the time is no better than what the host's clock says.
        let sure = self.model.state_at(now).is_usable() && self.model.flags.contains(Flags::AUTHENTICATED);
        CertificateTime::choose(self.floor, host, sure.then(|| self.model.line.utc_at(now)))
    }

    /// Answers an address wish of a source with NTS.
    #[cfg_attr(not(feature = "_nts"), expect(dead_code, reason = "without ciphers nobody grants keys"))]
    pub(crate) fn grant(&mut self, id: SourceId, address: SocketAddr, grant: Grant, now: Counter) {
        self.sources[id.0].grant(address, grant, now);
        self.dirty = true;
    }

    /// Answers an address wish of a source with NTS: there are no keys.
    #[cfg_attr(not(feature = "_nts"), expect(dead_code, reason = "without ciphers nobody grants keys"))]
    pub(crate) fn handle_no_keys(&mut self, id: SourceId, fault: &KeyFault, now: Counter) {
        self.sources[id.0].handle_no_keys(fault, now);
        self.dirty = true;
    }

    /// Checks the certificates that await it, if enough sources agree on a time; to be called before a plan is published.
    ///
    /// A source whose certificate does not hold at that time has no say in it, and the rest are asked again. If they are
    /// not enough to agree on a time, and something was published that rests on such a certificate, all is begun anew.
    pub(crate) fn review(&mut self, now: Counter) {
        let mut lost = false;
        while self.sources.iter().any(Source::awaits_review) {
            let Some((obtained, latest)) = self.obtained_time(now) else { break };
            // Nothing is marked before all have passed: who fails has helped to agree on the time.
            let judge = |source: &Source| match source.check_certificate(obtained) {
                _ if latest < self.floor => Some("the time obtained is before what it is known to be after".to_owned()),
                Ok(()) => None,
                Err(invalid) => Some(format!("at the time obtained, {obtained}: {invalid}")),
            };
            let verdicts: Vec<Option<String>> =
                (self.sources.iter()).map(|source| if source.awaits_review() { judge(source) } else { None }).collect();
            let all_hold = verdicts.iter().all(Option::is_none);
            for (source, verdict) in self.sources.iter_mut().zip(&verdicts) {
                match verdict {
                    Some(why) => source.revoke(why, now),
                    None if all_hold => source.certify(),
                    None => {}
                }
            }
            self.dirty = true;
            lost |= !all_hold;
        }
        if lost && self.unreviewed && self.obtained_time(now).is_none() {
            self.unreviewed = false;
            self.handle_disruption(now);
        }
    }

    /// The time that enough sources agree on, and the latest it can be: of three or more sources the majority of all,
    /// of one or two those that answer.
    fn obtained_time(&self, now: Counter) -> Option<(UnixTime, UnixTime)> {
        let plan = self.plan(now);
        let (agreeing, configured) = (plan.verdict.agreeing, plan.verdict.configured);
        let enough = configured <= 2 || agreeing * 2 > configured;
        let (_, utc, latest) = plan.model.at(now);
        (plan.model.state == State::Synchronized && enough).then_some((utc, latest))
    }
}
