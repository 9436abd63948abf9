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

#[test]
fn every_language_serves_authenticated_time() {
    let authority = Authority::new();
    let identity = authority.identity("127.0.0.1");
    let programs: [(&str, Vec<PathBuf>); 3] = [
        ("C", vec![c_program("tests/c/securing.c")]),
        ("C++", vec![cpp_program("tests/cpp/securing.cpp")]),
        ("Python", vec![python(), root().join("tests/python/securing.py")]),
    ];
    for (language, program) in programs {
        let (first, rest) = program.split_first().expect("there is a program");
        let mut command = Command::new(first);
        let said = run(command.args(rest).arg(identity.certificate()).arg(identity.key()).arg(authority.file()));
        assert_eq!(said.trim(), "authenticated, 1 key exchange", "{language}");
    }
}

/// The command, told by a file and checked beforehand; what is wrong is named with the file, and where it can be with
/// the line.
#[test]
fn the_command_serves_what_a_file_says_and_names_what_is_wrong_with_it() {
    let authority = Authority::new();
    let identity = authority.identity("127.0.0.1");
    let directory = crate::peers::Directory::new();
    let (file, keys) = (directory.path().join("serve.toml"), directory.path().join("cookie-keys"));
    let statistics = directory.path().join("statistics.json");
    let text = |certificate: &Path| {
        format!(
            "statistics-file = {statistics:?}\n[server]\nlisten = [\"127.0.0.1:0\"]\n[server.local]\nstratum = 3\n\
             root-dispersion-ms = 2.0\n[server.nts]\ncertificate = {certificate:?}\nprivate-key = {:?}\nport = 0\n\
             cookie-keys = {keys:?}\n",
            identity.key()
        )
    };
    let ntpclock = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_ntpclock")).args(arguments).output().expect("it can be run");
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let path = file.to_str().expect("UTF-8");
    let check = |text: &str| {
        std::fs::write(&file, text).expect("it is writable");
        ntpclock(&["serve", "--config", path, "--check"])
    };
    // The first start makes the file of keys: so it need not be there, and is not made by a look.
    let (done, said) = check(&text(&identity.certificate()));
    assert!(done && !keys.exists(), "{said}");
    let (done, said) = check(&text(&identity.certificate()).replace("cookie-keys\"", "none/cookie-keys\""));
    assert!(!done && said.contains("serve.toml") && said.contains("none/cookie-keys"), "{said}");
    std::fs::write(&keys, "nonsense\n").expect("it is writable");
    std::fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("it is ours");
    let (done, said) = check(&text(&identity.certificate()));
    assert!(!done && said.contains("cookie-keys:1: a line has an id and a key"), "{said}");
    std::fs::remove_file(&keys).expect("it is there");
    let (done, said) = check(&text(&identity.key()));
    assert!(!done && said.contains("serve.toml") && said.contains("holds no certificate"), "{said}");
    let (done, said) = check(&(text(&identity.certificate()) + "prot = 1\n"));
    assert!(!done && said.contains("serve.toml:12: ") && said.contains("prot"), "{said}");
    let (done, said) = check(&text(&identity.certificate()));
    assert!(done && !keys.exists(), "{said}");

    let mut child = Command::new(env!("CARGO_BIN_EXE_ntpclock"))
        .args(["serve", "--config", path])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the command can be run");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("a pipe")));
    let exchanging = lines.nth(1).expect("a line").expect("text");
    let exchanger = exchanging.strip_prefix("exchanging keys on ").expect("an address");
    let answer = json(&["query", exchanger, "nts"], &authority.file());
    assert_eq!(answer[0]["authenticated"], true, "{answer}");
    let made = std::fs::read_to_string(&keys).expect("it was made");
    assert!(made.lines().last().is_some_and(|line| line.starts_with("1 HEX:")), "{}", made.lines().count());
    let begun = std::time::Instant::now();
    loop {
        let (_, told) = ntpclock(&["status", "--server", statistics.to_str().expect("UTF-8")]);
        if told.contains("1 requests, 1 replies, 0 told to exchange keys")
            && told.contains("key exchanges    1, 0 failed")
        {
            break;
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{told}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    child.kill().and_then(|()| child.wait()).expect("it ends");
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
