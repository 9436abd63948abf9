//! Our own server: real clients, and the cases of `tests/server/cases.rs` that are about NTS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ntpclock::{Flags, NtsState, Server, ServerConfig};

use crate::authority::{Authority, Identity};
use crate::client::{
    AUTHENTICATOR, COOKIE, PATIENCE, PLACEHOLDER, SILENCE, Session, ask, field, header, is_nak, unique,
};
use crate::library::{command, run};
use crate::namespace::{inside, ip};
use crate::peers::{ChronydClient, Directory, Release};
use crate::{await_that, secure_clock, source, synchronize};

/// A server of this machine's clock, with NTS.
pub(crate) struct Ours {
    pub(crate) server: Server,
    pub(crate) authority: Authority,
    _identity: Identity,
}

pub(crate) fn ours() -> Ours {
    ours_with(|_| ())
}

pub(crate) fn ours_with(wish: impl FnOnce(&mut ServerConfig)) -> Ours {
    let authority = Authority::new();
    let identity = authority.identity("127.0.0.1");
    let mut config = ServerConfig::new();
    config.add_listen("127.0.0.1:0").expect("a literal address");
    config.set_local(3, Duration::from_millis(2)).expect("a stratum");
    config.set_nts(identity.certificate(), identity.key()).expect("two files").set_nts_port(0).expect("a port");
    wish(&mut config);
    Ours { server: Server::start(None, &config).expect("a server can be started"), authority, _identity: identity }
}

impl Ours {
    pub(crate) fn ntp(&self) -> SocketAddr {
        self.server.addresses()[0]
    }

    pub(crate) fn exchanger(&self) -> SocketAddr {
        self.server.key_exchange_addresses()[0]
    }

    pub(crate) fn session(&self, algorithm: u16) -> Session {
        Session::begin(self.exchanger(), &self.authority.file(), algorithm)
    }

    pub(crate) fn ask(&self, datagram: &[u8]) -> Vec<u8> {
        ask(self.ntp(), datagram, PATIENCE).expect("it is answered")
    }

    pub(crate) fn is_ignored(&self, datagram: &[u8]) -> bool {
        ask(self.ntp(), datagram, SILENCE).is_none()
    }

    /// What the threads tell of themselves comes a little later.
    pub(crate) fn eventually(&self, what: &str, holds: impl Fn(&ntpclock::ServerStatistics) -> bool) {
        let begun = Instant::now();
        while !holds(&self.server.statistics()) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{what}: {:?}", self.server.statistics());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

const ALGORITHMS: [u16; 3] = [15, 17, 30];

#[test]
fn a_clock_of_ours_has_authenticated_time_from_a_server_of_ours() {
    let ours = ours();
    let clock = secure_clock(&format!("{} nts", ours.exchanger()), &ours.authority.file());
    synchronize(&clock);
    await_that("four good exchanges", 20, &clock, |source| source.exchanges >= 4);
    let found = source(&clock);
    assert_eq!((found.nts.state, found.nts.algorithm), (NtsState::Authenticated, 30), "{found:?}");
    assert_eq!((found.nts.cookies, found.nts.key_exchanges, found.nts.naks, found.rejected), (8, 1, 0, 0), "{found:?}");
    assert_eq!(found.address, Some(ours.ntp()));
    assert!(clock.now().flags.contains(Flags::AUTHENTICATED), "{:?}", clock.now());
    assert!(found.offset_ns.abs() <= found.bound_ns, "{found:?}");
    ours.eventually("all is counted", |told| told.nts_requests >= 4 && told.nts_replies == told.nts_requests);
    let told = ours.server.statistics();
    assert_eq!((told.key_exchanges, told.nts_naks, told.nts_malformed), (1, 0, 0), "{told:?}");
}

#[test]
fn chronyd_of_either_release_synchronises_to_us_with_nts() {
    let ours = ours();
    for (release, options) in [(Release::Present, ""), (Release::Newer, ""), (Release::Newer, " xleave")] {
        let before = ours.server.statistics();
        let trusted = format!("ntstrustedcerts {}\nnosystemcert\n", ours.authority.file().display());
        let options = format!("nts ntsport {}{options}", ours.exchanger().port());
        let client = ChronydClient::with(release, ours.ntp(), (0, 0), &options, &trusted);
        let begun = Instant::now();
        while !client.tracking_log().contains("127.0.0.1") {
            assert!(begun.elapsed() < Duration::from_secs(30), "{release:?} {options}: {}", client.said());
            std::thread::sleep(Duration::from_millis(50));
        }
        ours.eventually("its requests are answered", |told| told.nts_replies >= before.nts_replies + 4);
        assert_eq!(ours.server.statistics().nts_naks, 0);
    }
}

#[test]
fn plain_clients_are_served_beside() {
    let ours = ours();
    let answer = ntpclock::query(&ours.ntp().to_string(), PATIENCE).expect("it is answered");
    assert_eq!((answer.stratum, answer.authenticated), (3, false));
    assert_eq!(ours.server.statistics().nts_requests, 0);
}

#[test]
fn every_cipher_is_spoken_and_cookies_are_replenished() {
    let ours = ours();
    for algorithm in ALGORITHMS {
        let session = ours.session(algorithm);
        assert_eq!((session.cookies.len(), session.port), (8, ours.ntp().port()));
        for (placeholders, expected) in [(0, 1), (1, 2), (4, 5), (7, 8)] {
            let request = session.asking(&session.cookies[placeholders], placeholders);
            let reply = ours.ask(&request);
            let cookies = session.cookies_in(&reply);
            assert_eq!((cookies.len(), reply.len()), (expected, request.len()), "{algorithm}");
            // Each of them serves.
            for cookie in &cookies {
                assert_eq!(session.cookies_in(&ours.ask(&session.asking(cookie, 0))).len(), 1);
            }
        }
    }
}

#[test]
fn case_11_placeholders_by_the_hundred_cost_nothing_and_bring_eight_cookies_at_most() {
    let ours = ours();
    let session = ours.session(30);
    // As many as a datagram has room for that we take.
    let cookie = &session.cookies[0];
    let room = (1472 - session.asking(cookie, 0).len()) / (cookie.len() + 4);
    assert!(room > 10, "{room}");
    let reply = ours.ask(&session.asking(cookie, room));
    assert_eq!(session.cookies_in(&reply).len(), 8);
    // Longer than that: cut, so that there is no authenticator.
    assert!(ours.is_ignored(&session.asking(cookie, 100)));
    let mut wrong = vec![vec![field(PLACEHOLDER, &[]); 100]];
    for length in [0, 4, cookie.len() - 4, cookie.len() + 4] {
        wrong.push(vec![field(PLACEHOLDER, &vec![0; length])]);
    }
    // Before any cipher is touched: else the cookie, which is nobody's, would be found out first and bring a NAK.
    let nobodys = field(COOKIE, &vec![0xa5; cookie.len()]);
    for placeholders in wrong {
        for cookie in [field(COOKIE, cookie), nobodys.clone()] {
            let fields = [vec![unique(), cookie], placeholders.clone()].concat();
            assert!(fields.concat().len() < 1_300);
            assert!(ours.is_ignored(&session.request(&fields)), "{placeholders:?}");
        }
    }
    assert!(is_nak(&ours.ask(&session.request(&[unique(), nobodys, field(PLACEHOLDER, &vec![0; cookie.len()])]))));
    ours.eventually("they are counted", |told| told.nts_malformed == 11 && told.nts_naks == 1);
}

#[test]
fn case_12_an_authenticator_that_lies_about_its_lengths_is_dropped() {
    let ours = ours();
    let session = ours.session(15);
    let good = session.asking(&session.cookies[0], 0);
    let at = good.len() - 40;
    assert_eq!(good[at..at + 8], [4, 4, 0, 40, 0, 16, 0, 16]);
    let mut dropped = 0;
    for (place, values) in
        [(2, [0, 3, 38, 41, 44, 65_535]), (4, [0, 17, 20, 33, 1024, 65_535]), (6, [0, 15, 17, 20, 1024, 65_535])]
    {
        for value in values {
            let mut lying = good.clone();
            lying[at + place..at + place + 2].copy_from_slice(&u16::to_be_bytes(value));
            assert!(ours.is_ignored(&lying), "{value} at {place}");
            dropped += 1;
        }
    }
    // And all the rest that can be wrong with the fields of a request.
    let cookie = field(COOKIE, &session.cookies[1]);
    let authenticator = good[at..].to_vec();
    for fields in [
        vec![cookie.clone(), authenticator.clone()],
        vec![unique(), authenticator.clone()],
        vec![unique(), unique(), cookie.clone(), authenticator.clone()],
        vec![unique(), cookie.clone(), cookie.clone(), authenticator.clone()],
        vec![unique(), cookie.clone()],
        vec![field(AUTHENTICATOR, &[])],
    ] {
        assert!(ours.is_ignored(&[header(), fields.concat()].concat()));
        dropped += 1;
    }
    ours.eventually("they are counted", |told| told.nts_malformed == dropped);
    assert_eq!(session.cookies_in(&ours.ask(&good)).len(), 1);
}

#[test]
fn case_13_a_cookie_that_is_not_ours_brings_a_nak_and_one_that_is_replayed_an_answer() {
    let (ours, other) = (ours(), ours());
    for algorithm in ALGORITHMS {
        let session = ours.session(algorithm);
        let cookie = &session.cookies[0];
        let mut naks = vec![vec![0xa5; cookie.len()], cookie[..cookie.len() - 4].to_vec(), vec![1; 12]];
        naks.extend((0..cookie.len()).step_by(7).map(|at| {
            let mut broken = cookie.clone();
            broken[at] ^= 1;
            broken
        }));
        // Of another host, whose keys are others.
        naks.push(other.session(algorithm).cookies[0].clone());
        for nak in &naks {
            let reply = ours.ask(&session.asking(nak, 0));
            assert!(is_nak(&reply), "{algorithm}: {} bytes, {reply:?}", nak.len());
        }
        // The cookie is right, and the request somebody else's.
        let mut forged = session.asking(cookie, 0);
        *forged.last_mut().expect("it has bytes") ^= 1;
        assert!(is_nak(&ours.ask(&forged)));
        let request = session.asking(cookie, 3);
        for _ in 0..3 {
            assert_eq!(session.cookies_in(&ours.ask(&request)).len(), 4);
        }
    }
}

#[test]
fn case_13_cookies_open_for_as_long_as_the_file_of_keys_says() {
    let directory = Directory::new();
    let keys = directory.path().join("cookie-keys");
    let renew = || drop(run(command(env!("CARGO_BIN_EXE_ntpclock")).arg("cookie-keys").arg(&keys)));
    renew();
    let ours = ours_with(|config| _ = config.set_nts_cookie_keys(&keys).expect("a file"));
    // Another server with the same keys understands the clients of the first.
    let other = ours_with(|config| _ = config.set_nts_cookie_keys(&keys).expect("a file"));
    let session = ours.session(30);
    assert_eq!(
        session
            .cookies_in(&ask(other.ntp(), &session.asking(&session.cookies[0], 0), PATIENCE).expect("an answer"))
            .len(),
        1
    );
    // The first key seals as long as it is alone and once it is the second; two more still open what it sealed.
    for rotation in 1..=4 {
        renew();
        let is_old = rotation == 4;
        let begun = Instant::now();
        let next = loop {
            let session = ours.session(30);
            // The key's id is in front.
            if session.cookies[0][3] == rotation {
                break session;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "the file is not read again");
            std::thread::sleep(Duration::from_millis(50));
        };
        assert_eq!(next.cookies_in(&ours.ask(&next.asking(&next.cookies[0], 0))).len(), 1);
        let reply = ours.ask(&session.asking(&session.cookies[1], 0));
        assert_eq!(is_nak(&reply), is_old, "{rotation}");
    }
    std::fs::write(&keys, "nonsense\n").expect("it is writable");
    ours.eventually("it is told that the file is of no use", |told| told.cookie_key_faults == 1);
    let session = ours.session(30);
    assert_eq!(session.cookies_in(&ours.ask(&session.asking(&session.cookies[0], 0))).len(), 1);
}

#[test]
fn a_client_recovers_when_its_server_has_lost_its_keys() {
    crate::together::live_through("lost_keys");
}

pub(crate) fn lost_keys() {
    let directory = Directory::new();
    let keys = directory.path().join("cookie-keys");
    let renew = || drop(run(command(env!("CARGO_BIN_EXE_ntpclock")).arg("cookie-keys").arg(&keys)));
    renew();
    let ours = ours_with(|config| _ = config.set_nts_cookie_keys(&keys).expect("a file"));
    let clock = secure_clock(&format!("{} nts", ours.exchanger()), &ours.authority.file());
    synchronize(&clock);
    std::fs::remove_file(&keys).expect("it is there");
    renew();
    await_that("new keys", 40, &clock, |source| source.nts.key_exchanges == 2 && source.nts.naks > 0);
    let before = source(&clock).exchanges;
    await_that("good exchanges again", 10, &clock, |source| source.exchanges > before + 2);
}

#[test]
fn one_link_local_address_on_two_interfaces_has_two_places_for_keys() {
    inside(module_path!(), "one_link_local_address_on_two_interfaces_has_two_places_for_keys", || {
        let (authority, mut config) = (Authority::new(), ServerConfig::new());
        let identity = authority.identity("server.test");
        config.set_local(3, Duration::ZERO).expect("a stratum");
        config.set_nts(identity.certificate(), identity.key()).expect("two files").set_nts_port(0).expect("a port");
        ip("link add one type veth peer name other");
        for link in ["one", "other"] {
            ip(&format!("link set {link} up"));
            ip(&format!("addr add fe80::1/64 dev {link} nodad"));
            config.add_listen(&format!("[fe80::1%{link}]:0")).expect("an address");
        }
        let server = Server::start(None, &config).expect("both are ours");
        let scope = |address: &SocketAddr| match address {
            SocketAddr::V6(v6) => v6.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        let [served, exchanging] =
            [server.addresses(), server.key_exchange_addresses()].map(|all| all.iter().map(scope).collect::<Vec<_>>());
        assert!(served == exchanging && served[0] != served[1], "{served:?} {exchanging:?}");
    });
}

#[test]
fn what_is_wrong_with_the_files_is_named_at_the_start() {
    let authority = Authority::new();
    let (identity, other) = (authority.identity("127.0.0.1"), authority.identity("127.0.0.1"));
    let directory = Directory::new();
    let made = |name: &str, text: &str, mode: u32| -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("it is writable");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("it is ours");
        path
    };
    // Its own certificate is whole, and the next one, without which nobody would trust it, is not.
    let certificate = std::fs::read_to_string(identity.certificate()).expect("it was written there");
    let damaged = certificate.clone() + &certificate.replacen("\nM", "\n?", 1);
    let key = std::fs::read_to_string(identity.key()).expect("it was written there");
    let start = |certificate: &Path, key: &Path, keys: Option<&Path>| {
        let mut config = ServerConfig::new();
        config.add_listen("127.0.0.1:0").expect("an address").set_local(3, Duration::ZERO).expect("a stratum");
        config.set_nts(certificate, key).expect("two files").set_nts_port(0).expect("a port");
        keys.iter().for_each(|keys| _ = config.set_nts_cookie_keys(keys).expect("a file"));
        Server::start(None, &config).expect_err("it makes no sense").to_string()
    };
    let pipe = directory.path().join("pipe");
    run(command("mkfifo").arg(&pipe));
    let foreign = |name, text: &str, mode| {
        let path = made(name, text, mode);
        std::os::unix::fs::chown(&path, Some(65_534), None).expect("we are root");
        path
    };
    let long = |name, text: &str, length, mode| made(name, &(text.to_owned() + &"\n".repeat(length)), mode);
    for (certificate, key, keys, why) in [
        (pipe.clone(), identity.key(), None, "pipe: it is no regular file"),
        (made("common", &certificate, 0o664), identity.key(), None, "common: others may write it (mode 664)"),
        (made("anybodys", &certificate, 0o646), identity.key(), None, "others may write it (mode 646)"),
        (foreign("strange", &certificate, 0o644), identity.key(), None, "it belongs to user 65534"),
        (long("long", &certificate, 1 << 20, 0o644), identity.key(), None, "it has more than 1048576 bytes"),
        (identity.certificate(), pipe, None, "pipe: it is no regular file"),
        (identity.certificate(), made("commons", &key, 0o660), None, "commons: others may write it (mode 660)"),
        (identity.certificate(), foreign("stranger", &key, 0o600), None, "it belongs to user 65534"),
        (identity.certificate(), long("longer", &key, 1 << 16, 0o600), None, "it has more than 65536 bytes"),
        (PathBuf::from("/no/such/certificate"), identity.key(), None, "/no/such/certificate"),
        (identity.key(), identity.key(), None, "holds no certificate"),
        (made("damaged", &damaged, 0o644), identity.key(), None, "damaged` is damaged: "),
        (identity.certificate(), PathBuf::from("/no/such/key"), None, "/no/such/key"),
        (identity.certificate(), made("empty", "", 0o600), None, "holds no private key"),
        (identity.certificate(), made("open", &key, 0o644), None, "open: others may read it (mode 644)"),
        (identity.certificate(), other.key(), None, "does not serve"),
        (
            identity.certificate(),
            identity.key(),
            Some(made("keys", "1 HEX:00\n", 0o600)),
            "keys:1: the key has not 32 bytes",
        ),
        (identity.certificate(), identity.key(), Some(made("readable", "", 0o640)), "others may read it (mode 640)"),
    ] {
        let told = start(&certificate, &key, keys.as_deref());
        assert!(told.contains(why), "{why}: {told}");
    }
    assert!(ServerConfig::new().set_nts_port(1).is_err() && ServerConfig::new().set_nts_cookie_keys("/x").is_err());
}

#[test]
fn a_certificate_that_clients_refuse_or_soon_will_is_told_of_and_served_all_the_same() {
    let (authority, day, now) = (Authority::new(), Duration::from_secs(86_400), std::time::SystemTime::now());
    for (from, until, what) in [
        (now - 30 * day, now - day, "has expired"),
        (now + day, now + 30 * day, "is not valid yet"),
        (now - 60 * day, now + 6 * day, "expires soon"),
        (now - 60 * day, now + 8 * day, ""),
        // Of one that lives for six days three are much.
        (now - 3 * day, now + 3 * day, ""),
    ] {
        let identity = authority.identity_for("127.0.0.1", from, until);
        for more in [&["--check"][..], &["--duration", "0"]] {
            let mut serve = command(env!("CARGO_BIN_EXE_ntpclock"));
            serve.args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--local",
                "3",
                "--root-dispersion",
                "1",
                "--user",
                "root",
            ]);
            serve.args(["--nts-port", "0", "--nts-certificate"]).arg(identity.certificate());
            let output = serve.arg("--nts-private-key").arg(identity.key()).args(more).output().expect("it starts");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && !output.stdout.is_empty(), "{what}: {said}");
            let sentence =
                format!("ntpclock: a certificate in {} {what}: it is valid from 20", identity.certificate().display());
            let is_told = said.starts_with(&sentence) && said.contains(" until 20") && said.lines().count() == 1;
            assert_eq!(is_told, !what.is_empty(), "{what}: {said}");
            assert!(is_told || said.is_empty(), "{said}");
        }
    }
}

/// As distributions and authorities leave them: links, and a group that may read the key.
#[test]
fn a_key_that_its_group_may_read_serves_and_so_do_links_to_files() {
    let authority = Authority::new();
    let identity = authority.identity("127.0.0.1");
    let directory = Directory::new();
    std::fs::set_permissions(identity.key(), std::os::unix::fs::PermissionsExt::from_mode(0o640)).expect("it is ours");
    let [certificate, key] = ["certificate", "key"].map(|name| directory.path().join(name));
    for (file, link) in [(identity.certificate(), &certificate), (identity.key(), &key)] {
        std::os::unix::fs::symlink(file, link).expect("the directory is writable");
    }
    let mut config = ServerConfig::new();
    config.add_listen("127.0.0.1:0").expect("an address").set_local(3, Duration::ZERO).expect("a stratum");
    config.set_nts(&certificate, &key).expect("two files").set_nts_port(0).expect("a port");
    let server = Server::start(None, &config).expect("such files are trusted");
    assert_eq!(Session::begin(server.key_exchange_addresses()[0], &authority.file(), 15).cookies.len(), 8);
}
