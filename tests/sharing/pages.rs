//! What is no page, no lock file, or somebody else's; and who may not write.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::house::{AMPLE, House, signal};
use ntpclock::{Clock, Config, Error, Role, State};

#[test]
fn a_page_of_another_boot_is_replaced_by_whoever_leads() {
    let house = House::new("boot");
    drop(house.synchronized());
    let mut bytes = fs::read(house.page()).unwrap();
    bytes[24] ^= 1;
    let checksum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    fs::write(house.page(), &bytes).unwrap();
    let inode = fs::metadata(house.page()).unwrap().ino();
    let clock = house.clock().unwrap();
    assert_eq!((clock.now().epoch, clock.report().role), (0, Role::Leader));
    assert_ne!(fs::metadata(house.page()).unwrap().ino(), inode);
    clock.wait(None, Some(AMPLE)).unwrap();
    assert_eq!(house.clock().unwrap().now().epoch, 1);
}

#[test]
fn a_page_of_another_time_namespace_is_refused_and_left_alone() {
    let house = House::new("namespace");
    let ours = house.synchronized();
    let before = fs::read(house.page()).unwrap();
    let mut command = Command::new("unshare");
    command.args([
        "--time",
        "--monotonic",
        "1000",
        env!("CARGO_BIN_EXE_ntpclock"),
        "now",
        "--servers",
        &house.servers(),
    ]);
    let output = command.arg("--shared-page").arg(house.page()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && told.contains("of another time namespace"), "{told}");
    assert_eq!(fs::read(house.page()).unwrap()[..64], before[..64]);
    assert_eq!((ours.report().role, ours.shared_page_fault()), (Role::Leader, None));
}

#[test]
fn a_start_that_may_not_lock_and_finds_no_page_says_why() {
    let mut house = House::new("barred");
    house.folder = std::env::temp_dir().join(format!("ntpclock-barred-{}", std::process::id()));
    fs::create_dir_all(&house.folder).unwrap();
    fs::set_permissions(&house.folder, fs::Permissions::from_mode(0o755)).unwrap();
    let told = std::thread::scope(|scope| {
        let nobody = scope.spawn(|| {
            become_nobody();
            house.clock().unwrap_err().to_string()
        });
        nobody.join().unwrap()
    });
    assert!(told.contains("page: ") && told.contains("page.lock: ") && told.contains("Permission denied"), "{told}");
    fs::remove_dir_all(&house.folder).unwrap();
}

/// Something that stands where a page, or its lock file, should be.
type Spoil = (&'static str, fn(&Path));

#[test]
fn what_is_no_page_or_no_lock_file_of_ours_fails_the_start_with_path_and_reason() {
    let link = |path: &Path| symlink("/dev/null", path).unwrap();
    let pipe = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    let foreign_owner = |path: &Path| {
        fs::File::options().append(true).create(true).open(path).unwrap();
        chown(path, Some(65_534), None).unwrap();
    };
    let writable = |path: &Path| {
        fs::File::options().append(true).create(true).open(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
    };
    let both: [Spoil; 5] = [
        ("it is no regular file", |path| fs::create_dir(path).unwrap()),
        ("it is no regular file", pipe),
        ("it is a symbolic link", link),
        ("it belongs to user 65534", foreign_owner),
        ("others may write it (mode 666)", writable),
    ];
    let pages: [Spoil; 5] = [
        ("it is no shared page", |path| fs::write(path, "my diary").unwrap()),
        ("it has 0 bytes", |path| fs::write(path, "").unwrap()),
        ("it has 4000 bytes", |path| fs::File::options().write(true).open(path).unwrap().set_len(4_000).unwrap()),
        ("version 2", |path| change(path, 8, 2)),
        ("its words are not what a leader wrote", |path| (128..2_176).for_each(|at| change(path, at, 0x55))),
    ];
    let house = House::new("refused");
    drop(house.synchronized());
    let whole = fs::read(house.page()).unwrap();
    let renew = |path: &Path, bytes: &[u8]| {
        let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let refused = |path: &Path, reason: &str| {
        let error = house.clock().expect_err(reason);
        let told = error.to_string();
        assert!(matches!(error, Error::SharedPage { .. }), "{told}");
        assert!(told.contains(reason) && told.contains(path.to_str().unwrap()), "{reason}: {told}");
    };
    for (reason, spoil) in both.iter().chain(&pages) {
        renew(&house.page(), &whole);
        let here = ["version", "4000", "words"].iter().any(|part| reason.contains(part));
        if !here {
            fs::remove_file(house.page()).unwrap();
        }
        spoil(&house.page());
        refused(&house.page(), reason);
    }
    renew(&house.page(), &whole);
    for (reason, spoil) in both {
        renew(&house.lock(), b"");
        fs::remove_file(house.lock()).unwrap();
        spoil(&house.lock());
        refused(&house.lock(), reason);
    }
    renew(&house.lock(), b"what is in it matters to nobody");
    assert_eq!(house.synchronized().now().epoch, 1);
}

#[test]
fn a_lock_file_that_cannot_be_made_is_no_unreadable_one() {
    let mut config = Config::with_servers("127.0.0.1:9").unwrap();
    config.set_shared_page("/nonexistent/page").unwrap();
    let told = Clock::start(config).unwrap_err().to_string();
    assert!(told.contains("/nonexistent/page.lock: it cannot be made or written: No such file"), "{told}");
}

fn change(path: &Path, at: u64, byte: u8) {
    fs::File::options().write(true).open(path).unwrap().write_all_at(&[byte], at).unwrap();
}

#[test]
fn a_page_that_is_taken_away_is_told_by_its_leader_and_its_followers_who_keep_it() {
    let removed: fn(&Path) = |path| fs::remove_file(path).unwrap();
    let replaced: fn(&Path) = |path| {
        fs::remove_file(path).unwrap();
        fs::write(path, "my diary").unwrap();
    };
    // Behind everything that is read: nobody is killed.
    let shortened: fn(&Path) = |path| fs::File::options().write(true).open(path).unwrap().set_len(4_000).unwrap();
    for (taken, reason) in [
        (removed, "it was removed"),
        (replaced, "another file was put in its place"),
        (shortened, "it has 4000 bytes, not 4096"),
    ] {
        let house = House::new("taken");
        let (leader, follower) = (house.synchronized(), house.clock().unwrap());
        taken(&house.page());
        for clock in [&leader, &follower] {
            let told = house.until("it is told", || clock.shared_page_fault());
            assert!(told.contains("taken/page: ") && told.contains(reason), "{told}");
        }
        let before = leader.report().exchanges;
        house.until("the leader goes on", || (leader.report().exchanges > before + 1).then_some(()));
        assert_eq!((follower.now().state, follower.now().epoch), (State::Synchronized, 1));
        if reason == "it was removed" {
            // Those who come later share another page, and do not meet the old ones.
            let later = house.synchronized();
            assert_eq!((later.report().role, leader.report().role), (Role::Leader, Role::Leader));
            assert_eq!((follower.report().role, later.shared_page_fault()), (Role::Follower, None));
        }
    }
}

/// What `docs/shared-page.md` says is not protected against: nothing of ours catches the signal, and nobody mends the file.
#[test]
fn a_page_that_is_cut_short_where_it_is_read_kills_its_readers_by_the_bus_error_that_nobody_catches() {
    let mut house = House::new("cut");
    (0..3).for_each(|place| house.enter("read", place));
    let leader = house.leader().unwrap();
    fs::File::options().write(true).open(house.page()).unwrap().set_len(0).unwrap();
    // Leader and followers alike: each reads the page many times a second.
    for place in 0..3 {
        let mut child = house.take(place);
        let status = house.until("it has ended", || child.try_wait().unwrap());
        assert_eq!(status.signal(), Some(libc::SIGBUS), "the process at {place}, {leader} leads: {status}");
    }
    assert_eq!(fs::metadata(house.page()).unwrap().len(), 0, "nobody but a host that does so writes a length");
    // Who comes later is not killed, but told.
    let told = house.clock().unwrap_err().to_string();
    assert!(told.contains("cut/page") && told.contains("it has 0 bytes"), "{told}");
}

/// Makes this thread, and those it starts, another user's: the system's own calls are about one thread.
#[expect(unsafe_code, reason = "the C library's function is about all threads")]
fn become_nobody() {
    // SAFETY: the call takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, -1, 65_534, -1) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn who_may_read_the_page_of_root_but_not_write_it_follows_and_never_leads() {
    let mut house = House::new("root");
    house.folder = std::env::temp_dir().join(format!("ntpclock-root-{}", std::process::id()));
    fs::create_dir_all(&house.folder).unwrap();
    let leader = house.synchronized();
    fs::set_permissions(house.page(), fs::Permissions::from_mode(0o644)).unwrap();
    std::thread::scope(|scope| {
        let nobody = scope.spawn(|| {
            become_nobody();
            house.clock().unwrap()
        });
        let follower = nobody.join().unwrap();
        let report = follower.report();
        assert_eq!((report.state, report.role, report.leader_pid), (State::Synchronized, Role::Follower, 0));
        drop(leader);
        sleep(Duration::from_secs(1));
        assert_eq!((follower.report().role, follower.shared_page_fault()), (Role::Follower, None));
        // The next one of root's leads, and is followed.
        let next = house.clock().unwrap();
        assert_eq!(next.report().role, Role::Leader);
        house.until("it asks", || (next.report().exchanges > 1).then_some(()));
        assert_eq!((follower.now().state, follower.now().epoch), (State::Synchronized, 1));
    });
    fs::remove_dir_all(&house.folder).unwrap();
}

#[test]
fn where_the_lock_file_is_taken_away_there_still_is_but_one_leader() {
    let house = House::new("unlocked");
    let leader = house.synchronized();
    fs::remove_file(house.lock()).unwrap();
    let others = [house.clock().unwrap(), house.clock().unwrap()];
    sleep(Duration::from_secs(1));
    assert_eq!(others.each_ref().map(|clock| clock.report().role), [Role::Follower; 2]);
    assert_eq!(leader.report().role, Role::Leader);
    drop(leader);
    house.until("another leads", || others.iter().any(|clock| clock.report().role == Role::Leader).then_some(()));
}

#[test]
fn words_that_somebody_else_writes_are_told_and_not_taken_over() {
    let mut house = House::new("damaged");
    house.enter("read", 0);
    let follower = house.clock().unwrap();
    let leader = house.leader().unwrap();
    // Who is stopped writes nothing while somebody else does, into words that no reader of the time looks at.
    signal(leader, "-STOP");
    for slot in [128, 1_152] {
        change(&house.page(), slot + 8 * 100, 0x55);
        change(&house.page(), slot + 8 * 101, 0xaa);
    }
    let mut child = house.take(0);
    child.kill().unwrap();
    child.wait().unwrap();
    let told = house.until("it is told", || follower.shared_page_fault());
    assert!(told.contains("damaged/page: its words are not what a leader wrote"), "{told}");
    sleep(Duration::from_millis(600));
    assert_eq!(follower.report().role, Role::Follower);
    // What is known goes on; it is only that nobody adds to it.
    assert!(follower.now().state.is_usable());
}
