//! Stamps the build date into the crate and, with feature `header`, writes the C header.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo:rustc-env=NTPCLOCK_BUILD_DATE={}", build_date());
    #[cfg(feature = "header")]
    header();
}

/// Seconds since 1970 at which this build is made; reproducible builds name it themselves.
fn build_date() -> u64 {
    let named = env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    named.unwrap_or_else(clock)
}

/// Writes `ntpclock.h` into OUT_DIR; `tests/header.rs` compares it with the committed one.
#[cfg(feature = "header")]
fn header() {
    use std::path::PathBuf;

    println!("cargo:rerun-if-changed=cbindgen.toml");
    println!("cargo:rerun-if-changed=src");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is readable");
    cbindgen::Builder::new()
        .with_config(config)
        .with_crate(&root)
        .generate()
        .expect("cbindgen understands src/capi")
        .write_to_file(out.join("ntpclock.h"));
}
