//! `ntpclock serve` as a service: root is given up once the port is bound, sockets may be passed to it, and the unit is
//! what systemd understands.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::namespace::{inside, loopback_up};
use crate::system::{only_ipv6, pass, unbound};
use crate::wire::{Client, request};

/// The command; killed when dropped.
struct Serve {
    child: Child,
    addresses: Vec<SocketAddr>,
}

impl Serve {
    fn start(command: &mut Command, count: usize) -> Self {
        let mut child = command.env_remove("NTPCLOCK_SERVERS").stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).take(count);
        let addresses = lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        Self { child, addresses }
    }

    fn ask(&self, index: usize) -> u8 {
        Client::of(self.addresses[index]).ask(&request(4, 3, 5)).stratum
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ntpclock"));
    command.args(["serve", "--local", "3", "--root-dispersion", "1"]);
    command
}

#[test]
fn case_20_root_binds_port_123_and_is_then_nobody_any_more() {
    inside(module_path!(), "case_20_root_binds_port_123_and_is_then_nobody_any_more", || {
        loopback_up();
        let serve = Serve::start(command().args(["--listen", "127.0.0.1:123", "--user", "nobody"]), 1);
        assert_eq!(serve.ask(0), 3);
        for task in fs::read_dir(format!("/proc/{}/task", serve.child.id())).unwrap().flatten() {
            let status = fs::read_to_string(task.path().join("status")).unwrap();
            let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
            let numbers = |name: &str| line(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            // Real, effective, saved and of files; no capability is left, and no group of root's.
            assert_eq!(numbers("Uid:"), ["65534"; 4]);
            assert_eq!(numbers("Gid:"), ["65534"; 4]);
            assert!(!numbers("Groups:").contains(&"0".to_owned()), "{status}");
            assert_eq!(
                (line("CapEff:"), line("CapPrm:")),
                ("0000000000000000".to_owned(), "0000000000000000".to_owned())
            );
            // Nor is any to be had again.
            assert_eq!(line("NoNewPrivs:"), "1");
        }
    });
}

/// As the unit starts it: with the capabilities that binding takes, as a user who has no others.
#[test]
fn capabilities_for_binding_are_given_up_once_it_is_done() {
    inside(module_path!(), "capabilities_for_binding_are_given_up_once_it_is_done", || {
        loopback_up();
        let mut nobody = Command::new("setpriv");
        nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        nobody.args(["--inh-caps=+net_bind_service,+net_admin", "--ambient-caps=+net_bind_service,+net_admin"]);
        nobody.arg(env!("CARGO_BIN_EXE_ntpclock")).args(["serve", "--local", "3", "--root-dispersion", "1"]);
        let serve = Serve::start(nobody.args(["--listen", "127.0.0.1:123"]), 1);
        assert_eq!(serve.ask(0), 3);
        for task in fs::read_dir(format!("/proc/{}/task", serve.child.id())).unwrap().flatten() {
            let status = fs::read_to_string(task.path().join("status")).unwrap();
            for kind in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
                assert!(status.contains(&format!("{kind}\t0000000000000000")), "{status}");
            }
            assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        }
    });
}

#[test]
fn a_user_that_does_not_exist_is_an_error_before_anything_is_served() {
    let output = command().args(["--listen", "127.0.0.1:0", "--user", "nobody-of-that-name"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && said.contains("nobody-of-that-name") && output.stdout.is_empty(),
        "{said}"
    );
}

#[test]
fn sockets_that_are_passed_are_served() {
    let sockets = ["127.0.0.1:0", "[::1]:0"].map(|address| UdpSocket::bind(address).unwrap());
    let expected = sockets.each_ref().map(|socket| socket.local_addr().unwrap());
    let descriptors = sockets.each_ref().map(AsRawFd::as_raw_fd);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("passed-{}.toml", std::process::id()));
    fs::write(&file, "[server.local]\nstratum = 4\nroot-dispersion-ms = 1.0\n").unwrap();
    // The shell stays the process that systemd would have started: it knows its own number, and becomes the command.
    let mut shell = Command::new("sh");
    shell.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=2 exec \"$0\" serve --config \"$1\""]);
    shell.arg(env!("CARGO_BIN_EXE_ntpclock")).arg(&file);
    pass(&mut shell, descriptors);
    let serve = Serve::start(&mut shell, 2);
    assert_eq!(serve.addresses, expected);
    drop(sockets);
    assert_eq!((serve.ask(0), serve.ask(1)), (4, 4));
    fs::remove_file(file).unwrap();
    // Of another process's number they are not meant for us.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "LISTEN_PID=1 LISTEN_FDS=2 exec \"$0\" serve --listen 127.0.0.1:0 --local 3 --root-dispersion 1"]);
    let serve = Serve::start(shell.arg(env!("CARGO_BIN_EXE_ntpclock")), 1);
    assert_eq!(serve.ask(0), 3);
}

#[test]
fn sockets_that_are_passed_need_no_address_beside_and_what_is_odd_about_them_is_named() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let bound = || UdpSocket::bind("127.0.0.1:0").unwrap();
    let shell = |pid: &str, count: &str, descriptor: &dyn AsRawFd| {
        let mut shell = Command::new("sh");
        let script = format!("LISTEN_PID={pid} LISTEN_FDS={count} exec \"$0\" serve --local 3 --root-dispersion 1");
        shell.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_ntpclock"));
        pass(&mut shell, [descriptor.as_raw_fd()]);
        shell
    };
    let socket = bound();
    let serve = Serve::start(&mut shell("$$", "1", &socket), 1);
    assert_eq!(serve.addresses, [socket.local_addr().unwrap()]);
    drop(socket);
    assert_eq!(serve.ask(0), 3);

    let connected = bound();
    connected.connect("127.0.0.1:9").unwrap();
    let path = directory.join(format!("passed-{}.socket", std::process::id()));
    let unix = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let (tcp, file) = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), fs::File::open("/dev/null").unwrap());
    let count = |text: &str| format!("`LISTEN_FDS` is `{text}`; 1 to 64 is possible");
    let pid = |text: &str| format!("`LISTEN_PID` is `{text}`; 1 to 2147483647 is possible");
    let third = |why: &str| format!("taking over descriptor 3: {why}");
    let nowhere = "`listen` names no address, and no sockets are passed (LISTEN_FDS, LISTEN_PID)";
    for (listen_pid, listen_fds, descriptor, why) in [
        ("$$", "many", &bound() as &dyn AsRawFd, count("many")),
        ("$$", "0", &bound(), count("0")),
        ("$$", "-1", &bound(), count("-1")),
        ("$$", "65", &bound(), count("65")),
        ("$$", "''", &bound(), count("")),
        ("me", "1", &bound(), pid("me")),
        ("0", "1", &bound(), pid("0")),
        // They are somebody else's: what is missing is an address.
        ("1", "many", &bound(), nowhere.to_owned()),
        ("$$", "2", &bound(), "taking over descriptor 4: ".to_owned()),
        ("$$", "1", &unbound(), third("it is not bound to a port")),
        ("$$", "1", &connected, third("it is connected to 127.0.0.1:9, and hears nobody else")),
        ("$$", "1", &unix, third("it is no UDP socket")),
        ("$$", "1", &tcp, third("it is no UDP socket")),
        ("$$", "1", &file, third("Socket operation on non-socket")),
    ] {
        let output = shell(listen_pid, listen_fds, descriptor).env_remove("NTPCLOCK_SERVERS").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.starts_with(&format!("ntpclock: {why}")) && output.stdout.is_empty(), "{why}: {said}");
        assert!(!output.status.success(), "{why}");
    }
}

#[test]
fn the_shipped_configuration_serves_the_sockets_of_the_shipped_unit() {
    inside(module_path!(), "the_shipped_configuration_serves_the_sockets_of_the_shipped_unit", || {
        loopback_up();
        let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("bindings/systemd");
        let unit = fs::read_to_string(units.join("ntpclock.socket")).unwrap();
        let expected: Vec<SocketAddr> =
            unit.lines().filter_map(|line| line.strip_prefix("ListenDatagram=")?.parse().ok()).collect();
        let [v4, v6] = expected.as_slice() else { panic!("{unit}") };
        assert!(unit.contains("BindIPv6Only=ipv6-only"));
        let sockets = [UdpSocket::bind(v4).unwrap(), only_ipv6(*v6)];
        let mut shell = Command::new("sh");
        shell.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=2 exec \"$0\" serve --config \"$1\""]);
        shell.arg(env!("CARGO_BIN_EXE_ntpclock")).arg(units.join("ntpclock.toml"));
        pass(&mut shell, sockets.each_ref().map(AsRawFd::as_raw_fd));
        let serve = Serve::start(&mut shell, 2);
        assert_eq!(serve.addresses, expected);
        drop(sockets);
        // There is no upstream here; that is what is said.
        for asked in ["127.0.0.1:123", "[::1]:123"] {
            assert_eq!(Client::of(asked.parse().unwrap()).ask(&request(4, 3, 5)).stratum, 16, "{asked}");
        }
    });
}

#[test]
fn what_the_shipped_configuration_shows_of_nts_is_what_the_shipped_unit_provides() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("bindings/systemd");
    let text = fs::read_to_string(units.join("ntpclock.toml")).unwrap();
    let unit = fs::read_to_string(units.join("ntpclock.service")).unwrap();
    let shown = |name: &str| -> String {
        let line = text.lines().find_map(|line| line.strip_prefix("# ")?.strip_prefix(name)?.strip_prefix(" = "));
        line.unwrap_or_else(|| panic!("{name}: {text}")).trim_matches('"').to_owned()
    };
    for name in ["certificate", "private-key"] {
        // Only systemd may read what root's directory has; it leaves it there for the user of the moment.
        let path = shown(name);
        let credential = path.strip_prefix("/run/credentials/ntpclock.service/").unwrap_or_else(|| panic!("{path}"));
        assert!(unit.contains(&format!("LoadCredential={credential}:/etc/ntpclock/")), "{credential}: {unit}");
        // Without NTS there is no such file, and that is no failure.
        assert!(unit.contains(&format!("SetCredential={credential}:")), "{credential}: {unit}");
    }
    assert!(unit.contains("StateDirectory=ntpclock\n") && shown("cookie-keys").starts_with("/var/lib/ntpclock/"));
    // Who renews them is the same user, and does so where they are.
    let renewing = fs::read_to_string(units.join("ntpclock-cookie-keys.service")).unwrap();
    for line in ["DynamicUser=yes\n", "User=ntpclock\n", "StateDirectory=ntpclock\n"] {
        assert!(unit.contains(line) && renewing.contains(line), "{line}: {renewing}");
    }
    let keys = shown("cookie-keys");
    assert!(renewing.contains(&format!("/ntpclock cookie-keys {keys}\n")), "{renewing}");
    assert!(renewing.contains(&format!("ConditionPathExists={keys}\n")), "{renewing}");
}

#[test]
fn systemd_understands_the_units_and_finds_them_well_shut_in() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("units-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bindings/systemd");
    let services = ["ntpclock.service", "ntpclock-cookie-keys.service"];
    let units = [&services[..], &["ntpclock.socket", "ntpclock-cookie-keys.timer"]].concat();
    for unit in &units {
        let text = fs::read_to_string(source.join(unit)).unwrap();
        let text = text.replace("@BINDIR@/ntpclock", env!("CARGO_BIN_EXE_ntpclock"));
        fs::write(directory.join(unit), text).unwrap();
    }
    let analyze = |arguments: &[&str], units: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.args(arguments).args(units.iter().map(|unit| directory.join(unit)));
        let output = command.output().expect("systemd-analyze (package systemd)");
        (
            output.status.success(),
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        )
    };
    // Hung up on, the server ends in order; whoever meant to have files read again by that is still served.
    let service = fs::read_to_string(directory.join("ntpclock.service")).unwrap();
    assert!(service.lines().any(|line| line == "Restart=always"), "{service}");
    let (well, said) = analyze(&["verify", "--man=no"], &units);
    assert!(well && said.trim().is_empty(), "{said}");
    for service in services {
        // Of ten, the fewer the better.
        let (well, said) = analyze(&["security", "--offline=true", "--threshold=20"], &[service]);
        assert!(well, "{said}");
    }
    fs::remove_dir_all(directory).unwrap();
}
