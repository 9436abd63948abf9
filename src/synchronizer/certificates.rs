//! Keys and certificates of the sources that ask for Network Time Security, and at which time they are checked
//! ([`crate::nts::trust`]).

use std::net::SocketAddr;

use super::plan::{Judgement, Purpose};
use super::{SourceId, Synchronizer};
use crate::nts::session::{Grant, KeyFault};
use crate::nts::trust::CertificateTime;
use crate::source::Source;
use crate::status::{Flags, Selection, State};
use crate::units::{Counter, UnixTime};

impl Synchronizer {
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
        let Some(source) = self.sources.get_mut(id.0) else { return };
        source.grant(address, grant, now);
        self.dirty = true;
    }

    /// Answers an address wish of a source with NTS: there are no keys.
    #[cfg_attr(not(feature = "_nts"), expect(dead_code, reason = "without ciphers nobody grants keys"))]
    pub(crate) fn handle_no_keys(&mut self, id: SourceId, fault: &KeyFault, now: Counter) {
        self.of(id).for_each(|source| source.handle_no_keys(fault, now));
        self.dirty = true;
    }

    /// Checks the certificates that await it, if enough sources agree on a time; to be called before a plan is
    /// published.
    ///
    /// It must hold at the time that the source tells itself, too: it may be alone with that one afterwards, and
    /// trusted. Of a source that tells none at present nothing is certified. A source whose certificate does not hold
    /// at that time has no say in it, and the rest are asked again. If they are not enough to agree on a time, and
    /// something was published that rests on such a certificate, all is begun anew.
    pub(crate) fn review(&mut self, now: Counter) {
        let mut lost = false;
        while self.sources.iter().any(Source::awaits_review) {
            let Some((obtained, latest)) = self.obtained_time(now) else { break };
            // Nothing is marked before all have passed: who fails has helped to agree on the time.
            let judge = |source: &Source| {
                if latest < self.floor {
                    return Some("the time obtained is before what it is known to be after".to_owned());
                }
                let own = self.told_by(source, now);
                let times = [Some(("the time obtained", obtained)), own.map(|own| ("the time that it tells", own))];
                times.into_iter().flatten().find_map(|(which, at)| {
                    source.check_certificate(at).err().map(|invalid| format!("at {which}, {at}: {invalid}"))
                })
            };
            let verdicts: Vec<Option<String>> =
                (self.sources.iter()).map(|source| if source.awaits_review() { judge(source) } else { None }).collect();
            let all_hold = verdicts.iter().all(Option::is_none);
            let tells: Vec<bool> = self.sources.iter().map(|source| self.told_by(source, now).is_some()).collect();
            for (source, (verdict, tells)) in self.sources.iter_mut().zip(verdicts.iter().zip(tells)) {
                match verdict {
                    Some(why) => source.revoke(why, now),
                    None if all_hold && tells && source.awaits_review() => source.certify(),
                    None => continue,
                }
                self.dirty = true;
            }
            if all_hold {
                break;
            }
            lost = true;
        }
        if lost && self.unreviewed && self.obtained_time(now).is_none() {
            self.unreviewed = false;
            self.handle_disruption(now);
        }
    }

    /// What `source` says that it is.
    fn told_by(&self, source: &Source, now: Counter) -> Option<UnixTime> {
        source.testimony(now, &self.settings).map(|told| UnixTime(now.0) + told.estimate.offset_at(now))
    }

    /// The time that enough authenticated sources agree on, and the latest it can be: of three or more of them the
    /// majority of all, of one or two those that answer. What others say of it proves nothing, however many they are.
    fn obtained_time(&self, now: Counter) -> Option<(UnixTime, UnixTime)> {
        let plan = self.plan_for(Purpose::Review, now);
        let has_a_say = |(source, (selection, _)): &(&Source, &Judgement)| {
            *selection != Selection::Duplicate && source.standing.is_authenticated()
        };
        let configured = self.sources.iter().zip(&plan.judgements).filter(has_a_say).count();
        let agreeing = plan.verdict.agreeing;
        let enough = configured <= 2 || agreeing * 2 > configured;
        let (_, utc, latest) = plan.model.at(now);
        (plan.model.state == State::Synchronized && enough).then_some((utc, latest))
    }
}

#[cfg(feature = "_nts")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Authentication, Settings};
    use crate::nts::Algorithm;
    use crate::nts::session::tests::Server;
    use crate::nts::trust::Basis;
    use crate::packet::{HEADER_LEN, Mode, Packet};
    use crate::source::{Chance, Standing};
    use crate::status::{NtsState, ServerOptions};
    use crate::units::{Nanos, NtpTime, unix_seconds};

    /// UTC when the counter begins, in seconds since 1970.
    const BEGIN: i64 = 1_795_000_000;
    const FLOOR: UnixTime = unix_seconds(BEGIN - 1_000_000);

    /// A core whose sources ask for NTS, but for the first ones, and their servers; those without one never answer.
    struct World {
        core: Synchronizer,
        servers: Vec<Option<Server>>,
        /// By how many seconds the servers are off.
        off: Vec<i64>,
        /// The first so many are not authenticated.
        plain: usize,
        now: Counter,
        /// Counts what chance has in store.
        chance: u8,
        /// Key exchanges that were wished for.
        wishes: Vec<(usize, Counter)>,
        /// States and flags that were shown, each once in a row.
        shown: Vec<(State, Flags)>,
    }

    impl World {
        /// `sources` of them; nobody has keys yet.
        fn new(sources: usize) -> Self {
            Self::beside(&[], sources, Settings::default())
        }

        /// After plain servers that are off by so many seconds, `sources` of them.
        fn beside(plain: &[i64], sources: usize, settings: Settings) -> Self {
            let settings = Settings { poll_min: 0, poll_max: 0, ..settings };
            let mut core = Synchronizer::new(settings, FLOOR, 0);
            for index in 0..plain.len() + sources {
                let options = ServerOptions { nts: index >= plain.len(), ..ServerOptions::default() };
                core.add_source_of(Standing { options, key: None }, Counter(0));
            }
            let servers = (0..plain.len() + sources).map(|_| None).collect();
            let off = plain.iter().copied().chain(std::iter::repeat_n(0, sources)).collect();
            let (plain, now) = (plain.len(), Counter(0));
            Self { core, servers, off, plain, now, chance: 0, wishes: Vec::new(), shown: Vec::new() }
        }

        /// Source `index` exchanges keys with a server whose certificate holds for so many seconds from the beginning
        /// on.
        fn grant(&mut self, index: usize, basis: Basis, holds: i64) {
            let (grant, server) = Server::grant(Algorithm::Aes128GcmSiv, 8, basis, BEGIN + holds);
            self.servers[index] = Some(server);
            self.core.grant(SourceId(index), ([192, 0, 2, index as u8 + 1], 123).into(), grant, self.now);
        }

        fn answer(&mut self, index: usize, request: &[u8]) -> Option<Vec<u8>> {
            let off = Nanos::from_seconds(self.off[index]);
            let utc = NtpTime::from_unix(unix_seconds(BEGIN) + off + (self.now - Counter(0)) + Nanos(100_000));
            let header = Packet {
                mode: Mode::Server,
                stratum: 1,
                precision: -25,
                origin: Packet::parse(request)?.transmit,
                receive: utc,
                transmit: utc,
                ..Packet::request(NtpTime::ZERO)
            };
            if index < self.plain {
                return Some(header.bytes().to_vec());
            }
            let server = self.servers[index].as_mut()?;
            let (unique, wanted) = server.read(request);
            Some(server.reply(&header, &unique, wanted))
        }

        fn run_until(&mut self, seconds: i64) {
            let end = Counter(0) + Nanos::from_seconds(seconds);
            while self.now < end {
                while self.core.expire(self.now).is_some() {}
                while let Some(id) = self.core.take_address_wish(self.now) {
                    if id.0 < self.plain {
                        self.core.assign(id, ([192, 0, 2, id.0 as u8 + 1], 123).into(), self.now);
                        continue;
                    }
                    self.wishes.push((id.0, self.now));
                    if self.servers[id.0].is_none() {
                        self.core.handle_no_keys(id, &KeyFault::Failed("nobody is there".into()), self.now);
                    }
                }
                loop {
                    self.chance = self.chance.wrapping_add(1);
                    let chance = Chance::new([self.chance.into(); 8]);
                    let Some(request) = self.core.poll_request(self.now, &chance) else { break };
                    let is_plain = request.datagram.len() == HEADER_LEN;
                    assert!(request.source.0 < self.plain || !is_plain, "a plain request was sent");
                    self.core.handle_sent(request.source, self.now, None, &[]);
                    if let Some(reply) = self.answer(request.source.0, &request.datagram) {
                        self.core.handle_datagram(request.source, &reply, self.now + Nanos(200_000));
                    }
                }
                if self.core.wants_plan(self.now) {
                    self.core.review(self.now);
                    let plan = self.core.plan(self.now);
                    self.core.commit(plan, self.now);
                    let model = self.core.model();
                    let shown = (model.state, model.flags);
                    if self.shown.last() != Some(&shown) {
                        self.shown.push(shown);
                    }
                }
                self.now = self.core.next_due(self.now).max(self.now + Nanos(1)).min(end.max(self.now + Nanos(1)));
            }
        }

        fn state_of(&self, index: usize) -> NtsState {
            self.core.source_infos(self.now)[index].nts.state
        }

        fn has_shown(&self, state: State) -> bool {
            self.shown.iter().any(|(shown, _)| *shown == state)
        }
    }

    const SURE: (State, Flags) = (State::Synchronized, Flags::AUTHENTICATED);
    const PROVISIONAL: (State, Flags) = (State::Synchronized, Flags::PROVISIONAL);

    #[test]
    fn a_lone_source_is_shown_only_after_its_certificate_held_at_the_time_that_it_told() {
        for basis in [Basis::Floor, Basis::Host] {
            let mut world = World::new(1);
            world.grant(0, basis, 1_000);
            world.run_until(20);
            assert_eq!(world.shown.last(), Some(&SURE), "{:?}", world.shown);
            assert!(!world.shown.contains(&PROVISIONAL), "{:?}", world.shown);
            assert_eq!(world.state_of(0), NtsState::Authenticated);
        }
    }

    #[test]
    fn a_lone_source_whose_certificate_has_expired_by_then_is_never_shown() {
        for basis in [Basis::Floor, Basis::Host] {
            let mut world = World::new(1);
            world.grant(0, basis, -1);
            world.run_until(30);
            assert!(!world.has_shown(State::Synchronized), "{:?}", world.shown);
            assert_eq!(world.state_of(0), NtsState::NoKeys);
            let told = &world.core.source_infos(world.now)[0];
            let fault = told.nts.fault.as_ref().unwrap();
            assert!(fault.contains("at the time obtained") && fault.contains("expired"), "{fault}");
            // That polls are missed for want of a cookie is due to that.
            assert_eq!(told.fault.as_ref(), Some(fault));
            // Other keys are asked for, and not all the time.
            assert!((1..=2).contains(&world.wishes.len()), "{:?}", world.wishes);
        }
    }

    #[test]
    fn who_answers_under_certificates_that_do_not_hold_is_asked_for_others_more_and_more_seldom() {
        let mut world = World::new(1);
        for second in 1..4_000 {
            let before = world.wishes.len();
            world.run_until(second);
            if world.wishes.len() > before {
                world.grant(0, Basis::Host, -1);
            }
        }
        let gaps: Vec<i64> = world.wishes.windows(2).map(|two| (two[1].1 - two[0].1).0 / 1_000_000_000).collect();
        assert_eq!(gaps, [16, 32, 64, 128, 256, 512, 1024]);
        assert!(!world.has_shown(State::Synchronized), "{:?}", world.shown);
    }

    #[test]
    fn of_three_sources_one_alone_is_provisional_until_most_of_them_agree() {
        let mut world = World::new(3);
        world.grant(0, Basis::Floor, 1_000);
        world.run_until(20);
        assert_eq!(world.shown.last(), Some(&PROVISIONAL), "{:?}", world.shown);
        assert_eq!(world.state_of(0), NtsState::Provisional);
        world.grant(1, Basis::Floor, 1_000);
        world.run_until(40);
        assert_eq!(world.shown.last(), Some(&SURE), "{:?}", world.shown);
        assert_eq!(world.state_of(0), NtsState::Authenticated);
        assert!(!world.has_shown(State::Disrupted));
        assert_eq!(world.core.report(world.now).steps, 0);
    }

    #[test]
    fn whose_certificate_does_not_hold_at_the_time_that_most_agree_on_has_no_say() {
        let mut world = World::new(3);
        world.grant(0, Basis::Floor, -1);
        world.grant(1, Basis::Floor, 1_000);
        world.grant(2, Basis::Host, 1_000);
        world.run_until(20);
        assert_eq!(world.shown.last(), Some(&SURE), "{:?}", world.shown);
        assert_eq!(world.state_of(0), NtsState::NoKeys);
        assert_eq!(world.core.report(world.now).agreeing, 2);
    }

    #[test]
    fn where_the_majority_is_lost_that_way_all_is_begun_anew() {
        let mut world = World::new(3);
        world.grant(0, Basis::Floor, -1);
        world.run_until(20);
        assert_eq!(world.shown.last(), Some(&PROVISIONAL), "{:?}", world.shown);
        // Two of three agree, on a time at which one of them is nobody.
        world.grant(1, Basis::Floor, 1_000);
        world.run_until(25);
        assert!(world.has_shown(State::Disrupted), "{:?}", world.shown);
        assert_eq!(world.state_of(0), NtsState::NoKeys);
        world.grant(2, Basis::Floor, 1_000);
        world.run_until(60);
        assert_eq!(world.shown.last(), Some(&SURE), "{:?}", world.shown);
        assert_eq!(world.core.report(world.now).steps, 1);
    }

    #[test]
    fn a_time_before_the_floor_is_no_time() {
        let mut world = World::new(1);
        world.core.raise_floor(unix_seconds(BEGIN + 1_000_000));
        world.grant(0, Basis::Floor, 2_000_000);
        world.run_until(20);
        assert!(!world.has_shown(State::Synchronized), "{:?}", world.shown);
    }

    /// Every level of authentication beside the default one.
    fn levels() -> [Settings; 3] {
        [Authentication::Ignore, Authentication::Mix, Authentication::Require]
            .map(|authentication| Settings { authentication, ..Settings::default() })
    }

    #[test]
    fn what_plain_servers_say_of_the_time_changes_nothing_about_a_certificate() {
        for settings in levels() {
            // A stolen key, whose certificate has expired; the day before yesterday it held.
            let mut world = World::beside(&[0, 0, 0], 1, settings.clone());
            world.off[3] = -200_000;
            world.grant(3, Basis::Floor, -100_000);
            world.run_until(60);
            let right =
                |utc: UnixTime| (utc - unix_seconds(BEGIN) - (world.now - Counter(0))).abs() < Nanos::from_seconds(1);
            match settings.authentication {
                Authentication::Ignore => {
                    assert!(right(world.core.model().line.utc_at(world.now)), "{:?}", world.shown);
                    assert!(world.shown.iter().all(|(_, flags)| *flags == Flags::default()), "{:?}", world.shown);
                }
                // As if it were alone.
                Authentication::Mix | Authentication::Require => assert_eq!(world.shown.last(), Some(&SURE)),
            }
            // It is checked at the time that it tells, and held then.
            assert_eq!(world.state_of(3), NtsState::Authenticated);
        }
    }

    #[test]
    fn who_is_provisional_and_right_is_as_good_as_any_once_the_others_have_told_the_time() {
        for settings in levels() {
            let mut world = World::beside(&[0, 0, 0], 1, settings.clone());
            world.grant(3, Basis::Floor, 1_000);
            world.run_until(20);
            assert_eq!(world.state_of(3), NtsState::Authenticated, "{settings:?}");
            assert!(world.shown.iter().all(|(_, flags)| flags.0 & Flags::PROVISIONAL.0 == 0), "{:?}", world.shown);
            assert!(world.has_shown(State::Synchronized), "{:?}", world.shown);
        }
    }

    #[test]
    fn plain_liars_cannot_have_a_certificate_checked_at_a_time_that_it_does_not_tell_itself() {
        // They say when it held; it says now, when it does not.
        let mut world = World::beside(&[-200_000; 3], 1, Settings::default());
        world.grant(3, Basis::Floor, -100_000);
        world.run_until(60);
        assert_eq!(world.state_of(3), NtsState::NoKeys);
        let fault = world.core.source_infos(world.now)[3].nts.fault.clone().unwrap();
        assert!(fault.contains("expired") && !world.has_shown(State::Synchronized), "{fault}");
    }

    #[test]
    fn plain_replies_do_not_help_to_a_majority_that_has_a_certificate_hold() {
        for settings in levels() {
            // One of three has keys, and a certificate of the day before yesterday; whoever has it forges plain
            // replies, too.
            let mut world = World::beside(&[-200_000; 3], 3, settings.clone());
            world.off[3] = -200_000;
            world.grant(3, Basis::Floor, -100_000);
            world.run_until(60);
            assert_eq!(world.state_of(3), NtsState::Provisional, "{settings:?}");
            assert!(!world.shown.contains(&SURE), "{:?}", world.shown);
        }
    }

    #[test]
    fn who_tells_no_time_is_not_certified_at_that_of_another() {
        let mut world = World::new(2);
        world.grant(0, Basis::Floor, 1_000);
        world.grant(1, Basis::Floor, 1_000);
        let silent = world.servers[1].take();
        world.run_until(9);
        assert_eq!((world.state_of(0), world.state_of(1)), (NtsState::Authenticated, NtsState::Provisional));
        assert_eq!(world.shown.last(), Some(&SURE), "{:?}", world.shown);
        world.servers[1] = silent;
        world.run_until(30);
        assert_eq!(world.state_of(1), NtsState::Authenticated);
    }

    #[test]
    fn a_poll_that_is_missed_for_want_of_a_cookie_is_news() {
        let mut world = World::new(1);
        let (grant, server) = Server::grant(Algorithm::Aes128GcmSiv, 1, Basis::Host, BEGIN + 1_000);
        world.core.grant(SourceId(0), ([192, 0, 2, 1], 123).into(), grant, world.now);
        let plan = world.core.plan(world.now);
        world.core.commit(plan, world.now);
        world.servers[0] = Some(server);
        let chance = Chance::new([1; 8]);
        let request = world.core.poll_request(world.now, &chance).unwrap();
        assert!(!world.core.wants_plan(world.now));
        world.core.handle_failure(request.source, "unreachable".into(), world.now);
        let plan = world.core.plan(world.now);
        world.core.commit(plan, world.now);
        let due = world.now + Nanos::from_seconds(100);
        assert!(world.core.poll_request(due, &chance).is_none());
        assert!(world.core.wants_plan(due));
        assert_eq!(world.core.source_infos(due)[0].fault.as_deref(), Some("there are no cookies left"));
    }

    #[test]
    fn who_is_provisional_is_outvoted_by_one_who_is_certain() {
        let [_, mix, require] = levels();
        for settings in [mix, require] {
            let mut world = World::beside(&[], 3, settings);
            world.off[1] = -200_000;
            world.off[2] = -200_000;
            world.grant(0, Basis::Host, 1_000);
            world.grant(1, Basis::Floor, -100_000);
            world.grant(2, Basis::Floor, -100_000);
            world.run_until(30);
            let utc = world.core.model().line.utc_at(world.now);
            assert!((utc - unix_seconds(BEGIN)).abs() < Nanos::from_seconds(60), "{utc} {:?}", world.shown);
        }
    }

    #[test]
    fn the_clock_itself_is_asked_for_the_time_as_soon_as_it_is_authenticated() {
        let mut world = World::new(1);
        let host = unix_seconds(0);
        assert_eq!(world.core.certificate_time(host, world.now).basis, Basis::Floor);
        world.grant(0, Basis::Floor, 1_000);
        world.run_until(20);
        let time = world.core.certificate_time(host, world.now);
        assert_eq!(time.basis, Basis::Obtained);
        assert!((time.at - (unix_seconds(BEGIN) + Nanos::from_seconds(20))).abs() < Nanos::from_millis(1));
    }

    #[test]
    fn plain_replies_are_counted_and_never_taken() {
        let mut world = World::new(1);
        world.grant(0, Basis::Host, 1_000);
        let chance = Chance::new([7; 8]);
        let request = world.core.poll_request(world.now, &chance).unwrap();
        world.core.handle_sent(request.source, world.now, None, &[]);
        let reply = world.answer(0, &request.datagram).unwrap();
        let outcome = world.core.handle_datagram(SourceId(0), &reply[..HEADER_LEN], world.now + Nanos(200_000));
        assert_eq!(outcome, crate::source::Outcome::Ignored);
        assert_eq!(world.core.source_infos(world.now)[0].rejected, 1);
        // The request is still open to the true one.
        let outcome = world.core.handle_datagram(SourceId(0), &reply, world.now + Nanos(200_000));
        assert_eq!(outcome, crate::source::Outcome::Accepted);
    }

    #[test]
    fn a_server_that_falls_silent_is_asked_for_keys_more_and_more_seldom() {
        let mut world = World::new(1);
        world.grant(0, Basis::Host, 1_000_000);
        world.run_until(20);
        world.servers[0] = None;
        world.run_until(3_000);
        let gaps: Vec<i64> = world.wishes.windows(2).map(|two| (two[1].1 - two[0].1).0 / 1_000_000_000).collect();
        assert!(world.wishes.len() < 12 && gaps.windows(2).all(|two| two[0] <= two[1] + 1), "{gaps:?}");
        assert_eq!(world.core.model().state_at(world.now), State::Holdover);
    }
}
