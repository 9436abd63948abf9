//! Authenticated time in every language, from either cipher's server.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Secure;
use crate::authority::Authority;
use crate::certificates::{IN_1970, on_a_host_of, without_a_clock};
use crate::library::{root, run};
use crate::peers::Release;
use crate::programs::{c_program, cpp_program, python};

fn programs() -> [(&'static str, Vec<PathBuf>); 3] {
    [
        ("C", vec![c_program("tests/c/secure.c")]),
        ("C++", vec![cpp_program("tests/cpp/secure.cpp")]),
        ("Python", vec![python(), root().join("tests/python/secure.py")]),
    ]
}

/// A host without a clock (case 27), and three servers of which one answers.
#[test]
fn every_language_is_told_that_a_time_is_provisional() {
    let authority = Authority::new();
    let server = Secure::start(Release::Present, authority.identity("127.0.0.1"), "");
    let (exchanger, others) = (server.entry().replace(" nts", ""), "127.0.0.1:9,127.0.0.2:9");
    for (language, program) in programs() {
        let (first, rest) = program.split_first().expect("there is a program");
        let mut command = Command::new(first);
        let said = run(without_a_clock(command.args(rest).arg(&exchanger).arg(authority.file()).arg(others)));
        assert_eq!(said.trim(), "provisional, source provisional", "{language}");
    }
    let servers = format!("{},127.0.0.1:9 nts,127.0.0.2:9 nts", server.entry());
    let (done, now, said) = on_a_host_of(IN_1970, &["now", "-s", &servers], &authority.file());
    assert!(done, "{said}");
    assert_eq!((&now["state"], &now["flags"]), (&"synchronized".into(), &serde_json::json!(["provisional"])), "{now}");
    let (_, sources, _) = on_a_host_of(IN_1970, &["sources", "-s", &servers], &authority.file());
    assert_eq!(sources[0]["nts"]["state"], "provisional", "{sources}");
}

#[test]
fn c_cpp_python_and_the_command_line_have_authenticated_time() {
    let authority = Authority::new();
    let servers = [(Release::Present, 15), (Release::Newer, 30)]
        .map(|(release, algorithm)| (Secure::start(release, authority.identity("127.0.0.1"), ""), algorithm));
    let programs = programs();
    for (server, algorithm) in &servers {
        let exchanger = server.entry().replace(" nts", "");
        for (language, program) in &programs {
            let (first, rest) = program.split_first().expect("there is a program");
            let said = run(Command::new(first).args(rest).arg(&exchanger).arg(authority.file()));
            let expected = format!("authenticated, cipher {algorithm}, query authenticated");
            assert_eq!(said.trim(), expected, "{language}");
        }
        command_line(&server.entry(), &authority.file(), *algorithm);
    }
}

/// Runs the command and takes its JSON apart.
pub(crate) fn json(arguments: &[&str], authority: &Path) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ntpclock"));
    command.args(arguments).args(["--json", "--no-platform-trust", "--trusted-certificates"]).arg(authority);
    serde_json::from_str(&run(&mut command)).expect("the command prints JSON")
}

fn command_line(entry: &str, authority: &Path, algorithm: u16) {
    let now = json(&["now", "-s", entry], authority);
    assert_eq!((&now["state"], &now["flags"][0]), (&"synchronized".into(), &"authenticated".into()), "{now}");
    let sources = json(&["sources", "-s", entry], authority);
    let nts = &sources[0]["nts"];
    assert_eq!((&nts["state"], &nts["algorithm"]), (&"authenticated".into(), &algorithm.into()), "{sources}");
    // As one argument, and as two.
    for asked in [vec!["query", entry], [&["query"][..], &entry.split(' ').collect::<Vec<_>>()].concat()] {
        let answer = json(&asked, authority);
        assert_eq!((&answer[0]["server"], &answer[0]["authenticated"]), (&entry.into(), &true.into()), "{answer}");
    }
}
