//! The core's account of itself: the report and the source table.

use super::{Plan, Primary, Synchronizer, Verdict};
use crate::exchange::{Reference, root_dispersion};
use crate::model::ClockModel;
use crate::nts::Algorithm;
use crate::nts::session::Association;
use crate::nts::trust::Basis;
use crate::source::Source;
use crate::status::{Leap, NtsInfo, NtsState, Report, Role, SourceInfo};
use crate::units::{Counter, Nanos, NtpShort, NtpTime, UnixTime};

impl Primary {
    fn root_delay(&self) -> Nanos {
        self.server.root_delay + self.delay
    }
}

/// When the clock was set last, if ever.
fn reference_time(model: &ClockModel) -> Option<UnixTime> {
    model.has_line().then(|| model.line.utc_at(model.newest_exchange))
}

impl Synchronizer {
    /// The clock in numbers, as a reader at `now` would find it.
    pub(crate) fn report(&self, now: Counter) -> Report {
        self.report_of(&self.model, &self.verdict, self.steps, now)
    }

    /// The same as it will be at `now` if `plan` is committed.
    pub(crate) fn report_with(&self, plan: &Plan, now: Counter) -> Report {
        self.report_of(&plan.model, &plan.verdict, self.steps_with(plan), now)
    }

    fn report_of(&self, model: &ClockModel, verdict: &Verdict, steps: u32, now: Counter) -> Report {
        let bound = if model.state_at(now).is_usable() {
            let (earliest, utc, latest) = model.at(now);
            (utc - earliest).max(latest - utc)
        } else {
            Nanos::MAX
        };
        let primary = verdict.primary;
        let root_delay = primary.map_or(Nanos::ZERO, |primary| primary.root_delay());
        Report {
            state: model.state_at(now),
            epoch: model.epoch,
            steps,
            configured: verdict.configured as u32,
            answering: verdict.answering as u32,
            agreeing: verdict.agreeing as u32,
            fault_limit: verdict.faults as u32,
            faults_exceeded: verdict.faults_exceeded,
            frequency_ppb: verdict.frequency.0,
            estimated_error_ns: verdict.deviation.map_or(i64::MAX, |deviation| deviation.0),
            bound_ns: bound.0,
            stratum: primary.map_or(16, |primary| primary.server.stratum.saturating_add(1).min(16)),
            root_delay_ns: root_delay.0,
            root_dispersion_ns: root_dispersion(bound, root_delay).0,
            reference_id: primary.map_or(0, |primary| primary.reference_id),
            reference_time_ns: reference_time(model).map_or(0, |time| time.0),
            leap: model.leap,
            exchanges: self.sources.iter().map(|source| source.exchanges).sum(),
            rejected: self.sources.iter().map(|source| source.rejected).sum(),
            flags: model.flags,
            role: Role::Alone,
            leader_pid: 0,
        }
    }

    /// What a server of ours says of its own reference, as a client finds it on the wire; `None` as long as there is
    /// nothing to say.
    pub(super) fn reference(&self) -> Option<Reference> {
        let primary = self.verdict.primary?;
        let time = NtpTime::from_unix(reference_time(&self.model)?).resolve(self.pivot);
        let root_delay = NtpShort::from_nanos_up(primary.root_delay()).nanos_up();
        Some(Reference { id: primary.reference_id, time: Some(time), root_delay })
    }

    /// The sources in order; their names are the engine's to fill in.
    pub(crate) fn source_infos(&self, now: Counter) -> Vec<SourceInfo> {
        self.sources.iter().map(|source| self.source_info(source, now)).collect()
    }

    fn source_info(&self, source: &Source, now: Counter) -> SourceInfo {
        let testimony = source.testimony(now, &self.settings);
        let ours = self.model.has_line().then(|| self.model.line.utc_at(now) - UnixTime(now.0));
        let newest = source.newest();
        let server = source.server;
        SourceInfo {
            name: String::new(),
            address: source.address(),
            selection: source.selection,
            reach: source.reach(),
            poll_exponent: source.poll_exponent(),
            stratum: server.map_or(0, |server| server.stratum),
            leap: server.map_or(Leap::Unknown, |server| server.leap),
            offset_ns: match (&testimony, ours) {
                (Some(testimony), Some(ours)) => (testimony.estimate.offset_at(now) - ours).0,
                _ => i64::MAX,
            },
            delay_ns: newest.map_or(i64::MAX, |newest| newest.delay.0),
            estimated_error_ns: testimony.as_ref().map_or(i64::MAX, |testimony| testimony.estimate.deviation.0),
            bound_ns: testimony.as_ref().map_or(i64::MAX, |testimony| testimony.witness.offset.half_width().0),
            root_delay_ns: server.map_or(0, |server| server.root_delay.0),
            root_dispersion_ns: server.map_or(0, |server| server.root_dispersion.0),
            reference_id: server.map_or(0, |server| server.reference_id),
            age_ns: newest.map_or(i64::MAX, |newest| (now - newest.at).0),
            exchanges: source.exchanges,
            rejected: source.rejected,
            restarts: source.restarts,
            nts: source.nts().map(nts_info).unwrap_or_default(),
            fault: source.complaint(),
            authenticated: source.standing.is_authenticated(),
            options: source.standing.options,
            refusals: source.refusals,
        }
    }
}

fn nts_info(nts: &Association) -> NtsInfo {
    NtsInfo {
        state: match nts.basis() {
            None => NtsState::NoKeys,
            Some(Basis::Floor) => NtsState::Provisional,
            Some(Basis::Host) => NtsState::Unreviewed,
            Some(Basis::Obtained) => NtsState::Authenticated,
        },
        algorithm: nts.algorithm().map_or(0, Algorithm::number),
        // Eight at most.
        cookies: nts.cookies() as u8,
        key_exchanges: nts.key_exchanges,
        naks: nts.naks,
        fault: nts.fault.clone(),
    }
}
