//! The borders of the tree, kept by reading the sources as text.
//!
//! Rooms stand in one order and a room knows only those before it; the core never asks the world for anything;
//! `unsafe` lives in three places; nothing is left undone. Every rule is also tried on a planted breach: a
//! rule that cannot fail keeps nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Every room of `src`, each knowing only those before it. Up to `synchronizer` they are the sans-IO core.
const ROOMS: [&str; 27] = [
    "units",
    "checksum",
    "status",
    "error",
    "mac",
    "packet",
    "nts",
    "config",
    "exchange",
    "model",
    "source",
    "selection",
    "synchronizer",
    "sys",
    "keys",
    "publication",
    "reading",
    "convert",
    "events",
    "trace",
    "state",
    "engine",
    "query",
    "clock",
    "server",
    "cli",
    "capi",
];

const LAST_OF_THE_CORE: &str = "synchronizer";

/// What only the world's side may name: time, threads, the network, files, the environment, the platform, locks.
const WORLD: [&str; 13] = [
    "Instant",
    "SystemTime",
    "thread",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "ToSocketAddrs",
    "fs",
    "env",
    "libc",
    "parking_lot",
    "crossbeam_channel",
    "Mutex",
];

/// Where `unsafe` is open, as rooms or single files.
const UNSAFE: [&str; 3] = ["sys", "publication/shared.rs", "capi"];

/// A room longer than this before its tests has a second idea in it.
const LINES_MAX: usize = 600;

/// One source file: its path below `src`, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The room a file belongs to: `clock` for `clock.rs` and `clock/process.rs`.
    fn room(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    fn is_core(&self) -> bool {
        ROOMS.iter().take_while(|room| **room != LAST_OF_THE_CORE).any(|room| *room == self.room())
            || self.room() == LAST_OF_THE_CORE
    }

    /// What the compiler sees in a build that is no test: no comments, no contents of literals, no tests.
    fn shipped(&self) -> String {
        let code = blank(&self.text);
        let under = |mark: &str| {
            code.find(mark).filter(|at| code[*at..].lines().nth(1).is_some_and(|next| next.contains("mod ")))
        };
        let end = under("#[cfg(test)]\nmod tests {").or_else(|| under("#[cfg(test)]\npub(crate) mod tests {"));
        code[..end.unwrap_or(code.len())].to_owned()
    }
}

fn library() -> Vec<Source> {
    let mut sources = Vec::new();
    collect(&root().join("src"), "", &mut sources);
    assert!(sources.len() > 10, "the sources were not found");
    sources
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below `folder`; `prefix` is the path so far, as `Source::path` has it.
fn collect(folder: &Path, prefix: &str, sources: &mut Vec<Source>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let entry = entry.expect("a folder of the repository is readable");
        let name = entry.file_name().into_string().expect("file names of the repository are UTF-8");
        let path = format!("{prefix}{name}");
        if entry.path().is_dir() && name != "target" {
            collect(&entry.path(), &format!("{path}/"), sources);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).expect("a source is UTF-8");
            sources.push(Source { path, text });
        }
    }
}

/// The same text with comments and the contents of literals blanked, line by line as it was.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (keep, skip) = if rest.starts_with("//") {
            (0, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (0, rest.find("*/").map_or(rest.len(), |end| end + 2))
        } else if let Some(hashes) = raw_string(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = hashes + 2;
            (0, rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len()))
        } else if first == '"' {
            (0, string_end(rest))
        } else if first == '\'' {
            // A character, or else a lifetime, of which only the quote is passed.
            let character = match rest[1..].chars().next() {
                Some('\\') => rest[3..].find('\'').map(|at| at + 4),
                Some(one) => rest[1 + one.len_utf8()..].starts_with('\'').then_some(2 + one.len_utf8()),
                None => None,
            };
            character.map_or((1, 0), |length| (0, length))
        } else if first.is_alphanumeric() || first == '_' {
            // A whole word, so that the `r` of `for"` begins no raw string.
            (rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()), 0)
        } else {
            (first.len_utf8(), 0)
        };
        out.push_str(&rest[..keep]);
        out.extend(rest[keep..keep + skip].chars().filter(|c| *c == '\n'));
        rest = &rest[keep + skip..];
    }
    out
}

/// The number of `#` if a raw string begins here.
fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// Where the string that begins here has ended.
fn string_end(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Where `word` stands alone in `code`, as byte positions; a macro's `!` is part of its name.
fn places_of<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !code[..at].chars().next_back().is_some_and(part)
            && !code[at + word.len()..].chars().next().is_some_and(|c| part(c) || c == '!')
    })
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The paths that begin at `rest`, which follows `crate::` or the like: one, or one for each branch of a group.
fn paths(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len());
        return vec![rest[..end].trim_end_matches("::").to_owned()];
    };
    let (mut depth, mut branches) = (1, vec![String::new()]);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => branches.push(String::new()),
            c if depth == 1 && !c.is_whitespace() => branches.last_mut().expect("one was begun").push(c),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    branches.retain(|branch| !branch.is_empty());
    branches
}

/// The names that `lib.rs` shows at the root, each with its room.
fn shown_at_the_root(sources: &[Source]) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    let lib = sources.iter().find(|source| source.path == "lib.rs").map(Source::shipped).unwrap_or_default();
    for line in lib.split(';') {
        let Some((_, path)) = line.split_once("pub use ") else { continue };
        let room = path.split("::").next().unwrap_or_default();
        let (_, names) = path.rsplit_once("::").unwrap_or_default();
        for name in paths(names) {
            shown.insert(name, room.to_owned());
        }
    }
    shown
}

/// Rooms that use rooms after them, or that have no place in the order.
fn looks_ahead(sources: &[Source]) -> Vec<String> {
    let place = |name: &str| ROOMS.iter().position(|room| *room == name);
    let shown = shown_at_the_root(sources);
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !["lib", "bin"].contains(&source.room())) {
        let Some(own) = place(source.room()) else {
            found.push(format!("src/{}: has no place in the order of rooms", source.path));
            continue;
        };
        // To the root leads one `super` for each step down.
        let to_the_root = "super::".repeat(source.path.matches('/').count() + 1);
        let code = source.shipped();
        for start in ["crate::", &to_the_root] {
            for (at, _) in code.match_indices(start) {
                if code[..at].ends_with("super::") {
                    continue;
                }
                for path in paths(&code[at + start.len()..]) {
                    let name = path.split("::").next().unwrap_or_default();
                    let room = place(name).or_else(|| place(shown.get(name)?));
                    if room.is_some_and(|room| room > own) {
                        found.push(format!(
                            "src/{}:{}: uses {path}, which comes after it",
                            source.path,
                            line_of(&code, at)
                        ));
                    }
                }
            }
        }
    }
    found
}

/// Places where a file of `which` has one of `words`, standing alone, in what is shipped.
fn words(sources: &[Source], which: impl Fn(&Source) -> bool, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| which(source)) {
        let code = source.shipped();
        for word in words {
            found
                .extend(places_of(&code, word).map(|at| format!("src/{}:{}: {word}", source.path, line_of(&code, at))));
        }
    }
    found
}

fn world_in_the_core(sources: &[Source]) -> Vec<String> {
    words(sources, Source::is_core, &WORLD)
}

fn panics_in_the_core(sources: &[Source]) -> Vec<String> {
    words(sources, Source::is_core, &["unwrap()", "expect(", "panic!", "unreachable!"])
}

fn stray_unsafe(sources: &[Source]) -> Vec<String> {
    let open = |source: &Source| UNSAFE.iter().any(|place| source.room() == *place || source.path == *place);
    words(sources, |source| !open(source), &["unsafe"])
}

fn noise(sources: &[Source]) -> Vec<String> {
    let loud =
        ["println!", "eprintln!", "print!", "eprint!", "dbg!", "process::exit", "exit(", "process::abort", "abort("];
    words(sources, |source| source.room() != "bin", &loud)
}

fn long_rooms(sources: &[Source]) -> Vec<String> {
    let long = sources.iter().map(|source| (source, source.shipped().lines().count()));
    long.filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(source, lines)| format!("src/{}: {lines} lines", source.path))
        .collect()
}

/// What is not finished, or not run, or silenced for a whole crate; also in tests.
fn undone(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let code = blank(&source.text);
        for mark in ["todo!", "unimplemented!", "#[ignore", "#![allow"] {
            found.extend(
                code.match_indices(mark).map(|(at, _)| format!("{}:{}: {mark}", source.path, line_of(&code, at))),
            );
        }
    }
    found
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// A tree of one file that breaks a rule, and the root that it may use.
fn planted(path: &str, text: &str) -> Vec<Source> {
    let lib = "mod status;\npub use clock::process::{now, stop};\npub use status::{Leap, State};\n";
    vec![Source { path: "lib.rs".into(), text: lib.into() }, Source { path: path.into(), text: text.into() }]
}

#[test]
fn a_room_uses_only_the_rooms_before_it() {
    assert_none("rooms look ahead", &looks_ahead(&library()));
    for (path, text) in [
        ("exchange.rs", "use crate::selection::Vote;"),
        ("exchange.rs", "use crate::{units::Nanos, model::{bound::D, Line}};"),
        ("exchange.rs", "fn f() { crate::now() }"),
        ("exchange.rs", "use super::engine::Engine;"),
        ("source/filter.rs", "use super::super::engine;"),
        ("source.rs", "use crate::synchronizer;"),
        ("strange.rs", ""),
    ] {
        assert_eq!(looks_ahead(&planted(path, text)).len(), 1, "{path}: {text}");
    }
    for (path, text) in [
        ("exchange.rs", "use crate::{units::Nanos, packet};"),
        ("exchange.rs", "// crate::engine\nconst A: &str = \"crate::engine\";"),
        ("exchange.rs", "#[cfg(test)]\nmod tests {\n use crate::engine;\n}"),
        ("source/filter.rs", "use super::Source;"),
        ("error.rs", "fn f(state: crate::State) {}"),
        ("selection.rs", "use crate::model::bound::Witness;"),
    ] {
        assert_none(path, &looks_ahead(&planted(path, text)));
    }
}

#[test]
fn the_core_asks_for_no_time_thread_socket_file_or_lock() {
    assert_none("the core names the world", &world_in_the_core(&library()));
    for text in ["use std::time::Instant;", "std::thread::sleep(d)", "use std::{fs, io};", "libc::getpid()"] {
        assert_eq!(world_in_the_core(&planted("model/bound.rs", text)).len(), 1, "{text}");
        assert_eq!(world_in_the_core(&planted("synchronizer.rs", text)).len(), 1, "{text}");
        assert_none("the world may", &world_in_the_core(&planted("engine.rs", text)));
    }
    let harmless = "use std::net::SocketAddr; // no thread\nconst BUILD: &str = env!(\"BUILD\");";
    assert_none("data from the compiler is harmless", &world_in_the_core(&planted("source.rs", harmless)));
}

#[test]
fn the_core_does_not_panic_on_purpose() {
    assert_none("the core may panic", &panics_in_the_core(&library()));
    for text in ["x.unwrap()", "x.expect(\"y\")", "panic!(\"y\")"] {
        assert_eq!(panics_in_the_core(&planted("packet.rs", text)).len(), 1, "{text}");
    }
    assert_none("a default is no panic", &panics_in_the_core(&planted("packet.rs", "x.unwrap_or(0)")));
}

#[test]
fn unsafe_code_stands_in_three_places() {
    assert_none("unsafe code elsewhere", &stray_unsafe(&library()));
    assert_eq!(stray_unsafe(&planted("publication/page.rs", "unsafe { f() }")).len(), 1);
    for path in ["sys.rs", "sys/socket.rs", "publication/shared.rs", "capi/clock.rs"] {
        assert_none(path, &stray_unsafe(&planted(path, "unsafe { f() }")));
    }
}

#[test]
fn the_library_neither_prints_nor_ends_its_host() {
    assert_none("the library is loud", &noise(&library()));
    for text in ["println!(\"x\")", "std::process::exit(1)", "std::process::abort()", "dbg!(x)"] {
        assert!(!noise(&planted("clock.rs", text)).is_empty(), "{text}");
        assert_none("the command may", &noise(&planted("bin/ntpclock.rs", text)));
    }
    assert_none("to a writer it may", &noise(&planted("cli.rs", "writeln!(out, \"x\")")));
}

#[test]
fn a_room_has_at_most_600_lines_before_its_tests() {
    assert_none("too long", &long_rooms(&library()));
    assert_eq!(long_rooms(&planted("clock.rs", &"f();\n".repeat(601))).len(), 1);
    let mostly_tests = format!("f();\n#[cfg(test)]\nmod tests {{\n{}}}\n", "f();\n".repeat(601));
    assert_none("tests do not count", &long_rooms(&planted("clock.rs", &mostly_tests)));
}

#[test]
fn nothing_is_left_undone_or_unrun() {
    let mut sources = library();
    for folder in ["tests", "python"] {
        if root().join(folder).exists() {
            collect(&root().join(folder), &format!("{folder}/"), &mut sources);
        }
    }
    assert_none("undone", &undone(&sources));
    for text in ["fn f() { todo!() }", "#[test]\n#[ignore = \"slow\"]\nfn f() {}", "#![allow(dead_code)]"] {
        assert_eq!(undone(&planted("clock.rs", text)).len(), 1, "{text}");
    }
}

/// The tests that `text` names: longer words in backticks, with or without their room.
fn tests_named(text: &str) -> Vec<&str> {
    let words = text.split('`').skip(1).step_by(2).map(|word| word.rsplit("::").next().unwrap_or(word));
    words
        .filter(|word| word.matches('_').count() > 3 && word.chars().all(|c| c.is_alphanumeric() || c == '_'))
        .collect()
}

#[test]
fn every_test_that_the_page_on_security_names_is_there() {
    let mut sources = library();
    collect(&root().join("tests"), "tests/", &mut sources);
    let all: String = sources.iter().map(|source| source.text.as_str()).collect();
    let page = fs::read_to_string(root().join("docs/security.md")).expect("a page of the repository is readable");
    let named = tests_named(&page);
    assert!(named.len() > 20, "{named:?}");
    // A scenario of the simulation is a function, and named by a macro's list.
    let is_there = |name: &str| all.contains(&format!("fn {name}("));
    assert_none(
        "no such test",
        &named.iter().filter(|name| !is_there(name)).map(ToString::to_string).collect::<Vec<_>>(),
    );
    assert_eq!(tests_named("as `room::a_test_with_a_name` and `ntp_now` say"), ["a_test_with_a_name"]);
}

#[test]
fn comments_and_literals_are_no_code() {
    for (text, code) in [
        ("a // b\nc", "a \nc"),
        ("a /* b\n */ c", "a \n c"),
        ("f(\"x \\\" y\", b\"z\")", "f(, b)"),
        ("f(r#\"x \" y\"#)", "f()"),
        ("f('\"', '\\'', 'a')", "f(, , )"),
        ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
    ] {
        assert_eq!(blank(text), code, "{text}");
    }
}
