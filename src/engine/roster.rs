//! Which entry of the server list each source comes from, and which of a name's addresses it gets.
//!
//! One `host` is one source at one address at a time; a `pool:` fills up to four places from one name. A source that
//! wants another address gets one that no other source of its name has and that was not just given up; if there is
//! none, it keeps what it has.
//!
//! Who poisons one answer of the resolver, or rents one network, shall not fill a pool's places with servers of his
//! own. So at most half of them go to one network (/24 of IPv4, /48 of IPv6: what is handed out to one site), even if
//! others stay free: two servers of one site are as good as four. In private networks addresses tell nothing of who
//! owns what. And at most half stay with one answer, if there is another one: as nothing else is known at the start,
//! the first fills all places (half of them alone would be no less the attacker's), but later answers are asked for,
//! the next one after [`LOOK_SOON`], and addresses that the first did not offer take the places of some that it did,
//! one at a time, so that the others carry the clock. An answer that offers the same again, as a poisoned cache would,
//! is not another one; a name with a few fixed addresses has no choice.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::{Config, POOL_MEMBERS, SOURCES_MAX, ServerSpec};
use crate::engine::resolve::Addresses;
use crate::error::Error;
use crate::source::{Standing, is_private};
use crate::synchronizer::{SourceId, Synchronizer};
use crate::units::{Counter, Nanos};

/// One entry of the server list.
#[derive(Debug)]
struct Entry {
    spec: ServerSpec,
    standing: Standing,
    sources: Vec<SourceId>,
    /// Addresses given up because they were silent or false; the oldest are forgiven first.
    given_up: Vec<SocketAddr>,
    /// With NTS the addresses are those of key exchanges: who gave each source its keys.
    #[cfg(feature = "_nts")]
    exchangers: Vec<(SourceId, SocketAddr)>,
    /// What the first answer offered.
    first_answer: Vec<SocketAddr>,
    /// What any answer has offered, the latest last.
    offered: Vec<SocketAddr>,
    /// When a pool's name should be looked up for the sake of another answer, and how much later the next time.
    look_due: Option<Counter>,
    look_wait: Nanos,
    /// It is being looked up for that.
    looking: bool,
}

/// The most places of a pool that go to one network, or stay with one answer.
const SHARE: usize = POOL_MEMBERS / 2;

/// Addresses remembered of one name.
const OFFERED_MAX: usize = 256;

/// How soon another answer than the first is asked for. If it offers nothing else it may be a kept one: then it is
/// asked for later and later.
const LOOK_SOON: Nanos = Nanos::from_seconds(8);
const LOOK_GROWTH: i64 = 16;

/// How long until another answer is asked for in the end: longer than ordinary answers may be kept, and kind to name
/// servers.
const LOOK_INTERVAL: Nanos = Nanos::from_seconds(3600);

/// The network that an address stands for; `None` in private networks.
fn network(address: IpAddr) -> Option<[u8; 6]> {
    match address.to_canonical() {
        private if is_private(private) => None,
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            // No address of IPv6 that is in use begins like this.
            Some([0, 0, 0, a, b, c])
        }
        IpAddr::V6(v6) => v6.octets().first_chunk().copied(),
    }
}

impl Entry {
    fn has(&self, address: SocketAddr, core: &Synchronizer) -> bool {
        self.sources.iter().any(|&source| core.address(source) == Some(address))
    }

    /// How many of the sources, `but` one, are in the network of `address`.
    fn neighbours(&self, address: SocketAddr, but: Option<SourceId>, core: &Synchronizer) -> usize {
        let Some(own) = network(address.ip()) else { return 0 };
        let others = self.sources.iter().filter(|source| Some(**source) != but);
        others.filter_map(|&source| core.address(source)).filter(|other| network(other.ip()) == Some(own)).count()
    }

    fn note_offer(&mut self, found: &[SocketAddr]) {
        self.offered.retain(|address| !found.contains(address));
        self.offered.extend(found);
        let surplus = self.offered.len().saturating_sub(OFFERED_MAX);
        self.offered.drain(..surplus);
    }

    /// Those of `found` that may take the place of `id`, or a new one; the best first.
    fn free(&self, found: &[SocketAddr], id: Option<SourceId>, core: &Synchronizer) -> Vec<SocketAddr> {
        let neighbours = |address: &SocketAddr| self.neighbours(*address, id, core);
        let fits = |address: &SocketAddr| !self.spec.pool || neighbours(address) < SHARE;
        let mut free: Vec<SocketAddr> =
            found.iter().copied().filter(|address| !self.has(*address, core) && fits(address)).collect();
        // Never tried before given up, and given up long ago before given up lately; then where the fewest others are.
        let age =
            |address: &SocketAddr| self.given_up.iter().position(|other| other == address).map_or(0, |age| age + 1);
        free.sort_by_key(|address| (age(address), neighbours(address)));
        free
    }

    /// When to look for other answers again, after `now`; each time later.
    fn look_again(&mut self, of_use: bool, now: Counter) {
        self.look_due = of_use.then_some(now + self.look_wait);
        self.look_wait = Nanos(self.look_wait.0.saturating_mul(LOOK_GROWTH)).min(LOOK_INTERVAL);
    }

    /// Of its sources, one that is to make room for an address of another answer: the last, for those in front are
    /// known longest.
    fn superfluous(&self, core: &Synchronizer) -> Option<SourceId> {
        let offered = |source: &&SourceId| core.address(**source).is_some_and(|a| self.first_answer.contains(&a));
        let mut ours = self.sources.iter().filter(offered);
        if ours.clone().count() > SHARE { ours.next_back().copied() } else { None }
    }
}

/// All entries, and the source → entry relation.
#[derive(Debug)]
pub(crate) struct Roster {
    entries: Vec<Entry>,
    /// Servers that are not polled are of use, too.
    khronos: bool,
}

/// Where a source's address comes from.
pub(crate) enum Lookup {
    /// It is written in the list.
    Literal(SocketAddr),
    /// The resolver knows.
    Name { host: String, port: u16 },
    /// It comes with keys.
    #[cfg(feature = "_nts")]
    Keys(Exchanger),
}

/// Whom to exchange keys with.
#[cfg(feature = "_nts")]
pub(crate) struct Exchanger {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Addresses of the host that other sources of the entry have.
    pub(crate) taken: Vec<SocketAddr>,
    /// Addresses that others are preferred to, the longest ago given up first.
    pub(crate) given_up: Vec<SocketAddr>,
    /// Who gave the source the keys that it has.
    pub(crate) present: Option<SocketAddr>,
}

impl Roster {
    /// One source for each entry; pools grow when their name is first resolved.
    ///
    /// # Errors
    ///
    /// As [`Config::check`].
    pub(crate) fn new(config: &Config, core: &mut Synchronizer, now: Counter) -> Result<Self, Error> {
        let entry = |spec: &ServerSpec| {
            let standing = Standing { options: spec.options, key: config.key(spec)?.map(Arc::new) };
            let sources = vec![core.add_source_of(standing.clone(), now)];
            Ok(Entry {
                spec: spec.clone(),
                standing,
                sources,
                given_up: Vec::new(),
                first_answer: Vec::new(),
                offered: Vec::new(),
                look_due: None,
                look_wait: LOOK_SOON,
                looking: false,
                #[cfg(feature = "_nts")]
                exchangers: Vec::new(),
            })
        };
        Ok(Self {
            entries: config.servers.iter().map(entry).collect::<Result<_, _>>()?,
            khronos: config.settings.khronos,
        })
    }

    fn entry(&mut self, id: SourceId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.sources.contains(&id))
    }

    /// The entry's text, as the name of its sources.
    pub(crate) fn name(&self, id: SourceId) -> String {
        self.entries.iter().find(|entry| entry.sources.contains(&id)).map(|e| e.spec.to_string()).unwrap_or_default()
    }

    /// Where to look for the address of `id`.
    pub(crate) fn lookup(&mut self, id: SourceId) -> Option<Lookup> {
        let entry = self.entry(id)?;
        let spec = &entry.spec;
        #[cfg(feature = "_nts")]
        if spec.options.nts {
            let gave = |own: bool| {
                let exchangers = entry.exchangers.iter().filter(move |(source, _)| (*source == id) == own);
                exchangers.map(|(_, address)| *address)
            };
            let (present, taken) = (gave(true).next(), gave(false).collect());
            let (host, port, given_up) = (spec.host.clone(), spec.port, entry.given_up.clone());
            return Some(Lookup::Keys(Exchanger { host, port, taken, given_up, present }));
        }
        Some(match spec.host.parse::<IpAddr>() {
            Ok(literal) => Lookup::Literal(SocketAddr::new(literal, spec.port)),
            Err(_) => Lookup::Name { host: spec.host.clone(), port: spec.port },
        })
    }

    /// Source `id` was given no keys by these: the next time others come first.
    #[cfg(feature = "_nts")]
    pub(crate) fn handle_failed_exchangers(&mut self, id: SourceId, failed: &[SocketAddr]) {
        let Some(entry) = self.entry(id) else { return };
        entry.given_up.retain(|address| !failed.contains(address));
        entry.given_up.extend(failed);
        let surplus = entry.given_up.len().saturating_sub(OFFERED_MAX);
        entry.given_up.drain(..surplus);
    }

    /// Source `id` was given keys by `exchanger`, one of `known`. A pool's further places are for the others.
    #[cfg(feature = "_nts")]
    pub(crate) fn handle_exchanger(
        &mut self,
        id: SourceId,
        exchanger: SocketAddr,
        known: usize,
        core: &mut Synchronizer,
        now: Counter,
    ) {
        let Some(entry) = self.entry(id) else { return };
        let former = entry.exchangers.iter().position(|(source, _)| *source == id);
        let former = former.map(|place| entry.exchangers.swap_remove(place).1);
        entry.exchangers.push((id, exchanger));
        // Who was left for another has been given up; who was asked again has not.
        entry.given_up.retain(|address| *address != exchanger);
        entry.given_up.extend(former.filter(|former| *former != exchanger));
        let surplus = entry.given_up.len().saturating_sub(known.max(POOL_MEMBERS));
        entry.given_up.drain(..surplus);
        while entry.spec.pool && entry.sources.len() < POOL_MEMBERS.min(known) && core.source_count() < SOURCES_MAX {
            let member = core.add_source_of(entry.standing.clone(), now);
            entry.sources.push(member);
        }
    }

    /// When a name is to be looked up though no source wants an address.
    pub(crate) fn look_due(&self) -> Counter {
        self.entries.iter().filter_map(|entry| entry.look_due).min().unwrap_or(Counter(i64::MAX))
    }

    /// A source whose name is to be looked up now; each time is told once.
    pub(crate) fn take_look(&mut self, now: Counter) -> Option<SourceId> {
        let entry = self.entries.iter_mut().find(|entry| entry.look_due.is_some_and(|due| due <= now))?;
        (entry.look_due, entry.looking) = (None, true);
        entry.sources.first().copied()
    }

    /// Up to `count` servers of the pools that no source has, picked by chance, few of one network.
    pub(crate) fn sample(
        &self,
        count: usize,
        core: &Synchronizer,
        mut random: impl FnMut() -> Option<u64>,
    ) -> Vec<SocketAddr> {
        let polled = |address: &SocketAddr| self.entries.iter().any(|entry| entry.has(*address, core));
        let offered = self.entries.iter().filter(|entry| entry.spec.pool).flat_map(|entry| &entry.offered);
        let mut left: Vec<SocketAddr> = offered.copied().filter(|address| !polled(address)).collect();
        left.sort_unstable();
        left.dedup();
        let mut sample: Vec<SocketAddr> = Vec::new();
        while sample.len() < count && !left.is_empty() {
            let Some(random) = random() else { break };
            let address = left.swap_remove((random % left.len() as u64) as usize);
            let own = network(address.ip());
            let neighbours = sample.iter().filter(|other| own.is_some() && network(other.ip()) == own);
            if neighbours.count() < SHARE {
                sample.push(address);
            }
        }
        sample
    }

    /// What a lookup for `id` came to.
    pub(crate) fn handle_addresses(&mut self, id: SourceId, found: Addresses, core: &mut Synchronizer, now: Counter) {
        if let (Some(entry), Ok(found)) = (self.entry(id), &found) {
            entry.note_offer(found);
        }
        if self.entry(id).is_some_and(|entry| std::mem::take(&mut entry.looking)) {
            self.diversify(id, found.as_deref().unwrap_or_default(), core, now);
            // It may be the answer to a question of its own, too.
            if !core.awaits_address(id) {
                return;
            }
        }
        match found {
            Ok(found) => self.assign(id, &found, core, now),
            Err(why) => core.handle_no_address(id, format!("cannot be resolved: {why}"), now),
        }
    }

    /// Has an address of another answer than the first take the place of one, if there are too many of those.
    fn diversify(&mut self, id: SourceId, found: &[SocketAddr], core: &mut Synchronizer, now: Counter) {
        let khronos = self.khronos;
        let Some(entry) = self.entry(id) else { return };
        if let Some(superfluous) = entry.superfluous(core) {
            let others: Vec<SocketAddr> =
                found.iter().copied().filter(|address| !entry.first_answer.contains(address)).collect();
            if let Some(address) = entry.free(&others, Some(superfluous), core).first() {
                core.assign(superfluous, *address, now);
                entry.look_wait = LOOK_SOON;
            }
        }
        let of_use = khronos || entry.superfluous(core).is_some();
        entry.look_again(of_use, now);
    }

    /// Gives `id`, and for a pool the places still free, addresses out of `found`.
    pub(crate) fn assign(&mut self, id: SourceId, found: &[SocketAddr], core: &mut Synchronizer, now: Counter) {
        // The answer may be late: a source that has come back to its senses keeps what it has.
        if let Some(address) = core.address(id).filter(|_| !core.wants_address(id)) {
            core.assign(id, address, now);
            return;
        }
        let khronos = self.khronos;
        let Some(entry) = self.entry(id) else { return };
        let former = core.address(id);
        if let Some(former) = former {
            entry.given_up.retain(|address| *address != former);
            entry.given_up.push(former);
        }
        match entry.free(found, Some(id), core).first().copied().or(former) {
            Some(address) => core.assign(id, address, now),
            None => core.handle_no_address(id, "all addresses of the name are in use".to_owned(), now),
        }
        while entry.spec.pool && entry.sources.len() < POOL_MEMBERS && core.source_count() < SOURCES_MAX {
            let Some(address) = entry.free(found, None, core).first().copied() else { break };
            let member = core.add_source_of(entry.standing.clone(), now);
            entry.sources.push(member);
            core.assign(member, address, now);
        }
        if entry.spec.pool && entry.first_answer.is_empty() {
            entry.first_answer = found.to_vec();
            let of_use = khronos || entry.superfluous(core).is_some();
            entry.look_again(of_use, now);
        }
        let surplus = entry.given_up.len().saturating_sub(found.len().max(POOL_MEMBERS));
        entry.given_up.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::units::UnixTime;

    const NOW: Counter = Counter(0);

    fn roster(list: &[&str]) -> (Roster, Synchronizer) {
        let mut core = Synchronizer::new(Settings::default(), UnixTime(0), 0);
        let config = Config::with_servers(&list.join(",")).unwrap();
        (Roster::new(&config, &mut core, NOW).unwrap(), core)
    }

    fn addresses(last: std::ops::RangeInclusive<u8>) -> Vec<SocketAddr> {
        last.map(|last| SocketAddr::from(([127, 0, 0, last], 123))).collect()
    }

    fn in_use(core: &Synchronizer) -> Vec<u8> {
        let last = |index| match core.address(SourceId(index))?.ip() {
            IpAddr::V4(address) => Some(address.octets()[3]),
            IpAddr::V6(_) => None,
        };
        (0..core.source_count()).filter_map(last).collect()
    }

    #[test]
    fn a_pool_fills_four_places_and_a_host_one() {
        let (mut roster, mut core) = roster(&["pool:p", "h"]);
        roster.assign(SourceId(0), &addresses(1..=6), &mut core, NOW);
        assert_eq!(in_use(&core), [1, 2, 3, 4]);
        roster.assign(SourceId(1), &addresses(7..=9), &mut core, NOW);
        assert_eq!(core.source_count(), 5);
        assert_eq!(core.address(SourceId(1)), Some(addresses(7..=7)[0]));
        assert_eq!([0, 1, 2].map(|index| roster.name(SourceId(index))), ["pool:p", "h", "pool:p"]);
    }

    #[test]
    fn a_member_that_is_given_up_is_replaced_by_an_address_not_in_use() {
        let (mut roster, mut core) = roster(&["pool:p"]);
        roster.assign(SourceId(0), &addresses(1..=6), &mut core, NOW);
        roster.assign(SourceId(1), &addresses(1..=6), &mut core, NOW);
        assert_eq!(in_use(&core), [1, 5, 3, 4]);
        roster.assign(SourceId(1), &addresses(1..=6), &mut core, NOW);
        assert_eq!(in_use(&core), [1, 6, 3, 4]);
        // All were tried: the one given up longest ago comes back.
        roster.assign(SourceId(1), &addresses(1..=6), &mut core, NOW);
        assert_eq!(in_use(&core), [1, 2, 3, 4]);
    }

    #[test]
    fn where_nothing_better_is_found_the_address_stays() {
        let (mut roster, mut core) = roster(&["h"]);
        roster.assign(SourceId(0), &addresses(1..=1), &mut core, NOW);
        roster.assign(SourceId(0), &addresses(1..=1), &mut core, NOW);
        assert_eq!(in_use(&core), [1]);
    }

    #[cfg(feature = "_nts")]
    #[test]
    fn with_nts_each_place_of_a_pool_has_keys_of_its_own_and_who_was_left_comes_last() {
        let (mut roster, mut core) = roster(&["pool:p nts"]);
        let asked = |roster: &mut Roster, id| match roster.lookup(SourceId(id)) {
            Some(Lookup::Keys(exchanger)) => (exchanger.port, exchanger.taken, exchanger.given_up, exchanger.present),
            _ => panic!("it asks for keys"),
        };
        let known: Vec<SocketAddr> = addresses(1..=6);
        assert_eq!(asked(&mut roster, 0), (4460, vec![], vec![], None));
        roster.handle_exchanger(SourceId(0), known[0], 6, &mut core, NOW);
        assert_eq!(core.source_count(), 4);
        assert_eq!(asked(&mut roster, 1), (4460, vec![known[0]], vec![], None));
        roster.handle_exchanger(SourceId(1), known[1], 6, &mut core, NOW);
        assert_eq!(asked(&mut roster, 1), (4460, vec![known[0]], vec![], Some(known[1])));
        roster.handle_exchanger(SourceId(1), known[2], 6, &mut core, NOW);
        assert_eq!(asked(&mut roster, 1), (4460, vec![known[0]], vec![known[1]], Some(known[2])));
        assert_eq!((core.source_count(), roster.name(SourceId(3))), (4, "pool:p nts".to_owned()));
        // So do those that gave none, whoever else gives some now; and who does is forgiven.
        roster.handle_failed_exchangers(SourceId(1), &known[3..6]);
        assert_eq!(asked(&mut roster, 1).2, [known[1], known[3], known[4], known[5]]);
        roster.handle_failed_exchangers(SourceId(1), &known[3..4]);
        roster.handle_exchanger(SourceId(1), known[4], 6, &mut core, NOW);
        assert_eq!(asked(&mut roster, 1).2, [known[1], known[5], known[3], known[2]]);
    }

    #[cfg(feature = "_nts")]
    #[test]
    fn a_pool_has_no_more_places_than_its_name_has_addresses_and_a_host_has_one() {
        let (mut roster, mut core) = roster(&["pool:p nts", "h nts"]);
        roster.handle_exchanger(SourceId(0), addresses(1..=1)[0], 2, &mut core, NOW);
        roster.handle_exchanger(SourceId(1), addresses(3..=3)[0], 9, &mut core, NOW);
        assert_eq!(core.source_count(), 3);
    }

    #[test]
    fn a_literal_needs_no_resolver() {
        let (mut roster, _core) = roster(&["[::1]:9", "h:5"]);
        assert!(matches!(roster.lookup(SourceId(0)), Some(Lookup::Literal(a)) if a == "[::1]:9".parse().unwrap()));
        assert!(matches!(roster.lookup(SourceId(1)), Some(Lookup::Name { host, port: 5 }) if host == "h"));
    }

    fn in_networks(places: &[(u8, u8)]) -> Vec<SocketAddr> {
        places.iter().map(|(network, host)| SocketAddr::from(([198, 51, *network, *host], 123))).collect()
    }

    fn networks_of(core: &Synchronizer) -> Vec<u8> {
        let network = |index| match core.address(SourceId(index))?.ip() {
            IpAddr::V4(address) => Some(address.octets()[2]),
            IpAddr::V6(_) => None,
        };
        (0..core.source_count()).filter_map(network).collect()
    }

    /// (case 28)
    #[test]
    fn one_network_gets_half_of_a_pools_places_at_most_however_many_addresses_it_offers() {
        let many: Vec<(u8, u8)> = (1..=89).map(|host| (1, host)).collect();
        let (mut roster, mut core) = self::roster(&["pool:p"]);
        roster.assign(SourceId(0), &in_networks(&many), &mut core, NOW);
        assert_eq!(networks_of(&core), [1, 1]);

        let (mut roster, mut core) = self::roster(&["pool:p"]);
        let offered = [many.as_slice(), &[(2, 1), (2, 2), (2, 3), (3, 1)]].concat();
        roster.assign(SourceId(0), &in_networks(&offered), &mut core, NOW);
        assert_eq!(networks_of(&core), [1, 2, 3, 1]);
        // A member of another network does not make room for a third of the first.
        for _ in 0..9 {
            roster.assign(SourceId(1), &in_networks(&offered), &mut core, NOW);
            assert!(networks_of(&core).iter().filter(|network| **network == 1).count() <= 2);
        }
    }

    #[test]
    fn networks_are_as_large_as_a_site_is_given_and_private_ones_are_none() {
        let network = |text: &str| super::network(text.parse().unwrap());
        assert_eq!(network("198.51.100.1"), network("198.51.100.254"));
        assert_eq!(network("198.51.100.1"), network("::ffff:198.51.100.9"));
        assert_ne!(network("198.51.100.1"), network("198.51.101.1"));
        assert_eq!(network("2001:db8:1::1"), network("2001:db8:1:ff::2"));
        assert_ne!(network("2001:db8:1::1"), network("2001:db8:2::1"));
        for private in ["127.0.0.1", "10.1.2.3", "192.168.1.1", "169.254.1.1", "::1", "fd00::1", "fe80::1"] {
            assert_eq!(network(private), None, "{private}");
        }
    }

    /// (case 28)
    #[test]
    fn half_of_a_pools_places_go_to_addresses_that_the_first_answer_did_not_offer_when_there_are_any() {
        let (mut roster, mut core) = roster(&["pool:p"]);
        roster.handle_addresses(SourceId(0), Ok(addresses(1..=4)), &mut core, NOW);
        assert_eq!(in_use(&core), [1, 2, 3, 4]);
        let mut now = NOW;
        let mut look = |found: Addresses, roster: &mut Roster, core: &mut Synchronizer| {
            assert_eq!(roster.take_look(now), None);
            now = roster.look_due();
            assert_eq!(roster.take_look(now), Some(SourceId(0)));
            roster.handle_addresses(SourceId(0), found, core, now);
        };
        // The same once more, in whatever order, is a poisoned cache's; no answer is none.
        look(Ok(addresses(1..=4)), &mut roster, &mut core);
        look(Err("no such name".into()), &mut roster, &mut core);
        assert_eq!(in_use(&core), [1, 2, 3, 4]);
        look(Ok(addresses(3..=6)), &mut roster, &mut core);
        assert_eq!(in_use(&core), [1, 2, 3, 5]);
        look(Ok(addresses(3..=6)), &mut roster, &mut core);
        assert_eq!(in_use(&core), [1, 2, 6, 5]);
        assert_eq!(roster.look_due(), Counter(i64::MAX));
    }

    /// (case 28)
    #[test]
    fn who_answers_once_with_89_networks_keeps_half_of_the_places_after_a_quarter_of_a_minute() {
        let many: Vec<(u8, u8)> = (1..=89).map(|network| (network, 1)).collect();
        let (mut roster, mut core) = self::roster(&["pool:p"]);
        roster.handle_addresses(SourceId(0), Ok(in_networks(&many)), &mut core, NOW);
        assert_eq!(networks_of(&core), [1, 2, 3, 4]);
        for second in [8, 16] {
            assert_eq!(roster.look_due(), NOW + Nanos::from_seconds(second));
            let now = roster.look_due();
            assert_eq!(roster.take_look(now), Some(SourceId(0)));
            roster.handle_addresses(SourceId(0), Ok(in_networks(&[(101, 1), (102, 1)])), &mut core, now);
        }
        assert_eq!(networks_of(&core), [1, 2, 102, 101]);
        assert_eq!(roster.look_due(), Counter(i64::MAX));
        // Of who has the name server for good it is asked more and more seldom.
        let (mut roster, mut core) = self::roster(&["pool:p"]);
        roster.handle_addresses(SourceId(0), Ok(in_networks(&many)), &mut core, NOW);
        let mut waits = Vec::new();
        let mut now = NOW;
        for _ in 0..5 {
            waits.push((roster.look_due() - now).0 / 1_000_000_000);
            now = roster.look_due();
            assert_eq!(roster.take_look(now), Some(SourceId(0)));
            roster.handle_addresses(SourceId(0), Ok(in_networks(&many)), &mut core, now);
        }
        assert_eq!(waits, [8, 128, 2048, 3600, 3600]);
    }

    #[test]
    fn a_sample_is_of_servers_that_are_not_polled_and_few_of_one_network() {
        let (mut roster, mut core) = roster(&["pool:p", "h"]);
        let many: Vec<(u8, u8)> = (1..=89).map(|host| (1, host)).collect();
        let found = in_networks(&[many.as_slice(), &[(2, 1), (2, 2), (2, 3), (3, 1), (4, 1), (5, 1)]].concat());
        roster.handle_addresses(SourceId(0), Ok(found), &mut core, NOW);
        roster.handle_addresses(SourceId(1), Ok(in_networks(&[(9, 1), (9, 2)])), &mut core, NOW);
        let polled: Vec<_> = (0..core.source_count()).filter_map(|index| core.address(SourceId(index))).collect();
        let mut seed = 1_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            Some(seed >> 16)
        };
        let sample = roster.sample(12, &core, &mut random);
        assert!(sample.len() >= 5 && sample.iter().all(|address| !polled.contains(address)), "{sample:?}");
        let first = |address: &&SocketAddr| network(address.ip()) == Some([0, 0, 0, 198, 51, 1]);
        assert!(sample.iter().filter(first).count() <= 2, "{sample:?}");
        // Of a host only its one address is anybody's business, and without chance there is no sample.
        assert!(!sample.iter().any(|address| network(address.ip()) == Some([0, 0, 0, 198, 51, 9])));
        assert!(roster.sample(12, &core, || None).is_empty());
        assert_ne!(roster.sample(12, &core, random), sample);
    }
}
