//! The promise: three languages, synchronised to a real server, read its time and an interval that holds it.

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::library::root;
use crate::peers::Chronyd;
use crate::programs::{c_program, cpp_program, python};
use crate::{LIMIT_NS, alone};

/// How long every reader watches.
const SECONDS: &str = "60";

/// Nine programs that start in the same moment on two cores would measure how those are shared out: the first
/// exchange of one would wait for the start of the others.
const APART: Duration = Duration::from_millis(700);

/// Each reader samples about every millisecond; a tenth of that must have come about on a busy machine.
const FEWEST_SAMPLES: i64 = 6_000;

struct Reader {
    name: String,
    child: Child,
}

#[test]
fn c_cpp_and_python_read_a_real_servers_time_within_200_us_and_the_interval_always_holds_it() {
    let c = c_program("tests/c/track.c");
    let cpp = cpp_program("tests/cpp/track.cpp");
    let python = python();
    let _alone = alone();
    let servers = [0, 5, -5].map(|shift| (shift, Chronyd::shifted_by(shift)));
    let mut readers = Vec::new();
    for (shift, server) in &servers {
        let mut start = |language: &str, command: &mut Command| {
            command.args([&server.entry(), &(shift * 1_000_000_000).to_string(), SECONDS]);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
            sleep(APART);
            readers.push(Reader { name: format!("{language}, server {shift:+} s"), child });
        };
        start("C", &mut Command::new(&c));
        start("C++", &mut Command::new(&cpp));
        start("Python", Command::new(&python).arg(root().join("tests/python/track.py")));
    }
    // All are waited for before any is judged, so that none outlives the test.
    let judged: Vec<Result<String, String>> = readers.into_iter().map(judge).collect();
    let bad: Vec<&String> = judged.iter().filter_map(|result| result.as_ref().err()).collect();
    for line in judged.iter().flatten() {
        println!("{line}");
    }
    assert!(bad.is_empty(), "{} of {} readers went wrong: {bad:#?}", bad.len(), judged.len());
}

/// Waits for a reader and holds its summary against the promise.
fn judge(reader: Reader) -> Result<String, String> {
    let Reader { name, child } = reader;
    let output = child.wait_with_output().expect("a child can be waited for");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let line = format!("{name}: {} {}", said.trim(), complained.trim());
    let figure = |key: &str| {
        let word = said.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        word.and_then(|digits| digits.parse::<i64>().ok()).ok_or_else(|| format!("no {key} in: {line}"))
    };
    let kept = output.status.success()
        && figure("samples")? >= FEWEST_SAMPLES
        && figure("p99_ns")? <= LIMIT_NS
        && figure("outside")? == 0
        && figure("backwards")? == 0
        && figure("unsynchronized")? == 0;
    if kept { Ok(line) } else { Err(format!("{line} ({})", output.status)) }
}
