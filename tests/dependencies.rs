//! `docs/dependencies.md` names whom we depend on, as cargo knows them. `BLESS=1` renews it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const BEGINNING: &str = "\
# Whom we depend on

All that becomes part of what is shipped, on Linux, beside the C library and Rust's own; what only the build or the tests
need is not listed. The table is made by `BLESS=1 cargo test --all-features --test dependencies`, and compared with what cargo says in every test run.
`make deny` fails where a licence, an origin or a second version of something is not as `deny.toml` allows.

| crate | version | licence | in |
|---|---|---|---|
";

/// What is shipped: a name, a manifest, and the features it is built with.
const SHIPPED: [(&str, &str, &str); 3] =
    [("library", "Cargo.toml", "capi,nts"), ("command", "Cargo.toml", "cli,nts"), ("Python", "python/Cargo.toml", "")];

/// Name and version to licence.
type Licences = BTreeMap<(String, String), String>;

/// What is built into the package of `manifest`.
fn dependencies(manifest: &str, features: &str) -> Licences {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--locked", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"]);
    command.arg("--manifest-path").arg(root.join(manifest)).args(["--features", features]);
    let output = command.output().expect("cargo can be run");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let nodes: BTreeMap<String, Value> =
        list(&metadata["resolve"]["nodes"]).into_iter().map(|node| (text(&node["id"]), node)).collect();
    let is_normal = |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
    let is_macro = |package: &Value| {
        list(&package["targets"]).iter().any(|target| list(&target["kind"]).contains(&"proc-macro".into()))
    };
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (text(&package["id"]), package)).collect();
    let (mut found, mut open) = (Licences::new(), vec![text(&metadata["resolve"]["root"])]);
    while let Some(id) = open.pop() {
        for dependency in list(&nodes[&id]["deps"]).iter().filter(|dependency| is_normal(dependency)) {
            let id = text(&dependency["pkg"]);
            let package = &packages[&id];
            if is_macro(package) {
                continue;
            }
            let key = (text(&package["name"]), text(&package["version"]));
            let own = package["source"].is_null();
            if own || found.insert(key, text(&package["license"])).is_none() {
                open.push(id);
            }
        }
    }
    found
}

#[test]
fn the_list_of_dependencies_is_what_cargo_says() {
    let mut licences = Licences::new();
    let mut places: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
    for (name, manifest, features) in SHIPPED {
        for (key, licence) in dependencies(manifest, features) {
            places.entry(key.clone()).or_default().push(name);
            licences.insert(key, licence);
        }
    }
    let mut page = BEGINNING.to_owned();
    for (key @ (name, version), licence) in &licences {
        assert!(!licence.is_empty(), "{name} {version} has no licence");
        writeln!(page, "| {name} | {version} | {licence} | {} |", places[key].join(", ")).expect("a string takes it");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dependencies.md");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &page).expect("docs/ is writable");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/dependencies.md is not as cargo says; BLESS=1 renews it:\n{page}");
    for known in ["rustls", "ring", "aes", "aes-gcm-siv", "libc"] {
        assert!(licences.keys().any(|(name, _)| name == known), "{known} is missing");
    }
}
