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

/// The rooms of the C face in the order in which a C programmer meets them.
#[cfg(feature = "header")]
const C_FACE: [&str; 11] =
    ["values", "result", "process", "config", "clock", "moments", "convert", "events", "query", "server", "text"];

/// Writes `ntpclock.h` into OUT_DIR; `tests/header.rs` compares it with the committed one.
#[cfg(feature = "header")]
fn header() {
    use std::path::PathBuf;

    println!("cargo:rerun-if-changed=cbindgen.toml");
    println!("cargo:rerun-if-changed=src/capi");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is readable");
    config.after_includes = Some(version_macros());
    // File by file, not `with_crate`: only the C face may speak in the header, and in this order.
    let builder = C_FACE.iter().fold(cbindgen::Builder::new().with_config(config), |builder, room| {
        builder.with_src(root.join("src/capi").join(room).with_extension("rs"))
    });
    let mut text = Vec::new();
    builder.generate().expect("cbindgen understands src/capi").write(&mut text);
    // Rust's tools want contracts under "# Safety"; C has no such heading.
    let text = String::from_utf8(text).expect("cbindgen writes UTF-8").replace("# Safety", "Contract:");
    std::fs::write(out.join("ntpclock.h"), text).expect("OUT_DIR is writable");
}

/// The version of the header: macros, since `#if` must be able to compare it.
#[cfg(feature = "header")]
fn version_macros() -> String {
    let part = |name: &str| env::var(format!("CARGO_PKG_VERSION{name}")).expect("cargo sets the version");
    let (major, minor, patch, whole) = (part("_MAJOR"), part("_MINOR"), part("_PATCH"), part(""));
    format!(
        "\n/** The version this header belongs to; `ntp_version_string` tells the library's. */\n\
         #define NTPCLOCK_VERSION_MAJOR {major}\n\
         #define NTPCLOCK_VERSION_MINOR {minor}\n\
         #define NTPCLOCK_VERSION_PATCH {patch}\n\
         #define NTPCLOCK_VERSION_STRING \"{whole}\"\n\
         /** The version as one number: 1.2.3 is 10203. */\n\
         #define NTPCLOCK_VERSION_NUMBER \\\n    \
         (NTPCLOCK_VERSION_MAJOR * 10000 + NTPCLOCK_VERSION_MINOR * 100 + NTPCLOCK_VERSION_PATCH)"
    )
}
