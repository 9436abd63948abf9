//! Answers NTP clients from the published clock.

mod respond;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::clock::{self, Clock, process};
use crate::config::{NTP_PORT, split_port};
use crate::engine::SharedRef;
use crate::error::Error;
use crate::exchange::root_dispersion;
use crate::publication::page::Page;
use crate::reading::Reading;
use crate::status::{Leap, Report};
use crate::sys::counter::{self, Bracket};
use crate::sys::socket::{self, DATAGRAM_MAX, Received};
use crate::sys::thread::{Order, Worker};
use crate::sys::ticks::{self, Tick};
use crate::sys::wake;
use crate::units::{Counter, Nanos, UnixTime};
use respond::{Identity, UNSYNCHRONIZED};

/// The most addresses one server listens on.
const LISTEN_MAX: usize = 64;

/// A root dispersion from here on is no synchronisation (RFC 5905, MAXDISP).
const DISPERSION_MAX: Duration = Duration::from_secs(16);

/// Requests taken from one socket in a row, so that a flood at one cannot starve the others.
const TURN: usize = 64;

/// Longest sleep: kernel stamps are compared with a system clock seen no longer ago, and steps that hide behind its
/// slewing stay below a thousandth of this.
const NAP: Duration = Duration::from_secs(1);

/// A report serves for so long: what it tells beside the page changes with polls, not with requests.
const REPORT_AGE_MAX: Nanos = Nanos::from_millis(100);

/// What a local server above stratum 1 gives as its reference: the address reserved for a host's own clock.
const LOCAL_CLOCK: u32 = u32::from_be_bytes([127, 127, 1, 1]);

/// Where a server listens and whose time it serves.
#[derive(Clone, Debug, Default)]
pub struct ServerConfig {
    listen: Vec<SocketAddr>,
    local: Option<Local>,
}

/// The system clock, served on its own authority.
#[derive(Clone, Copy, Debug)]
struct Local {
    stratum: u8,
    root_dispersion: Nanos,
}

impl ServerConfig {
    /// Listens nowhere yet; serves the clock it is started with.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an address to listen on: `address`, `address:port`, `[v6]:port`. Without a port it is 123; port 0 picks a
    /// free one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if it is no literal address, or one too many (64).
    pub fn add_listen(&mut self, address: &str) -> Result<&mut Self, Error> {
        if self.listen.len() == LISTEN_MAX {
            return Err(Error::argument("address", format!("is one more than the {LISTEN_MAX} that are possible")));
        }
        let parsed = literal(address.trim()).ok_or_else(|| {
            let shown: String = address.chars().take(100).collect();
            Error::argument("address", format!("is `{shown}`, which is no literal address"))
        })?;
        self.listen.push(parsed);
        Ok(self)
    }

    /// Serves the *system clock* as `stratum` with this root dispersion, without any upstream: for islands and
    /// demonstrations. The dispersion is the caller's claim.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] unless 1 ≤ `stratum` ≤ 15 and the dispersion is below 16 s.
    pub fn set_local(&mut self, stratum: i32, root_dispersion: Duration) -> Result<&mut Self, Error> {
        let allowed = u8::try_from(stratum).ok().filter(|stratum| (1..=15).contains(stratum));
        let stratum =
            allowed.ok_or_else(|| Error::argument("stratum", format!("is {stratum}; 1 to 15 is possible")))?;
        if root_dispersion >= DISPERSION_MAX {
            return Err(Error::argument("root_dispersion", format!("is {root_dispersion:?}; it must be below 16 s")));
        }
        self.local = Some(Local { stratum, root_dispersion: Nanos::from_duration(root_dispersion) });
        Ok(self)
    }
}

/// `address`, `address:port` or `[v6]:port`; without a port it is NTP's.
fn literal(text: &str) -> Option<SocketAddr> {
    // The zone of a link-local address is only understood in the form with a port.
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    match split_port(text) {
        Ok((host, None)) => host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, NTP_PORT)),
        _ => None,
    }
}

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    worker: Worker,
}

impl Server {
    /// Starts to serve `clock`'s time (`None`: the process-wide clock's), or the system clock's if the configuration
    /// says `local`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `config` names no address, [`Error::Io`] if one cannot be bound.
    pub fn start(clock: Option<&Clock>, config: &ServerConfig) -> Result<Self, Error> {
        if config.listen.is_empty() {
            return Err(Error::argument("config", "names no address to listen on"));
        }
        let mut sockets = Vec::new();
        let mut addresses = Vec::new();
        for &address in &config.listen {
            let failed = |error| Error::io(format!("listening on {address}"), error);
            let socket = socket::listening(address).map_err(failed)?;
            addresses.push(socket.local_addr().map_err(failed)?);
            sockets.push(socket);
        }
        let source = match config.local {
            Some(local) => Source::Local(local),
            None => Source::Clock(Served::new(clock.map_or_else(process::shared, Clock::shared))),
        };
        let worker = Worker::start("ntpclock-server", move |order| serve(&sockets, source, &order))
            .map_err(|error| Error::io("starting the server's thread", error))?;
        Ok(Self { addresses, worker })
    }

    /// The addresses served, with the ports that were picked.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops answering; the thread has ended when this returns.
    pub fn stop(&mut self) {
        self.worker.stop();
    }
}

/// Whose time is served.
enum Source {
    Clock(Served),
    Local(Local),
}

/// A clock that is served.
struct Served {
    shared: SharedRef,
    /// Its last report, and when that was made: asking the engine for one takes a lock.
    report: Option<(Counter, Report)>,
}

/// Time at one instant, and what is to be said about it.
struct Moment {
    /// T2, not earlier than the request came.
    received: UnixTime,
    /// T3, not later than the reply leaves.
    leaving: UnixTime,
    identity: Identity,
}

fn serve(sockets: &[UdpSocket], mut source: Source, order: &Order) {
    let mut descriptors = vec![order.waker.as_raw_fd()];
    descriptors.extend(sockets.iter().map(AsRawFd::as_raw_fd));
    let mut buffer = [0; DATAGRAM_MAX];
    while !order.is_over() {
        let asleep = Bracket::read();
        let Ok(ready) = wake::wait(&descriptors, Some(NAP)) else {
            // Out of memory in the kernel: do not turn in circles at full speed meanwhile.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        for (socket, _) in sockets.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            for _ in 0..TURN {
                let Ok(received) = socket::receive(socket, &mut buffer) else { break };
                answer(socket, &received, &buffer[..received.length], &mut source, &asleep);
            }
        }
    }
}

fn answer(socket: &UdpSocket, received: &Received, datagram: &[u8], source: &mut Source, asleep: &Bracket) {
    let (Some(request), Some(client)) = (respond::accept(datagram), received.from) else { return };
    let moment = source.moment(received.stamp, asleep);
    let reply = respond::reply(&request, &moment.identity, moment.received, moment.leaving);
    // A full send buffer loses the reply as the network might; the client asks again.
    let _ = socket::send(socket, &reply, client, received.to);
}

impl Source {
    /// When the datagram came by this source's time, and the time now, taken last.
    fn moment(&mut self, stamp: Option<UnixTime>, asleep: &Bracket) -> Moment {
        let now = Bracket::read();
        let came = now.arrival(stamp, asleep).at;
        match self {
            Self::Local(local) => local.moment(came, &now),
            Self::Clock(served) => {
                let report = served.report(now.after);
                // Both times come from one page: a step published in between would tear them.
                let place = &served.shared.place;
                let (page, leaving) = place.read(ticks::read);
                moment(&page, page.tick_at(came), leaving, place.generation(), &report)
            }
        }
    }
}

impl Local {
    fn moment(&self, came: Counter, now: &Bracket) -> Moment {
        let leaving = counter::system_time();
        let reference_id = if self.stratum == 1 { u32::from_be_bytes(*b"LOCL") } else { LOCAL_CLOCK };
        let identity = Identity {
            leap: Leap::None,
            stratum: self.stratum,
            root_delay: Nanos::ZERO,
            root_dispersion: self.root_dispersion,
            reference_id,
            reference_time: leaving,
        };
        // By the system clock as it is now: if it was stepped since the datagram came, T2 and T3 still belong together.
        let received = now.system - (now.before - came);
        Moment { received: received.min(leaving), leaving, identity }
    }
}

impl Served {
    fn new(shared: SharedRef) -> Self {
        Self { shared, report: None }
    }

    fn report(&mut self, now: Counter) -> Report {
        let fresh = |made: Counter| now - made < REPORT_AGE_MAX;
        match &self.report {
            // One that names no source yet may be outdated by the next publication.
            Some((made, report)) if fresh(*made) && report.stratum < UNSYNCHRONIZED => report.clone(),
            _ => {
                let report = clock::report(&self.shared);
                self.report = Some((now, report.clone()));
                report
            }
        }
    }
}

/// T2 and T3 by `page`, at the ticks `came` and `leaving`.
fn moment(page: &Page, came: Tick, leaving: Tick, generation: u32, report: &Report) -> Moment {
    // If the clock is stepped between the two, T3's epoch serves for both: the difference of T3 and T2 is to be a span.
    let torn = page.model_at(came).epoch != page.model_at(leaving).epoch;
    let page = if torn { Page { former: page.current, ..*page } } else { *page };
    let at = |tick| Reading::new(&page, tick, generation, counter::system_time);
    let (received, leaving) = (at(came), at(leaving));
    let identity = identity(&received, &leaving, report);
    let leaving = UnixTime(leaving.unix_ns);
    // Without a model the system clock told both, the later one first.
    Moment { received: UnixTime(received.unix_ns).min(leaving), leaving, identity }
}

/// What may honestly be said about two readings: our whole bound, as root delay and root dispersion.
fn identity(received: &Reading, leaving: &Reading, report: &Report) -> Identity {
    let usable = received.state.is_usable() && leaving.state.is_usable();
    if !usable || report.stratum >= UNSYNCHRONIZED {
        return Identity::UNSYNCHRONIZED;
    }
    let bound = Nanos(received.error_bound_ns().max(leaving.error_bound_ns()));
    Identity {
        leap: leaving.leap,
        stratum: report.stratum,
        root_delay: Nanos(report.root_delay_ns),
        root_dispersion: root_dispersion(bound, Nanos(report.root_delay_ns)),
        reference_id: report.reference_id,
        reference_time: UnixTime(report.reference_time_ns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Shared;
    use crate::model::slew::Line;
    use crate::model::{ClockModel, UtcSpan};
    use crate::publication::Place;
    use crate::publication::gauge::Relation;
    use crate::publication::page::Shown;
    use crate::publication::track::Track;
    use crate::query;
    use crate::status::State;
    use std::sync::Arc;

    fn listening(address: &str) -> ServerConfig {
        let mut config = ServerConfig::new();
        config.add_listen(address).unwrap();
        config
    }

    fn local() -> Server {
        let mut config = listening("127.0.0.1:0");
        config.set_local(5, Duration::from_millis(2)).unwrap();
        Server::start(None, &config).unwrap()
    }

    #[test]
    fn addresses_are_literal_and_have_a_default_port() {
        let mut config = ServerConfig::new();
        for address in ["127.0.0.1", "127.0.0.1:0", "::1", "[::1]", "[::1]:5"] {
            config.add_listen(address).unwrap();
        }
        assert_eq!(config.listen.iter().map(SocketAddr::port).collect::<Vec<_>>(), [123, 0, 123, 123, 5]);
        let wrong = ["", "localhost", "127.0.0.1:", "127.0.0.1:x", "300.1.1.1", "127.0.0.1:65536", "[", "[]"];
        let brackets = ["[::1", "::1]", "[[::1]]", "[127.0.0.1]", "[127.0.0.1]:1", "[::1]5", "[::1]:", "::1]:5"];
        for address in wrong.into_iter().chain(brackets) {
            assert!(config.add_listen(address).is_err(), "{address}");
        }
    }

    #[test]
    fn a_local_server_states_what_it_was_told_to() {
        let mut config = ServerConfig::new();
        assert!(config.set_local(0, Duration::ZERO).is_err());
        assert!(config.set_local(16, Duration::ZERO).is_err());
        assert!(config.set_local(1, Duration::from_secs(16)).is_err());
        let server = local();
        let answer = query(&server.addresses()[0].to_string(), Duration::from_secs(5)).unwrap();
        assert_eq!((answer.stratum, answer.leap, answer.root_delay_ns), (5, Leap::None, 0));
        assert!((2_000_000..2_100_000).contains(&answer.root_dispersion_ns), "{answer:?}");
        assert!(answer.offset_ns.abs() <= answer.bound_ns, "{answer:?}");
    }

    #[test]
    fn a_clock_that_was_never_synchronised_is_served_as_such() {
        let nobody = Clock::start(crate::Config::with_servers("127.0.0.1:9").unwrap()).unwrap();
        let server = Server::start(Some(&nobody), &listening("127.0.0.1:0")).unwrap();
        let error = query(&server.addresses()[0].to_string(), Duration::from_secs(5)).unwrap_err();
        assert!(error.to_string().contains("not synchronised"), "{error}");
    }

    #[test]
    fn a_synchronised_clock_is_served_with_its_bound() {
        let upstream = local();
        let servers = upstream.addresses()[0].to_string();
        let clock = Clock::start(crate::Config::with_servers(&servers).unwrap()).unwrap();
        clock.wait(None, Some(Duration::from_secs(10))).unwrap();
        let server = Server::start(Some(&clock), &listening("127.0.0.1:0")).unwrap();
        let answer = query(&server.addresses()[0].to_string(), Duration::from_secs(5)).unwrap();
        assert_eq!((answer.stratum, answer.reference_id), (6, 0x7f00_0001));
        let claimed = answer.root_delay_ns / 2 + answer.root_dispersion_ns;
        assert!((2_000_000..20_000_000).contains(&claimed), "{answer:?}");
        assert!(answer.offset_ns.abs() <= answer.bound_ns, "{answer:?}");
        assert!(answer.reference_time_ns > 0);
    }

    const SECOND: Nanos = Nanos::from_seconds(1);

    /// A model of `epoch` that takes effect at `base` and shows `utc` there, give or take `bound`.
    fn model(epoch: u32, base: Counter, utc: UnixTime, bound: Nanos) -> ClockModel {
        ClockModel {
            line: Line { base, utc, slew_end: base, ..Line::default() },
            span: UtcSpan { at: base, earliest: utc - bound, latest: utc + bound, ..UtcSpan::default() },
            state: State::Synchronized,
            leap: Leap::None,
            flags: crate::status::Flags::default(),
            epoch,
            holdover_at: Counter(i64::MAX),
            bound_cap: SECOND,
            newest_exchange: base,
        }
    }

    fn report() -> Report {
        Report { stratum: 3, root_delay_ns: 10_000, ..clock::report(&Shared::new(Place::own())) }
    }

    /// What is said of a datagram that came 1 ms before, and left 1 ms after, `current` took over from `former`.
    fn around_a_switch(former: ClockModel, current: ClockModel) -> Moment {
        let (switch, millisecond) = (current.line.base, Nanos::from_millis(1));
        let relation = Relation::RAW;
        let shown = |model: ClockModel| {
            let track = Track::new(&model.line, &relation.scale, Tick(model.line.base.0), None);
            Shown { model, track }
        };
        let (former, current) = (shown(former), shown(current));
        let page = Page { relation, former, current, switch, generation: 0, suspended: Nanos::ZERO };
        let tick = |counter| page.tick_at(counter);
        super::moment(&page, tick(switch - millisecond), tick(switch + millisecond), 0, &report())
    }

    #[test]
    fn a_step_between_arrival_and_departure_does_not_tear_them() {
        let (base, utc) = (Counter(5_000_000_000), UnixTime(1_795_000_000_000_000_000));
        let stepped = model(2, base, utc, Nanos(1_000));
        for former in [
            // By one hour, ahead and back; and for the first time.
            model(1, base - SECOND, utc - Nanos::from_seconds(3601), Nanos(1_000)),
            model(1, base - SECOND, utc + Nanos::from_seconds(3599), Nanos(1_000)),
            ClockModel::UNSYNCHRONIZED,
        ] {
            let moment = around_a_switch(former, stepped);
            assert_eq!(moment.leaving - moment.received, Nanos::from_millis(2));
            assert_eq!(moment.leaving, utc + Nanos::from_millis(1));
            assert_eq!(moment.identity.stratum, 3);
        }
    }

    #[test]
    fn the_bound_that_is_served_holds_for_both_times() {
        let (base, utc) = (Counter(5_000_000_000), UnixTime(1_795_000_000_000_000_000));
        let former = model(1, base - SECOND, utc - SECOND, Nanos(700_000));
        let moment = around_a_switch(former, model(1, base, utc, Nanos(1_000)));
        assert_eq!(moment.leaving - moment.received, Nanos::from_millis(2));
        // The wider one of the two, less half the root delay.
        let claimed = moment.identity.root_dispersion + Nanos(5_000);
        assert!((700_000..700_010).contains(&claimed.0), "{claimed:?}");

        let lost = ClockModel { state: State::Unsynchronized, ..former };
        assert_eq!(around_a_switch(lost, model(1, base, utc, Nanos(1_000))).identity, Identity::UNSYNCHRONIZED);
    }

    #[test]
    fn the_engine_is_asked_ten_times_a_second_at_most() {
        let mut served = Served::new(SharedRef::Counted(Arc::new(Shared::new(Place::own()))));
        let made = Counter(5_000_000_000);
        // The engine itself would say that it knows no source.
        served.report = Some((made, report()));
        assert_eq!(served.report(made + REPORT_AGE_MAX - Nanos(1)).stratum, 3);
        assert_eq!(served.report(made + REPORT_AGE_MAX).stratum, 16);
        // And that is asked again at once: the first synchronisation is not kept from clients.
        served.report = Some((made, Report { stratum: 16, exchanges: 1, ..report() }));
        assert_eq!(served.report(made).exchanges, 0);
    }

    #[test]
    fn a_client_is_answered_from_the_address_it_asked() {
        for (listen, asked) in [("0.0.0.0:0", "127.0.0.2"), ("[::]:0", "[::1]"), ("[::]:0", "127.0.0.2")] {
            let mut config = listening(listen);
            config.set_local(5, Duration::ZERO).unwrap();
            let server = Server::start(None, &config).unwrap();
            let server = format!("{asked}:{}", server.addresses()[0].port());
            query(&server, Duration::from_secs(5)).unwrap_or_else(|error| panic!("{listen}: {error}"));
        }
    }
}
