//! Symmetric keys: a real server that knows ours, and one that does not.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ntpclock::{Clock, Config, Flags, Reason, Selection, ServerOptions, State};

use crate::peers::{Chronyd, Directory};
use crate::{await_that, beside_others, synchronize, table};

const OURS: &str = "\
# id  type    key
5     AES128  HEX:000102030405060708090a0b0c0d0e0f
6     AES256  HEX:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
7     MD5     HEX:00010203
8     AES128  HEX:0f0e0d0c0b0a09080706050403020100
";

/// Key 8 is another than ours.
const THEIRS: &str = "\
5 AES128 HEX:000102030405060708090a0b0c0d0e0f
6 AES256 HEX:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
8 AES128 HEX:ffffffffffffffffffffffffffffffff
";

/// A configuration that knows our keys and follows nobody yet.
fn config() -> Config {
    let directory = Directory::new();
    let file = directory.path().join("keys");
    fs::write(&file, OURS).expect("the temporary directory is writable");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let mut config = Config::new();
    config.load_keys(&file).expect("the file is ours, and well formed");
    config.set_poll_exponents(0, 0).expect("one second can be asked for");
    config
}

fn with_key(key: u32) -> ServerOptions {
    ServerOptions { key: Some(key), ..ServerOptions::default() }
}

#[test]
fn chronyd_and_we_authenticate_each_other_by_aes_cmac_of_either_length() {
    let _beside = beside_others();
    let server = Chronyd::with_keys(THEIRS);
    for key in [5, 6] {
        let mut config = config();
        config.add_servers_with(&server.entry(), with_key(key)).expect("an address is a server");
        let clock = Clock::start(config).expect("the key is known");
        synchronize(&clock);
        assert!(clock.now().flags.contains(Flags::AUTHENTICATED), "{}", table(&clock));
        assert!(clock.report().flags.contains(Flags::AUTHENTICATED));
        let source = &clock.sources()[0];
        assert_eq!((source.authenticated, source.options.key, source.rejected), (true, Some(key), 0));
    }
}

#[test]
fn a_server_that_has_another_key_or_none_is_not_believed() {
    let _beside = beside_others();
    let (stranger, plain) = (Chronyd::with_keys(THEIRS), Chronyd::start());
    let mut config = config();
    config.add_servers_with(&stranger.entry(), with_key(8)).expect("an address is a server");
    config.add_servers_with(&plain.entry(), with_key(5)).expect("an address is a server");
    let clock = Clock::start(config).expect("the keys are known");
    // Neither answers what it cannot authenticate.
    let refused = || {
        clock.sources().iter().all(|source| {
            let counts = [Reason::Silence, Reason::Authentication, Reason::Nak];
            source.exchanges == 0 && counts.iter().map(|&reason| source.refusals.count(reason)).sum::<u64>() >= 3
        })
    };
    await_that("both have failed to answer rightly", 30, refused, || table(&clock));
    assert_eq!(clock.now().state, State::Unsynchronized);
}

#[test]
fn what_is_not_authenticated_may_refine_but_not_contradict() {
    let _beside = beside_others();
    let (keyed, plain, liar) = (Chronyd::with_keys(THEIRS), Chronyd::start(), Chronyd::shifted_by(5));
    let other_liar = Chronyd::shifted_by(5);
    let mut config = config();
    config.add_servers_with(&keyed.entry(), with_key(5)).expect("an address is a server");
    for server in [&plain, &liar, &other_liar] {
        config.add_servers(&server.entry()).expect("an address is a server");
    }
    let clock = Clock::start(config).expect("the key is known");
    synchronize(&clock);
    let (good, bad) = (Selection::Truechimer, Selection::Falseticker);
    let judged = || {
        let selections: Vec<_> = clock.sources().iter().map(|source| source.selection).collect();
        selections == [good, good, bad, bad]
    };
    await_that("two liars of four are named", 20, judged, || table(&clock));
    assert!(!clock.now().flags.contains(Flags::AUTHENTICATED), "one that is not has part in the estimate");
    // A verdict is counted with the next answer of the one it is about.
    let counted = || clock.sources()[2].refusals.count(Reason::Falseticker) > 0;
    await_that("the liar's answers are counted", 20, counted, || table(&clock));
}
