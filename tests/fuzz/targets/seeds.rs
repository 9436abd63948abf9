//! Where the corpora begin: real datagrams, files and pages, made by the code that makes them. `BLESS=1 cargo test
//! --lib --all-features fuzzing` writes them anew; what fuzzers found beyond stands beside them, by its digest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{TARGETS, files, keyed, served, wire};
use crate::exchange::{Exchange, ServerState, Stamps};
use crate::mac::Key;
use crate::model::estimator::Prior;
use crate::model::slew::Line;
use crate::model::{ClockModel, UtcSpan};
use crate::nts::Algorithm;
use crate::nts::field;
use crate::packet::{Mode, Packet, extension};
use crate::publication::{Publication, Writer};
use crate::status::State;
use crate::synchronizer::memory::{Memory, RememberedTime};
use crate::sys::host::Host;
use crate::sys::ticks::Tick;
use crate::trace::{self, record};
use crate::units::{Counter, Nanos, NtpShort, NtpTime, Ppb, Rate, UnixTime, unix_seconds};

/// Of one target, bytes. What is larger is no minimised corpus.
const CORPUS_MAX: usize = 48 << 10;

/// What `Input` takes apart, put together.
#[derive(Default)]
pub(super) struct Output(Vec<u8>);

impl Output {
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(super) fn short(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    /// A number as it is, of 63 bits.
    pub(super) fn sized(self, value: i64) -> Self {
        self.bytes(&[63]).bytes(&value.to_le_bytes())
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}

fn request() -> Packet {
    Packet::request(NtpTime(0x0123_4567_89ab_cdef))
}

fn reply() -> Packet {
    Packet {
        mode: Mode::Server,
        stratum: 2,
        precision: -23,
        root_delay: NtpShort(77),
        root_dispersion: NtpShort(99),
        reference_id: 0x7f00_0001,
        reference: NtpTime::from_unix(unix_seconds(1_795_000_000)),
        origin: request().transmit,
        receive: NtpTime::from_unix(unix_seconds(1_795_000_001)),
        transmit: NtpTime::from_unix(unix_seconds(1_795_000_001) + Nanos(30_000)),
        ..Packet::request(NtpTime::ZERO)
    }
}

fn authenticated(packet: &Packet) -> Vec<u8> {
    let mut datagram = packet.bytes().to_vec();
    Key::parse("5", "AES128", "sixteen letters!").expect("a key").authenticate(&mut datagram);
    datagram
}

/// Four exchanges with one server.
fn recorded() -> Vec<trace::Recorded> {
    let exchange = |turn: i64| {
        let t1 = Counter(4_900_000_000_000 + turn * 16_000_000_000);
        let t2 = unix_seconds(1_795_000_000) + Nanos(t1.0 + 50_000);
        let stamps = Stamps { t1, t2, t3: t2 + Nanos(1_000), t4: t1 + Nanos(120_000) };
        trace::Recorded { source: 3, exchange: Exchange { stamps, server: ServerState::primary() } }
    };
    (1..=4).map(exchange).collect()
}

/// When what follows is saved and published. (What a core makes of exchanges changes with every better estimator.)
const NOW: Counter = Counter(4_970_000_000_000);

const UTC: UnixTime = unix_seconds(1_795_004_970);

fn memory() -> Memory {
    let time = RememberedTime {
        at: NOW,
        utc: UTC,
        sighted: NOW - Nanos(7_000_000),
        earliest: UTC - Nanos(60_000),
        latest: UTC + Nanos(70_000),
        slowest: Rate(-5_000_000_000),
        fastest: Rate(6_000_000_000),
        knee: Nanos::from_seconds(900),
        newest_exchange: NOW - Nanos(9_000_000),
        authenticated: true,
    };
    Memory { time: Some(time), frequency: Prior { mean: Ppb(1_500.0), deviation: Ppb(250.0) } }
}

/// A slot that a leader wrote.
fn slot() -> Vec<u8> {
    let rate = Rate(1_000_000_000);
    let span = UtcSpan {
        at: NOW,
        earliest: UTC - Nanos(60_000),
        latest: UTC + Nanos(70_000),
        slowest: Rate(-5_000_000_000),
        fastest: Rate(6_000_000_000),
        knee: Nanos::from_seconds(900),
        drift_long: Rate(4_000_000_000),
    };
    let line = Line { base: NOW, utc: UTC, slew: Rate(100_000_000_000), slew_end: NOW + Nanos(5_000_000), rate };
    let model = ClockModel {
        line,
        span,
        state: State::Synchronized,
        epoch: 3,
        holdover_at: NOW + Nanos::from_seconds(48),
        bound_cap: Nanos::from_seconds(1),
        newest_exchange: NOW,
        ..ClockModel::UNSYNCHRONIZED
    };
    let publication = Publication::new();
    let mut writer = Writer::new(&publication, None);
    assert!(writer.publish(&publication, 1, || NOW, |_| (model, ())).is_some());
    let (page, _) = publication.read(|_| Tick(NOW.0));
    // Header, tag, generation, tick; then the words.
    let mut output = Output::default().bytes(&[0, 0, 0, 0, 0, 0, 0, 64, page.tag(), 1]).sized(NOW.0).bytes(&[0]);
    for word in page.to_words() {
        output = output.sized(word.cast_signed());
    }
    output.done()
}

fn records(records: &[(u16, &[u8])]) -> Vec<u8> {
    let mut output = Output::default().short(20);
    for (kind, body) in records {
        output = output.bytes(&kind.to_be_bytes()).bytes(&(body.len() as u16).to_be_bytes()).bytes(body);
    }
    output.done()
}

/// The inputs that a target begins with.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let cookie = [5; 100];
    match target {
        "packet" => vec![request().bytes().into(), reply().bytes().into(), authenticated(&reply())],
        "extension" => {
            let mut fields = vec![0, 48, 0, 7];
            extension::push(&mut fields, field::UNIQUE, &[7; 32]);
            extension::push(&mut fields, field::COOKIE, &cookie);
            vec![fields[4..].to_vec(), fields]
        }
        "reply" => {
            let prefix = |t1: i64| Output::default().sized(t1).sized(100_000).sized(0).short(13_333).sized(1);
            let local = 1_795_000_001_000_000_000;
            vec![prefix(local).bytes(&reply().bytes()).done(), prefix(0).bytes(&authenticated(&reply())).done()]
        }
        "records" => {
            let end: (u16, &[u8]) = (0x8000, &[]);
            let protocol: (u16, &[u8]) = (0x8001, &[0, 0]);
            vec![
                records(&[protocol, (4, &[0, 15]), (5, &cookie), (5, &cookie), (6, b"ntp.example.org"), (7, &[0, 123]), end]),
                records(&[protocol, (4, &[0, 30]), (1024, &[]), (5, &cookie), end]),
                records(&[(0x8002, &[0, 1]), end]),
            ]
        }
        "sealed" => {
            let mut plaintext = Vec::new();
            extension::push(&mut plaintext, field::COOKIE, &cookie);
            let kind = |kind: u8| Output::default().bytes(&[kind]).short(0x0304).bytes(&[4, 1, 2, 3, 4]);
            let kind = |number| kind(number).short(plaintext.len() as u16).bytes(&plaintext);
            let nak = [3, 1, 0, 0, 3, 12, 0, b'N', b'T', b'S', b'N', 0, 84, 0];
            vec![kind(0).done(), kind(1).bytes(&[0, 4, 60, 0]).done(), kind(2).bytes(&nak).done()]
        }
        "asked" => vec![
            [&[255, 255], crate::nts::record::request().as_slice()].concat(),
            records(&[(0x8001, &[0, 0]), (0x8004, &[0, 17]), (0x8000, &[])]),
        ],
        "served" => vec![vec![0], vec![1], vec![2], vec![0, 0, 4, 40, 0], vec![1, 0, 0, 100, 0, 2, 84, 0, 3]],
        "key_file" => vec![
            b"# ours\n\n5 AES128 HEX:000102030405060708090a0b0c0d0e0f\n7 MD5 secret\n8 oldest\n".into(),
            b"1 AES256 of letters, there are 32 in here\n2 AES128 ASCII:sixteen letters!\n2 AES128 x".into(),
        ],
        "trace" => {
            let lines: String = recorded().iter().map(|entry| record::line(entry) + "\n").collect();
            vec![format!("{}\n{lines}", trace::HEADER).into(), b"raw_ns,utc\n1,5\n2\n2\n".into()]
        }
        "state_file" => {
            let bytes = crate::state::encode(&memory(), &Host { counter: NOW, ..files::host() });
            vec![Output::default().bytes(&[0]).sized(0).bytes(&bytes).done(), Output::default().bytes(&[1]).sized(1 << 40).bytes(&bytes).done()]
        }
        "shared_page" => vec![slot()],
        "server_list" => vec![
            b"ntp.example.org, pool:pool.example.org:124 nts ,[2001:db8::1]:5,192.0.2.1, ::1, fe80::1%eth0".into(),
            b"a nts,b:4461 nts".into(),
        ],
        "serve_config" => vec![
            include_bytes!("../../../bindings/systemd/ntpclock.toml").to_vec(),
            b"[server]\nlisten = [\"127.0.0.1:0\"]\nallow = [\"10.0.0.0/8\"]\ndeny = [\"::/0\"]\nthreads = 2\n[server.local]\nstratum = 3\nroot-dispersion-ms = 1.5\n[server.rate-limit]\nburst = 5\n".into(),
        ],
        "prefixes" => vec![
            Output::default().bytes(&[1, 8, 10, 0, 0, 0, 5, 16, 10, 1, 0, 0, 1, 24, 10, 1, 2, 0]).done(),
            Output::default().bytes(&[0, 10]).bytes(b"10.0.0.0/8").bytes(&[4, 4]).bytes(b"::/0").done(),
        ],
        "requests" => {
            let sent = |output: Output, bytes: &[u8]| output.short(bytes.len() as u16).bytes(bytes);
            let plain = request().bytes();
            let interleaved = Packet { origin: NtpTime(5), receive: NtpTime(9), version: 3, ..request() }.bytes();
            let first = Packet { mode: Mode::Other(0), version: 1, ..request() }.bytes();
            let all = sent(sent(sent(Output::default().bytes(&[0]), &plain), &interleaved), &first);
            let all = sent(sent(all, &authenticated(&request())), &reply().bytes());
            let limited = (0..8).fold(Output::default().bytes(&[1]), |all, _| sent(all, &plain));
            let secure = keyed::request(Algorithm::AesSivCmac256);
            let known = Algorithm::OFFERED.map(|algorithm| served::client(algorithm).1);
            let known = known.iter().fold(Output::default().bytes(&[0]), |all, request| sent(all, request));
            vec![all.done(), limited.done(), sent(Output::default().bytes(&[0]), &secure).done(), known.done()]
        }
        "core" => super::core::seeds(),
        "numbers" => vec![vec![0; 8], (0..200).collect(), vec![0xff; 180]],
        other => panic!("{other} has no seeds"),
    }
}

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(kind).join(target)
}

/// The files of a folder, by name; none if there is no folder.
fn kept(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeMap::new() };
    let file = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.expect("a folder of the repository is readable");
        let name = entry.file_name().into_string().expect("file names of the repository are UTF-8");
        (name, fs::read(entry.path()).expect("a file of the repository is readable"))
    };
    entries.map(file).collect()
}

#[test]
fn corpora_begin_with_what_our_own_code_makes() {
    for (target, _) in TARGETS {
        let folder = folder("corpus", target);
        let made: BTreeMap<String, Vec<u8>> =
            seeds(target).into_iter().enumerate().map(|(index, seed)| (format!("seed-{index}"), seed)).collect();
        if std::env::var_os("BLESS").is_some() {
            fs::create_dir_all(&folder).expect("the repository can be written to");
            made.iter().for_each(|(name, seed)| fs::write(folder.join(name), seed).expect("a file can be written"));
        }
        let mut committed = kept(&folder);
        committed.retain(|name, _| name.starts_with("seed-"));
        assert!(committed == made, "{target}: what is committed differs; `BLESS=1` writes it anew");
    }
}

#[test]
fn whatever_a_corpus_or_a_crash_holds_breaks_nothing() {
    for (target, run) in TARGETS {
        let (corpus, crashes) = (kept(&folder("corpus", target)), kept(&folder("crashes", target)));
        let size: usize = corpus.values().map(Vec::len).sum();
        assert!(!corpus.is_empty() && size <= CORPUS_MAX, "{target}: {} files, {size} bytes", corpus.len());
        for (name, input) in corpus.iter().chain(&crashes) {
            // Told by the test's own output if it fails.
            eprintln!("{target}/{name}");
            run(input);
        }
    }
}

#[test]
fn every_folder_of_inputs_belongs_to_a_target() {
    for kind in ["corpus", "crashes"] {
        let Ok(entries) = fs::read_dir(folder(kind, "")) else { continue };
        for entry in entries {
            let name = entry.expect("a folder of the repository is readable").file_name();
            assert!(TARGETS.iter().any(|(target, _)| name == *target), "{kind}/{}", name.display());
        }
    }
}

#[test]
fn the_worlds_that_the_core_begins_with_synchronise_it() {
    for (index, seed) in seeds("core").iter().enumerate() {
        assert!(super::core::synchronizes(seed), "world {index}");
    }
}

/// What `run` says when it fails.
fn breach(run: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let payload = std::panic::catch_unwind(run).expect_err("it does not fail");
    payload.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn whoever_breaks_what_a_target_states_is_caught() {
    let breached = breach(|| wire::packet_is(&reply(), &request().bytes()));
    assert!(breached.contains("writing undoes reading"), "{breached}");
    let breached = breach(super::core::believe_a_majority_of_liars);
    assert!(breached.contains("UTC is outside"), "{breached}");
    let answer = reply().bytes().to_vec();
    let breached = breach(|| crate::server::fuzzed::amplifies_nothing(&[], &[answer]));
    assert!(breached.contains("1 answers to 0"), "{breached}");
}
