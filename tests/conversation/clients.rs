//! Clients that go on asking take the time from us: `chronyd` in both modes, and Python's `ntplib`.

use std::time::{Duration, Instant};

use ntpclock::{Server, ServerConfig};

use crate::library::{command, run};
use crate::peers::ChronydClient;
use crate::programs::python;
use crate::{await_that, beside_others};

/// A server of this machine's clock, stratum 3, 2 ms.
fn local() -> Server {
    let mut config = ServerConfig::new();
    config.add_listen("127.0.0.1:0").expect("a literal address");
    config.set_local(3, Duration::from_millis(2)).expect("a stratum");
    Server::start(None, &config).expect("a free port")
}

/// What a client on a busy machine may be off by.
const LIMIT_S: f64 = 1e-3;

/// The offsets that chronyd has measured of its server, and how: `B` in basic mode, `I` in interleaved mode.
fn measurements(client: &ChronydClient) -> Vec<(String, f64)> {
    let log = client.measurements_log();
    let lines = log.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // Date, time, address, leap and tests, polls and scores, offset, …; the mode is the last column but the stamps'
    // kinds.
    lines
        .filter(|words| words.len() > 15 && words[0].starts_with("20"))
        .map(|words| {
            let mode = words.iter().rev().find(|word| word.len() == 2 && word.starts_with('4')).expect("a mode");
            let offset = words.iter().find(|word| word.contains('e') && word.contains('.')).expect("an offset");
            (mode[1..].to_owned(), offset.parse().expect("a number"))
        })
        .collect()
}

fn followed(server: &Server, options: &str, mode: &str) {
    let client = ChronydClient::asking(server.addresses()[0], (0, 0), options);
    let begun = Instant::now();
    loop {
        let seen = measurements(&client);
        let right = seen.iter().filter(|(kind, offset)| kind == mode && offset.abs() < LIMIT_S).count();
        if right >= 5 && client.tracking_log().contains("127.0.0.1") {
            break;
        }
        let waited = begun.elapsed();
        assert!(
            waited < Duration::from_secs(30),
            "{options}: {seen:?}\n{}\n{}",
            client.said(),
            client.measurements_log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn chronyd_follows_us_in_basic_mode() {
    let _beside = beside_others();
    let server = local();
    followed(&server, "", "B");
    assert_eq!(server.statistics().interleaved, 0);
}

#[test]
fn chronyd_follows_us_in_interleaved_mode() {
    let _beside = beside_others();
    let server = local();
    followed(&server, "xleave", "I");
    let counted = || server.statistics().interleaved >= 5;
    await_that("they are counted", 20, counted, || format!("{:?}", server.statistics()));
}

#[test]
fn ntplib_accepts_the_time_we_serve_and_finds_it_right() {
    let _beside = beside_others();
    let server = local();
    let script = "import ntplib, sys\n\
        for version in (2, 3, 4):\n\
        \x20   answer = ntplib.NTPClient().request('127.0.0.1', port=int(sys.argv[1]), version=version)\n\
        \x20   print(answer.version, answer.stratum, answer.leap, answer.offset, answer.root_dispersion)\n";
    let port = server.addresses()[0].port().to_string();
    let said = run(command(python().to_str().expect("a path")).args(["-c", script, &port]));
    let lines: Vec<Vec<f64>> =
        said.lines().map(|line| line.split(' ').map(|word| word.parse().expect("a number")).collect()).collect();
    assert_eq!(lines.len(), 3, "{said}");
    for (line, version) in lines.iter().zip([2.0, 3.0, 4.0]) {
        assert_eq!(line[..3], [version, 3.0, 0.0], "{said}");
        assert!(line[3].abs() < LIMIT_S && line[4] >= 0.002, "{said}");
    }
}
