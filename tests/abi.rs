//! What programs that are already compiled rely on: symbols, sizes, offsets, numbers, and the two
//! things the linker is told. A change here breaks somebody: `BLESS=1` renews the lists, a human decides.

#[path = "common/library.rs"]
#[expect(dead_code, reason = "no program of tests/c is built here")]
mod library;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::sync::OnceLock;

use library::{command, library, root, run, scratch};

/// Compares `now` with the list in `tests/abi`, or renews that.
fn compare(list: &str, now: &str) {
    let path = root().join("tests/abi").join(list);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, now).expect("tests/abi is writable");
    }
    let then = fs::read_to_string(&path).unwrap_or_default();
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (then.lines().collect(), now.lines().collect());
    assert!(
        then == now,
        "the binary interface differs from tests/abi/{list}\ngone: {:#?}\nnew: {:#?}",
        old.difference(&new).collect::<Vec<_>>(),
        new.difference(&old).collect::<Vec<_>>()
    );
}

fn header() -> String {
    fs::read_to_string(root().join("include/ntpclock.h")).expect("the header is committed")
}

/// The header without its comments.
fn code() -> String {
    let mut code = String::new();
    let mut rest = header();
    while let Some(start) = rest.find("/*") {
        code.push_str(&rest[..start]);
        let end = rest.find("*/").expect("comments end") + 2;
        rest = rest[end..].to_owned();
    }
    code + &rest
}

/// The bodies of all `typedef <kind> { … } name;` with their names.
fn definitions(code: &str, kind: &str) -> Vec<(String, String)> {
    let opening = format!("typedef {kind} {{");
    code.split(&opening)
        .skip(1)
        .map(|text| {
            let (body, rest) = text.split_once('}').expect("definitions end");
            let name = rest.split(';').next().expect("definitions have a name").trim();
            (name.to_owned(), body.to_owned())
        })
        .collect()
}

/// A C program that prints every size, offset and number of the header.
fn layout_program() -> String {
    let code = code();
    let mut prints = String::new();
    for (name, body) in definitions(&code, "enum") {
        writeln!(prints, "    printf(\"{name} size %zu\\n\", sizeof({name}));").unwrap();
        for entry in body.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let entry = entry.split_whitespace().next().unwrap();
            writeln!(prints, "    printf(\"{name} {entry} %d\\n\", (int){entry});").unwrap();
        }
    }
    for (name, body) in definitions(&code, "struct") {
        writeln!(prints, "    printf(\"{name} size %zu\\n\", sizeof({name}));").unwrap();
        for member in body.split(';').map(str::trim).filter(|member| !member.is_empty()) {
            let member = member.split('[').next().unwrap().split_whitespace().last().unwrap();
            writeln!(
                prints,
                "    printf(\"{name} {member} at %zu size %zu\\n\", offsetof({name}, {member}), \
                 sizeof((({name} *)0)->{member}));"
            )
            .unwrap();
        }
    }
    for constant in code.lines().filter_map(|line| line.strip_prefix("#define ")?.split_whitespace().next()) {
        // Versions change with every release; the include guard has no value.
        if constant != "NTPCLOCK_H" && !constant.starts_with("NTPCLOCK_VERSION") {
            writeln!(prints, "    printf(\"{constant} %d\\n\", (int){constant});").unwrap();
        }
    }
    format!("#include <stdio.h>\n#include <ntpclock.h>\nint main(void) {{\n{prints}    return 0;\n}}\n")
}

/// What that program prints.
fn layout() -> &'static str {
    static LAYOUT: OnceLock<String> = OnceLock::new();
    LAYOUT.get_or_init(|| {
        let directory = scratch("abi");
        let (source, program) = (directory.join("layout.c"), directory.join("layout"));
        fs::write(&source, layout_program()).expect("scratch is writable");
        let flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Iinclude", "-o"];
        run(command("gcc").args(flags).arg(&program).arg(&source));
        run(&mut command(program.to_str().expect("paths here are UTF-8")))
    })
}

#[test]
fn sizes_offsets_and_numbers_are_what_they_were() {
    compare("layout.txt", layout());
}

#[test]
fn no_member_hides_padding_before_it() {
    // Hidden padding would hand bytes of our stack to the caller, and could hold no new member.
    let layout = layout();
    for (name, _) in definitions(&code(), "struct") {
        let mut end = 0;
        for line in layout.lines().filter(|line| line.starts_with(&format!("{name} ")) && line.contains(" at ")) {
            let words: Vec<_> = line.split_whitespace().collect();
            let (offset, size): (usize, usize) = (words[3].parse().unwrap(), words[5].parse().unwrap());
            assert_eq!(offset, end, "{line}");
            end += size;
        }
        assert!(layout.contains(&format!("{name} size {end}\n")), "{name} ends in padding");
    }
}

#[test]
fn the_exported_symbols_are_the_functions_of_the_header() {
    let table = run(command("nm").args(["-D", "--defined-only", "--format=posix"]).arg(&library().shared));
    let mut symbols: Vec<_> = table.lines().filter_map(|line| line.split_whitespace().next()).collect();
    symbols.sort_unstable();
    assert!(symbols.iter().all(|symbol| symbol.starts_with("ntp_")), "{symbols:#?}");
    compare("symbols.txt", &format!("{}\n", symbols.join("\n")));

    let code = code();
    for symbol in symbols {
        assert!(code.contains(&format!("{symbol}(")), "{symbol} is exported but not in the header");
    }
}

#[test]
fn the_library_names_itself_and_is_never_unmapped() {
    let dynamic = run(command("readelf").args(["--dynamic", "--wide"]).arg(&library().shared));
    assert!(dynamic.contains("soname: [libntpclock.so.0]"), "{dynamic}");
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
}

#[test]
fn the_library_needs_nothing_but_the_c_library() {
    let dynamic = run(command("readelf").args(["--dynamic", "--wide"]).arg(&library().shared));
    for needed in dynamic.lines().filter(|line| line.contains("(NEEDED)")) {
        let allowed = ["[libc.so.6]", "[libgcc_s.so.1]", "[ld-linux-", "[libm.so.6]"];
        assert!(allowed.iter().any(|library| needed.contains(library)), "{needed}");
    }
}
