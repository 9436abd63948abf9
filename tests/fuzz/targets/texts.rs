//! What users write: lists of servers, and the file that `serve` reads.

#[cfg(feature = "cli")]
use std::path::Path;

#[cfg(feature = "cli")]
use crate::cli::settings::Settings;
use crate::config::{Config, SOURCES_MAX};

/// A list that is understood is written in canonical form, and means the same again; nothing is taken of any other.
pub(super) fn servers(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut config = Config::new();
    match config.add_servers(&text).map(drop) {
        Err(error) => {
            assert!(config.servers.is_empty() && !error.to_string().is_empty());
            assert!(error.to_string().len() < 2_000, "what is wrong is not told at any length");
        }
        Ok(()) => {
            assert!(config.servers.len() <= SOURCES_MAX);
            let canonical = config.servers();
            let mut again = Config::new();
            again.add_servers(&canonical).unwrap_or_else(|error| panic!("{canonical}: {error}"));
            assert_eq!(again.servers, config.servers, "{canonical}");
            assert_eq!(again.servers(), canonical);
            for server in &config.servers {
                assert!(server.port != 0 && (1..=253).contains(&server.host.len()), "{server:?}");
                assert!(!server.host.contains([' ', ',', '/', '\0']), "{server:?}");
            }
        }
    }
}

/// A file makes sense as a whole, or what is wrong is told with its line.
#[cfg(feature = "cli")]
pub(super) fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Settings::parse(&text, Path::new("serve.toml")) {
        Err(error) => {
            let (told, lines) = (error.to_string(), text.split('\n').count());
            let line = told.split(':').nth(1).and_then(|line| line.parse().ok()).unwrap_or(0);
            assert!((1..=lines).contains(&line), "{told}");
        }
        Ok(settings) => {
            let told = [settings.server().map(drop), settings.clock().map(drop)];
            assert!(told.iter().flat_map(|part| part.as_ref().err()).all(|error| !error.to_string().is_empty()));
        }
    }
}
