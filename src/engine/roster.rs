//! Which entry of the server list each source comes from, and which of a name's addresses it gets.
//!
//! One `host` is one source at one address at a time; a `pool:` fills up to four places from one name. A source that
//! wants another address gets one that no other source of its name has and that was not just given up; if there is
//! none, it keeps what it has.

use std::net::{IpAddr, SocketAddr};

use crate::config::{POOL_MEMBERS, SOURCES_MAX, ServerSpec};
use crate::synchronizer::{SourceId, Synchronizer};
use crate::units::Counter;

/// One entry of the server list.
#[derive(Debug)]
struct Entry {
    spec: ServerSpec,
    sources: Vec<SourceId>,
    /// Addresses given up because they were silent or false; the oldest are forgiven first.
    given_up: Vec<SocketAddr>,
    /// With NTS the addresses are those of key exchanges: who gave each source its keys.
    #[cfg(feature = "_nts")]
    exchangers: Vec<(SourceId, SocketAddr)>,
}

/// All entries, and the source → entry relation.
#[derive(Debug)]
pub(crate) struct Roster {
    entries: Vec<Entry>,
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
    pub(crate) fn new(specs: &[ServerSpec], core: &mut Synchronizer, now: Counter) -> Self {
        let entry = |spec: &ServerSpec| Entry {
            spec: spec.clone(),
            sources: vec![add_source(spec, core, now)],
            given_up: Vec::new(),
            #[cfg(feature = "_nts")]
            exchangers: Vec::new(),
        };
        Self { entries: specs.iter().map(entry).collect() }
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
        if spec.nts {
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
            let member = add_source(&entry.spec, core, now);
            entry.sources.push(member);
        }
    }

    /// Gives `id`, and for a pool the places still free, addresses out of `found`.
    pub(crate) fn assign(&mut self, id: SourceId, found: &[SocketAddr], core: &mut Synchronizer, now: Counter) {
        // The answer may be late: a source that has come back to its senses keeps what it has.
        if let Some(address) = core.address(id).filter(|_| !core.wants_address(id)) {
            core.assign(id, address, now);
            return;
        }
        let Some(entry) = self.entry(id) else { return };
        let former = core.address(id);
        if let Some(former) = former {
            entry.given_up.retain(|address| *address != former);
            entry.given_up.push(former);
        }
        let taken = |entry: &Entry, core: &Synchronizer, address: &SocketAddr| {
            entry.sources.iter().any(|&source| core.address(source) == Some(*address))
        };
        let free = |entry: &Entry, core: &Synchronizer| -> Vec<SocketAddr> {
            let mut free: Vec<SocketAddr> = found.iter().copied().filter(|a| !taken(entry, core, a)).collect();
            // Never tried before given up, and given up long ago before given up lately.
            free.sort_by_key(|address| {
                entry.given_up.iter().position(|other| other == address).map_or(0, |age| age + 1)
            });
            free
        };
        match free(entry, core).first().copied().or(former) {
            Some(address) => core.assign(id, address, now),
            None => core.handle_no_address(id, "all addresses of the name are in use".to_owned(), now),
        }
        // Half of one answer at most would be safer against a poisoned one, but a pool of four is one answer.
        while entry.spec.pool && entry.sources.len() < POOL_MEMBERS && core.source_count() < SOURCES_MAX {
            let Some(address) = free(entry, core).first().copied() else { break };
            let member = core.add_source(now);
            entry.sources.push(member);
            core.assign(member, address, now);
        }
        let surplus = entry.given_up.len().saturating_sub(found.len().max(POOL_MEMBERS));
        entry.given_up.drain(..surplus);
    }
}

/// One more source of an entry.
fn add_source(spec: &ServerSpec, core: &mut Synchronizer, now: Counter) -> SourceId {
    let id = core.add_source(now);
    if spec.nts {
        core.require_nts(id, now);
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, parse_server};
    use crate::units::UnixTime;

    const NOW: Counter = Counter(0);

    fn roster(list: &[&str]) -> (Roster, Synchronizer) {
        let mut core = Synchronizer::new(Settings::default(), UnixTime(0), 0);
        let specs: Vec<ServerSpec> = list.iter().map(|entry| parse_server(entry).unwrap()).collect();
        (Roster::new(&specs, &mut core, NOW), core)
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
}
