//! Every block of code in README.md is run as it stands there, against a server on loopback.

#[path = "common/library.rs"]
#[expect(dead_code, reason = "one compiler for each language will do here")]
mod library;
#[path = "common/programs.rs"]
mod programs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ntpclock::{Clock, Config, Server, ServerConfig};

use library::{command, root};
use programs::{c_program, cpp_program, python};

/// The languages whose blocks a test below runs.
const LANGUAGES: [&str; 5] = ["console", "c", "cpp", "python", "rust"];

/// This very test runs under it, and would run itself without end.
const OURSELVES: &str = "make test";

/// The set-up is run without any server named, as a newcomer would.
const SET_UP: [&str; 2] = ["make", "make demo"];

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("README.md is readable")
}

/// The fenced blocks of a text: language and content.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            found.push((language.to_owned(), body.join("\n") + "\n"));
        }
    }
    found
}

/// The blocks of one language, which the README does have.
fn blocks_in(language: &str) -> Vec<String> {
    let all = blocks(&readme()).into_iter();
    let found: Vec<String> = all.filter(|(of, _)| of == language).map(|(_, body)| body).collect();
    assert!(!found.is_empty(), "README.md shows no {language}");
    found
}

/// Writes a block where a compiler or an interpreter finds it.
fn file(name: &str, body: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    fs::write(&path, body).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

/// A server of this machine's clock on loopback.
fn server() -> Server {
    let mut config = ServerConfig::new();
    config.add_listen("127.0.0.1:0").expect("a literal address");
    config.set_local(1, Duration::from_millis(1)).expect("stratum 1 can be claimed");
    Server::start(None, &config).expect("loopback can be listened on")
}

/// Runs `command` against `server`; what it has said, once it has succeeded.
fn run(command: &mut Command, server: Option<&Server>) -> String {
    if let Some(server) = server {
        command.env("NTPCLOCK_SERVERS", server.addresses()[0].to_string());
    }
    let said = library::run(command.stdin(Stdio::null()));
    assert!(!said.is_empty(), "{command:?} says nothing");
    said
}

#[test]
fn every_block_is_in_a_language_that_is_run() {
    for (language, body) in blocks(&readme()) {
        assert!(LANGUAGES.contains(&language.as_str()), "nothing runs this block of `{language}`:\n{body}");
    }
    let sample = "a\n```sh\nx\ny\n```\nb\n```c\nz\n```\n";
    assert_eq!(blocks(sample), [("sh".into(), "x\ny\n".into()), ("c".into(), "z\n".into())]);
}

#[test]
fn the_set_up_is_two_commands() {
    let text = readme();
    let (_, section) = text.split_once("## Set-up\n").expect("README.md has a section `Set-up`");
    let section = section.split("\n## ").next().expect("a split has a first part");
    let expected: String = SET_UP.iter().map(|command| format!("$ {command}\n")).collect();
    assert_eq!(blocks(section), [("console".into(), expected)]);
}

#[test]
fn of_as_many_servers_as_are_asked_for_one_may_lie_and_of_fewer_none() {
    let shipped = fs::read_to_string(root().join("bindings/systemd/ntpclock.toml")).expect("it is readable");
    let asked_for = [readme(), shipped].map(|text| {
        let (before, _) = text.split_once(" or more and one of them may lie").expect("it is said");
        let word = before.rsplit(' ').next().expect("a split has a last part");
        ["none", "one", "two", "three", "four", "five"].iter().position(|number| *number == word).expect("a number")
    });
    let mut config = ServerConfig::new();
    (1..=5).for_each(|last| _ = config.add_listen(&format!("127.0.0.{last}:0")).expect("a literal address"));
    config.set_local(1, Duration::from_millis(1)).expect("stratum 1 can be claimed");
    let server = Server::start(None, &config).expect("loopback can be listened on");
    let liars = |count: usize| {
        let servers: Vec<String> = server.addresses().iter().take(count).map(ToString::to_string).collect();
        let clock = Clock::start(Config::with_servers(&servers.join(",")).expect("addresses")).expect("it starts");
        clock.wait(None, Some(Duration::from_secs(20))).expect("the servers answer");
        clock.report().fault_limit
    };
    for count in asked_for {
        assert_eq!((liars(count - 1), liars(count)), (0, 1), "of {count}");
    }
}

#[test]
fn every_command_does_what_it_says() {
    let server = server();
    for block in blocks_in("console") {
        for line in block.lines() {
            let typed = line.strip_prefix("$ ").unwrap_or_else(|| panic!("`{line}` is no command"));
            if typed == OURSELVES {
                continue;
            }
            let servers = (!SET_UP.contains(&typed)).then_some(&server);
            run(command("sh").args(["-c", typed]), servers);
        }
    }
}

#[test]
fn the_demonstration_follows_the_servers_it_is_given() {
    let server = server();
    let address = server.addresses()[0].to_string();
    let said = run(command("make").args(["demo", &format!("SERVERS={address}")]), None);
    assert!(said.contains(&address) && said.contains("SYNCHRONIZED"), "{said}");
}

#[test]
fn the_c_example_tells_the_time() {
    let server = server();
    for (number, body) in blocks_in("c").iter().enumerate() {
        let source = file(&format!("{number}.c"), body);
        let said = run(&mut Command::new(c_program(&source)), Some(&server));
        assert!(said.contains("ns since 1970"), "{said}");
    }
}

#[test]
fn the_cpp_example_tells_the_time() {
    let server = server();
    for (number, body) in blocks_in("cpp").iter().enumerate() {
        let source = file(&format!("{number}.cpp"), body);
        let said = run(&mut Command::new(cpp_program(&source)), Some(&server));
        assert!(said.contains("ns since 1970"), "{said}");
    }
}

#[test]
fn the_python_example_tells_the_time() {
    let server = server();
    for (number, body) in blocks_in("python").iter().enumerate() {
        let source = file(&format!("{number}.py"), body);
        let said = run(Command::new(python()).arg(source), Some(&server));
        assert!(said.contains("ns since 1970"), "{said}");
    }
}

#[test]
fn the_rust_examples_work_in_a_crate_that_depends_on_this_one() {
    let server = server();
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme-crate");
    fs::create_dir_all(package.join("src/bin")).expect("a directory can be made below target");
    // A workspace of its own, though it lies inside ours.
    let manifest = format!(
        "[package]\nname = \"readme\"\nedition = \"2024\"\n\n[dependencies]\nntpclock = {{ path = {:?} }}\n\n[workspace]\n",
        root()
    );
    fs::write(package.join("Cargo.toml"), manifest).expect("the package can be written");
    // With our own lock file it builds what is downloaded already.
    fs::copy(root().join("Cargo.lock"), package.join("Cargo.lock")).expect("the package can be written");
    let blocks = blocks_in("rust");
    for (number, body) in blocks.iter().enumerate() {
        fs::write(package.join(format!("src/bin/example{number}.rs")), body).expect("the package can be written");
    }
    for number in 0..blocks.len() {
        let mut cargo = command(env!("CARGO"));
        cargo.args(["run", "--quiet", "--offline", "--bin", &format!("example{number}"), "--manifest-path"]);
        cargo.arg(package.join("Cargo.toml")).arg("--target-dir").arg(package.join("target"));
        let said = run(&mut cargo, Some(&server));
        assert!(said.contains("ns since 1970") || said.contains("answering on 127.0.0.1:"), "{said}");
    }
}
