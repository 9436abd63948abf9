//! The command `ntpclock` as a user runs it: exit codes, what goes where, and JSON that stays. `configuration` is what
//! `serve` is told.

mod configuration;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn ntpclock() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ntpclock"));
    command.env_remove("NTPCLOCK_SERVERS");
    command
}

/// `ntpclock serve` on a free port; ends with the test.
struct Upstream {
    child: Child,
    address: String,
}

impl Upstream {
    fn start() -> Self {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--local", "2", "--root-dispersion", "1"];
        let mut child = ntpclock().args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        assert!(line.starts_with("serving this machine's clock as stratum 2 on 127.0.0.1:"), "{line}");
        Self { child, address }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn now_prints_utc_with_its_bound() {
    let upstream = Upstream::start();
    let output = ntpclock().args(["now", "-s", &upstream.address]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let line = text(&output.stdout).trim();
    let (time, bound) = line.split_once(' ').unwrap();
    assert_eq!((time.len(), &time[10..11], &time[29..]), ("2026-11-22T17:03:47.123456789Z".len(), "T", "Z"));
    assert!(bound.starts_with('±') && bound.ends_with('s'), "{line}");
}

#[test]
fn the_environment_names_the_servers_if_no_option_does() {
    let upstream = Upstream::start();
    let output = ntpclock().args(["now", "--json"]).env("NTPCLOCK_SERVERS", &upstream.address).output().unwrap();
    let reading = json(&output);
    let ns = |name: &str| reading[name].as_i64().unwrap();
    assert!(ns("earliest_ns") <= ns("unix_ns") && ns("unix_ns") <= ns("latest_ns"));
    // The server claims 1 ms of root dispersion, and that is in the bound.
    assert!(ns("error_ns") >= 1_000_000, "{reading}");
    assert_eq!(reading["state"], "synchronized");
}

#[test]
fn a_time_that_is_not_synchronised_is_told_in_json_with_the_error_and_in_words_not_at_all() {
    let now = ["now", "-s", "127.0.0.1:1", "--timeout", "0.1"];
    let output = ntpclock().args(now).arg("--json").output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &told["state"]), (Some(1), &Value::from("unsynchronized")));
    assert_eq!(text(&output.stderr), format!("ntpclock: {}\n", told["error"].as_str().unwrap()));
    let output = ntpclock().args(now).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
}

#[test]
fn no_server_at_all_is_an_error() {
    let output = ntpclock().arg("now").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("ntpclock: no server is named"), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
}

#[test]
fn query_prints_one_line_a_server_and_fails_if_any_fails() {
    let upstream = Upstream::start();
    let output = ntpclock().args(["query", &upstream.address]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert!(lines[0].starts_with("server") && lines[1].starts_with(&upstream.address), "{lines:?}");
    assert_eq!(lines.len(), 2);

    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let both = ["query", "--timeout", "0.2", "--json", &upstream.address, &silent];
    let output = ntpclock().args(both).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&silent), "{}", text(&output.stderr));
    let answers: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers[0]["stratum"], 2);
    assert!(answers[0]["error"].is_null() && answers[1]["error"].is_string());
    // The server serves the clock we compare with: the offset is inside its bound.
    let ns = |name: &str| answers[0][name].as_i64().unwrap();
    assert!(ns("offset_ns").abs() <= ns("bound_ns") && ns("delay_ns") >= 0, "{answers}");
}

#[test]
fn query_takes_the_lists_that_name_servers_elsewhere() {
    let upstreams = [Upstream::start(), Upstream::start()];
    let [first, second] = upstreams.each_ref().map(|upstream| upstream.address.as_str());
    let list = format!("{first},{second}");
    // As `query $NTPCLOCK_SERVERS`, and as somebody types it.
    for arguments in [&[list.as_str()][..], &[&format!("{first},"), second], &[first, &format!(" {second} ")]] {
        let answers = json(&ntpclock().args(["query", "--json"]).args(arguments).output().unwrap());
        assert_eq!((&answers[0]["server"], &answers[1]["server"]), (&first.into(), &second.into()), "{arguments:?}");
        assert!(answers[1]["error"].is_null() && answers[2].is_null(), "{answers}");
    }
    // What makes no sense is told before anybody is asked; a server with ` nts` in a list is never asked without.
    for (wrong, entry) in [(format!("{list},[::1"), "[::1"), (format!("127.0.0.1 ntp,{first}"), "127.0.0.1 ntp")] {
        let output = ntpclock().args(["query", &wrong]).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""));
        assert!(text(&output.stderr).starts_with(&format!("ntpclock: server `{entry}`: ")), "{output:?}");
    }
    let output = ntpclock().args(["query", "--timeout", "0.3", &format!("{first} nts, {second}")]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stdout).contains(second) && text(&output.stderr).contains(&format!("{first} nts")),
        "{output:?}"
    );
    assert!(!text(&output.stdout).contains(first), "{output:?}");
}

#[test]
fn status_and_sources_say_the_same_to_people_and_to_programs() {
    let upstream = Upstream::start();
    let servers = ["-s", upstream.address.as_str()];
    let status = json(&ntpclock().arg("status").args(servers).arg("--json").output().unwrap());
    assert_eq!((&status["report"]["state"], &status["report"]["configured"]), (&"synchronized".into(), &1.into()));
    assert_eq!(status["report"]["stratum"], 3);
    let sources = json(&ntpclock().arg("sources").args(servers).arg("--json").output().unwrap());
    assert_eq!((&sources[0]["selection"], &sources[0]["stratum"]), (&"truechimer".into(), &2.into()));
    assert_eq!(sources[0]["address"], upstream.address.as_str());

    let output = ntpclock().arg("status").args(servers).output().unwrap();
    assert!(text(&output.stdout).contains("state            SYNCHRONIZED, epoch 1, 0 steps"), "{output:?}");
    let output = ntpclock().arg("sources").args(servers).output().unwrap();
    assert!(text(&output.stdout).contains("truechimer"), "{output:?}");
}

#[test]
fn a_source_that_answers_a_clock_without_time_has_no_offset() {
    let upstream = Upstream::start();
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let required = format!("{} require", silent.local_addr().unwrap());
    // Nothing is published without the one that is silent.
    let ask = ["sources", "--timeout", "0.7", "-s", &upstream.address, "--source", &required];
    let output = ntpclock().args(ask).arg("--json").output().unwrap();
    let sources: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [one, other] = [&sources[0], &sources[1]];
    assert!(one["exchanges"].as_u64() > Some(0) && one["delay_ns"].as_i64() > Some(0), "{one}");
    assert!(one["offset_ns"].is_null() && other["offset_ns"].is_null() && other["delay_ns"].is_null(), "{sources}");
    let output = ntpclock().args(ask).output().unwrap();
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    // The head stands over it: the last letter of `offset` and the dash in one column.
    let column = lines[0].find("offset").unwrap() + "offset".len() - 1;
    assert!(lines[1].starts_with(&upstream.address) && !lines[1].contains("+0 ns"), "{output:?}");
    assert!(lines[1].chars().nth(column) == Some('-') && lines[1].contains(" µs"), "{output:?}");
}

#[test]
fn options_of_a_source_and_the_reasons_of_its_refusals_are_shown() {
    let upstream = Upstream::start();
    let keys = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-keys", std::process::id()));
    std::fs::write(&keys, "5 AES128 HEX:000102030405060708090a0b0c0d0e0f\n").unwrap();
    std::fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let trusted = format!("{} trust require", upstream.address);
    let output = ntpclock().args(["sources", "--json", "--source", &trusted]).output().unwrap();
    let source = &json(&output)[0];
    assert_eq!((&source["trust"], &source["require"], &source["prefer"]), (&true.into(), &true.into(), &false.into()));
    assert_eq!((&source["authenticated"], &source["refusals"]["origin"]), (&false.into(), &0.into()));

    // The upstream knows no keys, and answers as if we had none.
    let keyed = format!("{} key 5", upstream.address);
    let command = ["sources", "--timeout", "1.5", "--keys", keys.to_str().unwrap(), "--source", &keyed];
    let output = ntpclock().args(command).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let table = text(&output.stdout);
    assert!(table.contains("key 5") && table.contains(" authentication"), "{table}");
    std::fs::remove_file(keys).unwrap();
}

#[test]
fn a_silent_server_is_shown_and_the_command_fails_in_time() {
    // Bound and never read: nobody answers.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let begun = Instant::now();
    let output = ntpclock().args(["sources", "-s", &address, "--timeout", "0.3"]).output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains(&address) && text(&output.stdout).contains("unreachable"), "{output:?}");
    assert!(text(&output.stderr).starts_with("ntpclock: the time ran out"), "{output:?}");
}

#[test]
fn the_demonstration_needs_no_network_and_says_what_it_is_relative_to() {
    let output = ntpclock().args(["demo", "--seconds", "2"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    let readings = shown.lines().filter(|line| line.contains("Z ±") && line.starts_with("20"));
    assert_eq!(readings.count(), 3, "{shown}");
    for part in ["relative to this machine's clock", "SYNCHRONIZED", "offset", "±", "truechimer"] {
        assert!(shown.contains(part), "{part:?} is missing:\n{shown}");
    }
    // The server in it claims 1 ms, and that is in every bound.
    let bound = shown.split_once('±').and_then(|(_, bound)| bound.split_once(" ms")).unwrap().0;
    assert!(bound.parse::<f64>().unwrap() >= 1.0, "{shown}");
}

#[test]
fn serve_ends_by_itself_if_told_to_and_refuses_a_port_in_use() {
    let local = ["serve", "--local", "3", "--root-dispersion", "1", "--duration", "0.1", "--listen"];
    let output = ntpclock().args(local).args(["127.0.0.1:0", "--listen", "[::1]:0"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert!(lines[0].contains("stratum 3 on 127.0.0.1:") && lines[1].contains("stratum 3 on [::1]:"), "{lines:?}");
    assert!(lines[2].starts_with("as of") && lines[3] == "requests         0, 0.0 a second lately", "{lines:?}");

    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let output = ntpclock().args(local).arg(taken.local_addr().unwrap().to_string()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("ntpclock: "), "{output:?}");
}

#[test]
fn status_shows_what_a_running_server_has_done() {
    let file = scratch("statistics.json");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--local", "2", "--root-dispersion", "1", "--statistics-file"];
    let mut child = ntpclock().args(arguments).arg(&file).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap();
    for _ in 0..3 {
        assert!(ntpclock().args(["query", address]).output().unwrap().status.success());
    }
    let begun = Instant::now();
    let told = loop {
        let told = ntpclock().args(["status", "--json", "--server"]).arg(&file).output().unwrap();
        if told.status.success() && json(&told)["replies"] == 3 {
            break json(&told);
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{told:?}");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!((&told["requests"], &told["limited"], &told["unsent"]), (&3.into(), &0.into(), &0.into()));
    let shown = ntpclock().args(["status", "--server"]).arg(&file).output().unwrap();
    assert!(text(&shown.stdout).contains("replies          3, "), "{shown:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::write(&file, "nonsense").unwrap();
    let refused = ntpclock().args(["status", "--server"]).arg(&file).output().unwrap();
    assert!(
        refused.status.code() == Some(2) && text(&refused.stderr).contains("no statistics of a server"),
        "{refused:?}"
    );
    std::fs::remove_file(file).unwrap();
}

#[test]
fn what_never_ends_is_read_to_a_limit_and_named() {
    let begun = Instant::now();
    for (arguments, limit) in [
        (&["status", "--server", "/dev/zero"][..], 1 << 16),
        (&["replay", "/dev/zero", "--queries", "/dev/null"], 1 << 29),
    ] {
        // Without a limit of its own it ends at this one, with another word or none.
        let mut limited = Command::new("prlimit");
        limited.arg("--as=3221225472").arg(env!("CARGO_BIN_EXE_ntpclock")).args(arguments);
        let output = limited.output().expect("prlimit (package util-linux)");
        let said = format!("ntpclock: reading /dev/zero: it has more than {limit} bytes\n");
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), said.as_str()), "{arguments:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(30));
}

/// A path for scratch files that no other test uses.
fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{}-{name}", std::process::id()))
}

#[test]
fn a_recording_can_be_replayed() {
    let (upstream, trace, queries) = (Upstream::start(), scratch("trace.csv"), scratch("queries.csv"));
    let record = ["record", trace.to_str().unwrap(), "-s", &upstream.address, "--duration", "3"];
    let output = ntpclock().args(record).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let recorded = std::fs::read_to_string(&trace).unwrap();
    let last = recorded.lines().last().unwrap();
    let t4: i64 = last.split(',').nth(4).unwrap().parse().unwrap();
    assert!(last.starts_with("0,") && last.split(',').nth(5) == Some("2"), "{recorded}");
    assert!(text(&output.stdout).ends_with(&format!("\n{} exchanges\n", recorded.lines().count() - 1)), "{output:?}");

    std::fs::write(&queries, format!("raw_ns\n{t4}\n")).unwrap();
    let output = ntpclock().arg("replay").arg(&trace).arg("--queries").arg(&queries).output().unwrap();
    std::fs::remove_file(trace).unwrap();
    std::fs::remove_file(queries).unwrap();
    let told = text(&output.stdout).lines().nth(1).unwrap();
    assert!(told.ends_with(",SYNCHRONIZED,1"), "{told}");
}

#[test]
fn a_recording_that_cannot_be_written_is_a_complaint_with_the_path() {
    for path in ["/dev/full", "/nonexistent/trace.csv"] {
        let output = ntpclock().args(["record", path, "-s", "127.0.0.1:9"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).starts_with(&format!("ntpclock: recording to {path}: ")), "{output:?}");
    }
}

#[test]
fn a_state_file_is_kept_and_one_that_is_refused_is_shown() {
    let (upstream, path) = (Upstream::start(), scratch("state"));
    let status = ["status", "--json", "-s", &upstream.address, "--state-file", path.to_str().unwrap()];
    for _ in 0..2 {
        let told = json(&ntpclock().args(status).output().unwrap());
        assert_eq!((&told["state_file_fault"], &told["report"]["epoch"]), (&Value::Null, &1.into()));
    }
    std::fs::write(&path, "something else").unwrap();
    let told = json(&ntpclock().args(status).output().unwrap());
    assert!(told["state_file_fault"].as_str().unwrap().contains("it is no state file"), "{told}");
    assert_eq!(std::fs::read(&path).unwrap(), b"something else");
    let shown = ntpclock().args(status.iter().filter(|argument| **argument != "--json")).output().unwrap();
    assert!(text(&shown.stdout).contains("warning") && text(&shown.stdout).contains("no state file"), "{shown:?}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_state_that_cannot_be_saved_is_a_complaint_and_a_failure() {
    let upstream = Upstream::start();
    let follow = ["-s", &upstream.address, "--state-file", "/nonexistent/state"];
    let serve = ["serve", "--listen", "127.0.0.1:0", "--user", "root", "--duration", "3"];
    let record = ["record", "/dev/null", "--duration", "3"];
    for command in [&["now"][..], &["now", "--json"], &["status"], &["sources"], &serve, &record] {
        let output = ntpclock().args(command).args(follow).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(!output.stdout.is_empty(), "{output:?}");
        let said = "ntpclock: writing state file /nonexistent/state: No such file or directory";
        assert!(text(&output.stderr).starts_with(said), "{output:?}");
    }
    // One that is not ours is left alone, and told of where nothing else would.
    let path = scratch("others-state");
    std::fs::write(&path, "something else").unwrap();
    let output = ntpclock().args(["now", "-s", &upstream.address, "--state-file"]).arg(&path).output().unwrap();
    assert!(output.status.success() && text(&output.stderr).contains("it is no state file"), "{output:?}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_server_without_an_end_tells_what_is_wrong_with_its_state_file() {
    let (upstream, path) = (Upstream::start(), scratch("served-state"));
    std::fs::write(&path, "something else").unwrap();
    let mut command = ntpclock();
    command.args(["serve", "--listen", "127.0.0.1:0", "--user", "root", "-s", &upstream.address, "--state-file"]);
    let mut child = command.arg(&path).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (said, heard) = std::sync::mpsc::channel();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let listener = std::thread::spawn(move || {
        let mut line = String::new();
        stderr.read_line(&mut line).and_then(|_| said.send(line).map_err(std::io::Error::other)).unwrap();
    });
    let line = heard.recv_timeout(Duration::from_secs(10)).unwrap_or_default();
    child.kill().unwrap();
    child.wait().unwrap();
    listener.join().unwrap();
    assert!(line.starts_with("ntpclock: ") && line.contains("it is no state file"), "{line}");
    std::fs::remove_file(path).unwrap();
}

/// The command with signals as they are by default: whoever runs the tests may have had some ignored.
fn askable() -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,TERM", env!("CARGO_BIN_EXE_ntpclock")]).env_remove("NTPCLOCK_SERVERS");
    command
}

/// Sends it `signal`, and again at once, as `timeout` does.
fn ask(child: &Child, signal: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id, &id]).status().unwrap().success());
}

#[test]
fn a_server_that_a_signal_ends_saves_its_state_and_tells_what_was_done() {
    let upstream = Upstream::start();
    for signal in ["-TERM", "-INT", "-HUP"] {
        let path = scratch(&format!("state-at-the-end{signal}"));
        let mut command = askable();
        command.args(["serve", "--listen", "127.0.0.1:0", "--user", "root", "-s", &upstream.address, "--state-file"]);
        let mut child = command.arg(&path).stdout(Stdio::piped()).spawn().unwrap();
        let (mut said, mut line) = (BufReader::new(child.stdout.take().unwrap()), String::new());
        said.read_line(&mut line).unwrap();
        let served = line.trim().rsplit(' ').next().unwrap();
        assert!(ntpclock().args(["now", "-s", served]).status().unwrap().success(), "it serves the time of {line}");
        ask(&child, signal);
        let mut told = String::new();
        said.read_to_string(&mut told).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal}: {told}");
        assert!(told.starts_with("as of ") && told.contains("\nrequests  "), "{signal}: {told}");
        assert!(!std::fs::read(&path).unwrap().is_empty(), "{signal}");
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_signal_that_the_command_was_told_to_ignore_does_not_end_it() {
    let serve = "trap '' HUP; exec \"$0\" serve --listen 127.0.0.1:0 --local 2 --root-dispersion 1 --user root";
    let mut command = Command::new("sh");
    let mut child = command.args(["-c", serve, env!("CARGO_BIN_EXE_ntpclock")]).stdout(Stdio::piped()).spawn().unwrap();
    let (mut said, mut line) = (BufReader::new(child.stdout.take().unwrap()), String::new());
    said.read_line(&mut line).unwrap();
    ask(&child, "-HUP");
    let served = line.trim().rsplit(' ').next().unwrap();
    assert!(ntpclock().args(["now", "-s", served]).status().unwrap().success(), "it serves on");
    ask(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_recording_that_a_signal_ends_saves_its_state_and_counts() {
    let (upstream, path, state) = (Upstream::start(), scratch("recorded"), scratch("recorded-state"));
    let mut command = askable();
    command.arg("record").arg(&path).args(["-s", &upstream.address, "--state-file"]).arg(&state);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while std::fs::read_to_string(&path).unwrap_or_default().lines().count() < 6 {
        assert!(begun.elapsed() < Duration::from_secs(20), "exchanges are recorded");
        std::thread::sleep(Duration::from_millis(20));
    }
    ask(&child, "-TERM");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && text(&output.stdout).ends_with(" exchanges\n"), "{output:?}");
    assert!(!std::fs::read(&state).unwrap().is_empty());
    std::fs::remove_file(path).unwrap();
    std::fs::remove_file(state).unwrap();
}

#[test]
fn a_page_is_shared_by_a_server_and_whoever_asks_for_the_status() {
    let (upstream, path) = (Upstream::start(), scratch("page"));
    let page = path.to_str().unwrap();
    let status = ["status", "--json", "-s", &upstream.address, "--shared-page", page];
    let alone = json(&ntpclock().args(status).output().unwrap());
    assert_eq!((&alone["report"]["role"], &alone["shared_page_fault"]), (&"leader".into(), &Value::Null), "{alone}");
    let mut server = ntpclock()
        .args(["serve", "--listen", "127.0.0.1:0", "-s", &upstream.address, "--shared-page", page])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It leads by the time that it says where it listens.
    std::io::BufRead::read_line(&mut std::io::BufReader::new(server.stdout.take().unwrap()), &mut String::new())
        .unwrap();
    let follower = json(&ntpclock().args(status).output().unwrap());
    assert_eq!(
        (&follower["report"]["role"], &follower["report"]["leader_pid"]),
        (&"follower".into(), &server.id().into())
    );
    assert_eq!(follower["reading"]["epoch"], 1);
    let shown = ntpclock().args(status.iter().filter(|argument| **argument != "--json")).output().unwrap();
    assert!(text(&shown.stdout).contains(&format!("follower; process {} leads", server.id())), "{shown:?}");
    server.kill().unwrap();
    server.wait().unwrap();
    std::fs::write(&path, "something else").unwrap();
    let refused = ntpclock().args(status).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains(&format!("shared page {page}: it is no shared page of ntpclock")),
        "{refused:?}"
    );
    std::fs::remove_file(&path).unwrap();
    std::fs::remove_file(format!("{page}.lock")).unwrap();
}

const LOCAL: [&str; 9] =
    ["serve", "--listen", "127.0.0.1:0", "--local", "3", "--root-dispersion", "1", "--duration", "0"];

#[test]
fn serve_follows_what_its_options_name_as_other_commands_do() {
    let follow = |source: &str, more: &[&str]| {
        let mut command = ntpclock();
        command.args(["serve", "--listen", "127.0.0.1:0", "--duration", "0", "--source", source]).args(more);
        command.output().unwrap()
    };
    let output = follow("192.0.2.1 prefer", &[]);
    assert!(text(&output.stdout).contains("serving the time of 192.0.2.1"), "{output:?}");
    let output = follow("192.0.2.1 key 5", &["--keys", "/nonexistent/keys"]);
    assert!(text(&output.stderr).contains("/nonexistent/keys") && !output.status.success(), "{output:?}");
}

#[test]
fn who_stays_root_says_so_unless_that_is_what_was_asked_for() {
    let said = |more: &[&str]| text(&ntpclock().args(LOCAL).args(more).output().unwrap().stderr).to_owned();
    // Whose this process is.
    let is_root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0;
    assert_eq!(said(&[]).contains("stays root"), is_root);
    assert_eq!(said(&["--user", "root"]), "");
}

#[test]
fn a_server_that_cannot_write_its_statistics_says_so_once_and_serves_on() {
    let directory = scratch("statistics");
    let file = directory.join("served.json");
    let mut command = ntpclock();
    command.args(["serve", "--listen", "127.0.0.1:0", "--local", "3", "--root-dispersion", "1", "--user", "root"]);
    command.args(["--duration", "2.5", "--statistics-file"]).arg(&file);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut line, mut stdout) = (String::new(), BufReader::new(child.stdout.take().unwrap()));
    stdout.read_line(&mut line).unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(ntpclock().args(["query", line.trim().rsplit(' ').next().unwrap()]).output().unwrap().status.success());
    let mut complaint = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
    stdout.read_to_string(&mut line).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{complaint}");
    assert!(complaint.starts_with("ntpclock: writing ") && complaint.lines().count() == 1, "{complaint}");

    // What lies where it would write aside is left alone.
    std::fs::create_dir(&directory).unwrap();
    let others = directory.join("others");
    std::fs::write(&others, "theirs").unwrap();
    std::os::unix::fs::symlink(&others, directory.join("served.json.new")).unwrap();
    let output = ntpclock().args(LOCAL).arg("--statistics-file").arg(&file).output().unwrap();
    assert!(output.status.success() && file.exists(), "{output:?}");
    assert_eq!(std::fs::read_to_string(&others).unwrap(), "theirs");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn misuse_ends_with_2_and_help_with_0() {
    for (arguments, code) in [
        (&["nonsense"][..], 2),
        (&["serve"], 2),
        (&["serve", "--listen", "127.0.0.1:0", "--local", "x", "--root-dispersion", "1"], 2),
        // Nobody but the operator can say how far this machine's clock is from UTC.
        (&["serve", "--listen", "127.0.0.1:0", "--local", "3", "--duration", "0"], 2),
        (&["serve", "--listen", "127.0.0.1:0", "--local", "3", "--root-dispersion", "1", "--shared-page", "page"], 2),
        (&["serve", "--listen", "127.0.0.1:0", "--root-dispersion", "1", "--duration", "0"], 2),
        // This machine's own clock follows nobody.
        (&[&LOCAL[..], &["--source", "127.0.0.1:9 prefer"]].concat(), 2),
        (&[&LOCAL[..], &["--keys", "file"]].concat(), 2),
        (&[&LOCAL[..], &["--trusted-certificates", "file"]].concat(), 2),
        (&[&LOCAL[..], &["--authentication", "require"]].concat(), 2),
        (&[&LOCAL[..], &["--interleaved"]].concat(), 2),
        // A value that makes no sense, whoever finds that out.
        (&[&LOCAL[..], &["--burst", "0"]].concat(), 2),
        (&[&LOCAL[..], &["--listen", "localhost:12"]].concat(), 2),
        (&["serve", "--config", "file", "--khronos"], 2),
        (&["serve", "--config", "file", "--threads", "2"], 2),
        (&["query", "host:70000"], 2),
        (&["query", ""], 2),
        (&["now", "-s", "a;b"], 2),
        // A server's statistics are in a file, which nobody has to be asked for.
        (&["status", "--server", "file", "--khronos"], 2),
        (&["status", "--server", "file", "--source", "127.0.0.1:9"], 2),
        (&["status", "--server", "file", "--no-platform-trust"], 2),
        (&["status", "--server", "file", "--state-file", "state"], 2),
        (&["status", "--server", "/nonexistent/file"], 1),
        (&["--help"], 0),
    ] {
        assert_eq!(ntpclock().args(arguments).output().unwrap().status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let mut child = ntpclock().arg("demo").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut complaint = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
    assert_eq!((child.wait().unwrap().code(), complaint.as_str()), (Some(0), ""));
}
