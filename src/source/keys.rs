//! A source that Network Time Security is asked for: its keys come and go with the server that fills its place.

use std::net::SocketAddr;

use super::{Fault, Source};
use crate::exchange::Refusal;
use crate::mac::Forgery;
use crate::nts::session::{Association, Grant, KeyFault, Reply};
use crate::nts::trust::{Basis, Invalid};
use crate::units::{Counter, UnixTime};

impl Source {
    pub(crate) fn nts(&self) -> Option<&Association> {
        self.nts.as_ref()
    }

    /// The keys it has are from a session whose certificate was not checked at a time that was obtained.
    pub(crate) fn awaits_review(&self) -> bool {
        self.nts.as_ref().and_then(Association::basis).is_some_and(|basis| basis != Basis::Obtained)
    }

    /// Nobody knows yet whether its certificate holds: it was checked at no clock's time.
    pub(crate) fn is_provisional(&self) -> bool {
        self.nts.as_ref().and_then(Association::basis) == Some(Basis::Floor)
    }

    /// How much depends on it, as [`Standing::rank`](super::Standing::rank) says; who is provisional stands with those
    /// that are not authenticated.
    pub(crate) fn rank(&self) -> u8 {
        if self.is_provisional() { 0 } else { self.standing.rank() }
    }

    /// Keys were exchanged: the server to ask from now on, and how.
    pub(crate) fn grant(&mut self, address: SocketAddr, grant: Grant, now: Counter) {
        self.assign(address, now);
        if let Some(nts) = &mut self.nts {
            nts.grant(grant);
        }
    }

    /// No keys were to be had; another attempt follows.
    pub(crate) fn handle_no_keys(&mut self, fault: &KeyFault, now: Counter) {
        let (KeyFault::Unreached(why) | KeyFault::Failed(why)) = fault;
        self.handle_no_address(why.clone(), now);
        let Some(nts) = &mut self.nts else { return };
        nts.handle_no_keys(fault, now);
        self.resolve_due = self.resolve_due.map(|due| due.max(nts.not_before()));
    }

    /// Keys are exchanged no more often than that, whoever wishes for it.
    pub(super) fn earliest_wish(&self, now: Counter) -> Counter {
        self.nts.as_ref().map_or(now, Association::not_before)
    }

    /// Wishes for other keys if those that there are have served for long.
    pub(super) fn renew_keys(&mut self, now: Counter) {
        if self.nts.as_ref().is_some_and(|nts| nts.is_to_be_renewed(now)) {
            self.wish_for_another(now);
        }
    }

    /// Checks the certificate of the session, at a time that was obtained.
    pub(crate) fn check_certificate(&self, at: UnixTime) -> Result<(), Invalid> {
        self.nts.as_ref().map_or(Ok(()), |nts| nts.check_certificate(at))
    }

    /// The certificate has passed that check.
    pub(crate) fn certify(&mut self) {
        self.nts.iter_mut().for_each(Association::certify);
    }

    /// It has not: what was said under these keys means nothing, and others are wanted.
    pub(crate) fn revoke(&mut self, why: &str, now: Counter) {
        self.nts.iter_mut().for_each(|nts| nts.revoke(why));
        self.pending = None;
        self.filter.clear();
        self.fault = Some(Fault::World(why.to_owned()));
        self.wish_for_another(now);
    }

    /// What a reply means for the keys, once it has been judged.
    pub(super) fn heed(&mut self, proof: Option<Reply>, refusal: Option<Refusal>) {
        let Some(nts) = &mut self.nts else { return };
        match proof {
            // One that answers another request may come again and again.
            Some(Reply::Proven(cookies)) if !refusal.is_some_and(Refusal::is_anonymous) => nts.accept(cookies),
            Some(Reply::Nak) if refusal == Some(Refusal::Forged(Forgery::Nak)) => nts.handle_nak(),
            _ => {}
        }
    }
}
