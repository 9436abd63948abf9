//! Cases that were collected from the faults of other servers; the numbers are those of that list. Cases 11 to 13, 15
//! and 16 are about NTS, and in `tests/nts`; 3 is played in the simulation, and 19 is `make bench-server`.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ntpclock::{Clock, Config, Server, ServerConfig, State};

use crate::memory::{without_huge_pages, written_kib};
use crate::namespace::{inside, ip, loopback_up};
use crate::system::{forge, in_a_child, inner_link};
use crate::wire::{Client, PATIENCE, Random, Reply, SILENCE, eventually, local, request};

fn fast_clock(servers: &str) -> Clock {
    let mut config = Config::with_servers(servers).unwrap();
    config.set_poll_exponents(0, 0).unwrap();
    Clock::start(config).unwrap()
}

fn serve(clock: &Clock, wish: impl FnOnce(&mut ServerConfig)) -> Server {
    let mut config = ServerConfig::new();
    config.add_listen("127.0.0.1:0").unwrap();
    wish(&mut config);
    Server::start(Some(clock), &config).unwrap()
}

/// The threads of this process with a server's name, and all its descriptors.
fn threads_and_descriptors() -> (usize, usize) {
    let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = names.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    let threads = names.filter(|name| name.trim() == "ntpclock-server").count();
    (threads, std::fs::read_dir("/proc/self/fd").unwrap().count())
}

#[test]
fn case_1_while_unsynchronised_a_server_says_so_without_any_time_or_nothing() {
    let nobody = Clock::start(Config::with_servers("127.0.0.1:9").unwrap()).unwrap();
    let open = serve(&nobody, |_| ());
    let reply = Client::of(open.addresses()[0]).ask(&request(4, 3, 77));
    assert_eq!((reply.leap, reply.stratum, reply.origin), (3, 16, 77));
    assert_eq!((reply.reference, reply.receive, reply.transmit), (0, 0, 0));

    let silent = serve(&nobody, |config| _ = config.set_silent_unless_synchronized(true));
    assert!(Client::of(silent.addresses()[0]).is_ignored(&request(4, 3, 77)));
    eventually("the request is counted", || silent.statistics().unsynchronized == 1);
}

#[test]
fn case_2_in_holdover_the_root_dispersion_grows_and_the_stratum_stays_until_the_time_is_lost() {
    let mut upstream = local("127.0.0.1:0", |_| ());
    let mut config = Config::with_servers(&upstream.addresses()[0].to_string()).unwrap();
    // Of an oscillator of which so little is known the bound grows by 1 or 2 ms a second, and is beyond its cap soon.
    config.set_drift_limit(1_000.0, Duration::ZERO, 1_000.0).unwrap().set_poll_exponents(0, 0).unwrap();
    config.set_frequency_limit_ppm(1_000.0).unwrap().set_bound_cap(Duration::from_millis(16)).unwrap();
    let clock = Clock::start(config).unwrap();
    clock.wait(None, Some(Duration::from_secs(20))).unwrap();
    let server = serve(&clock, |_| ());
    let client = Client::of(server.addresses()[0]);
    upstream.stop();
    eventually("the clock is in holdover", || clock.now().state == State::Holdover);
    let begun = Instant::now();
    let mut told: Vec<(Duration, Reply)> = Vec::new();
    let lost = loop {
        let at = begun.elapsed();
        let reply = client.ask(&request(4, 3, told.len() as u64 + 1));
        if reply.stratum == 16 {
            break reply;
        }
        assert!(at < Duration::from_secs(60), "it is never lost: {reply:?}");
        told.push((at, reply));
        std::thread::sleep(Duration::from_millis(250));
    };
    assert_eq!((lost.leap, lost.transmit), (3, 0), "{lost:?}");
    assert!(told.iter().all(|(_, reply)| (reply.stratum, reply.leap) == (4, 0)), "{told:?}");
    assert!(told.windows(2).all(|pair| pair[0].1.root_dispersion < pair[1].1.root_dispersion), "{told:?}");
    // 65 units of the wire are a millisecond.
    let [(from, first), .., (until, last)] = told.as_slice() else { panic!("{told:?}") };
    let grown = f64::from(last.root_dispersion - first.root_dispersion) / 65.536;
    assert!(first.root_dispersion > 2 * 65 && grown > 0.9 * (*until - *from).as_secs_f64(), "{grown} ms: {told:?}");
    assert!(told.len() >= 8, "{told:?}");
}

#[test]
fn case_4_replies_are_never_answered_and_two_servers_cannot_be_set_on_each_other() {
    let (one, other) = (local("127.0.0.1:0", |_| ()), local("127.0.0.1:0", |_| ()));
    let reply = {
        let client = Client::of(one.addresses()[0]);
        client.send(&request(4, 3, 1));
        client.receive(PATIENCE).unwrap()
    };
    assert!(Client::of(other.addresses()[0]).is_ignored(&reply));
    // A request in the name of the other server: its reply goes there, and that is the end of it.
    forge(other.addresses()[0], one.addresses()[0], &request(4, 3, 5));
    forge(other.addresses()[0], one.addresses()[0], &request(1, 0, 5));
    eventually("the requests are answered", || one.statistics().replies == 3);
    eventually("the replies are dropped", || other.statistics().wrong_mode == 3);
    std::thread::sleep(SILENCE);
    assert_eq!((one.statistics().requests, other.statistics().replies), (3, 0));
}

#[test]
fn case_5_what_is_no_request_is_met_with_silence() {
    let server = local("127.0.0.1:0", |_| ());
    let client = Client::of(server.addresses()[0]);
    let mut sent = 0;
    for version in 0..8 {
        for mode in (0..8).filter(|mode| *mode != 3 && (version, *mode) != (1, 0)) {
            client.send(&request(version, mode, 9));
            sent += 1;
        }
    }
    for length in [0, 1, 12, 47] {
        client.send(&request(4, 3, 9)[..length]);
    }
    eventually("all are counted", || server.statistics().requests == sent + 4);
    let told = server.statistics();
    assert_eq!((told.replies, told.malformed), (0, 4));
    assert_eq!(told.wrong_version + told.wrong_mode, sent);
    assert_eq!(client.receive(SILENCE), None);
}

#[test]
fn case_6_versions_1_to_4_are_echoed_and_no_others_answered() {
    let server = local("127.0.0.1:0", |_| ());
    let client = Client::of(server.addresses()[0]);
    for (version, mode) in [(1, 0), (1, 3), (2, 3), (3, 3), (4, 3)] {
        let reply = client.ask(&request(version, mode, 5));
        assert_eq!((reply.version, reply.mode, reply.stratum, reply.origin), (version, 4, 3, 5));
    }
    for version in [0, 5, 6, 7] {
        assert!(client.is_ignored(&request(version, 3, 5)), "{version}");
    }
}

/// A request followed by `more` bytes.
fn followed_by(more: &[u8]) -> Vec<u8> {
    [&request(4, 3, 5)[..], more].concat()
}

#[test]
fn case_7_whatever_follows_a_request_is_ignored_and_the_reply_is_no_longer() {
    let server = local("127.0.0.1:0", |_| ());
    let client = Client::of(server.addresses()[0]);
    let field = |kind: u16, length: u16| {
        let mut bytes = vec![0xab; usize::from(length)];
        bytes[..2].copy_from_slice(&kind.to_be_bytes());
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes
    };
    for more in
        [vec![1], vec![0; 20], vec![0xff; 24], field(0x7777, 16), field(0x7777, 1400), field(0, 4), vec![0; 1424]]
    {
        let reply = client.ask(&followed_by(&more));
        assert_eq!((reply.length, reply.origin, reply.stratum), (48, 5, 3));
    }
}

#[test]
fn case_8_over_arbitrary_input_no_more_bytes_and_no_more_packets_leave_than_came() {
    let server = local("127.0.0.1:0", |config| _ = config.set_rate_limit(1000, 50).unwrap());
    let client = Client::of(server.addresses()[0]);
    client.0.set_nonblocking(true).unwrap();
    let mut random = Random(42);
    let mut buffer = [0; 65_536];
    // How long each request is that can be answered, by its transmit timestamp, which names it, and whether it was
    // answered.
    let mut sent: Vec<Option<usize>> = Vec::new();
    let (mut packets, mut answers) = (0_u64, 0_u64);
    let mut collect = |sent: &mut Vec<Option<usize>>, wait: Duration| {
        let begun = Instant::now();
        loop {
            match client.0.recv(&mut buffer) {
                Ok(length) => {
                    let named = u64::from_be_bytes(buffer[24..32].try_into().unwrap()) as usize;
                    let asked = sent.get_mut(named).and_then(Option::take);
                    assert!(
                        asked.is_some_and(|asked| length <= asked),
                        "{length} bytes for {asked:?} of number {named}"
                    );
                    answers += 1;
                }
                Err(_) if begun.elapsed() >= wait => return answers,
                Err(_) => std::thread::sleep(Duration::from_micros(50)),
            }
        }
    };
    for round in 0..20_000 {
        let length = match random.below(4) {
            0 => random.below(1500),
            1 => 48,
            2 => 48 + 4 * random.below(360),
            _ => random.below(100),
        };
        let mut datagram: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        if let (true, Some(first)) = (random.below(2) == 0, datagram.first_mut()) {
            *first = [0x23, 0x1b, 0x13, 0x0b, 0x08][random.below(5) as usize];
        }
        if let Some(transmit) = datagram.get_mut(40..48) {
            transmit.copy_from_slice(&(sent.len() as u64).to_be_bytes());
            sent.push(Some(datagram.len()));
        }
        packets += u64::from(client.0.send(&datagram).is_ok());
        if round % 32 == 0 {
            collect(&mut sent, Duration::ZERO);
        }
    }
    let answers = collect(&mut sent, Duration::from_millis(300));
    assert!(answers > 500, "{answers}");
    eventually("all are counted", || server.statistics().requests + server.statistics().overflowed == packets);
    let told = server.statistics();
    let silent = told.malformed + told.wrong_version + told.wrong_mode + told.limited;
    assert_eq!(told.replies + silent + told.overflowed, packets, "{told:?}");
    assert!(told.malformed > 0 && told.wrong_version > 0 && told.wrong_mode > 0 && told.limited > 0, "{told:?}");
}

#[test]
fn case_9_whose_name_is_abused_for_a_flood_is_still_answered() {
    let server = local("127.0.0.1:0", |config| _ = config.set_rate_limit(4, 4).unwrap());
    let flood = Client::at("127.0.0.9:0", server.addresses()[0]);
    let victim = Client::at("127.0.0.9:0", server.addresses()[0]);
    let neighbour = Client::at("127.0.0.10:0", server.addresses()[0]);
    let (mut asked, mut answered) = (0, 0);
    for round in 0..60_u64 {
        for _ in 0..50 {
            flood.send(&request(4, 3, 1));
        }
        asked += 1;
        victim.send(&request(4, 3, 1_000 + round));
        while let Some(bytes) = victim.receive(Duration::from_millis(15)) {
            answered += u64::from(Reply::parse(&bytes).stratum == 3);
        }
        if round % 20 == 0 {
            assert_eq!(neighbour.ask(&request(4, 3, 7)).stratum, 3);
        }
    }
    // A quarter; that fewer than 4 of 60 are has a probability of 1 in 10^5.
    assert!((4..45).contains(&answered), "{answered} of {asked}");
    let told = server.statistics();
    assert!(told.leaked > told.requests / 6 && told.kisses > 0 && told.limited > told.requests / 3, "{told:?}");
}

#[test]
fn case_10_a_flood_from_very_many_addresses_takes_no_memory_and_an_honest_client_is_served() {
    inside(
        module_path!(),
        "case_10_a_flood_from_very_many_addresses_takes_no_memory_and_an_honest_client_is_served",
        || {
            loopback_up();
            // Said explicitly, the limit is for loopback, too.
            let server = local("127.0.0.1:0", |config| _ = config.set_rate_limit(16, 64).unwrap());
            let honest = Client::at("127.77.77.77:0", server.addresses()[0]);
            honest.ask(&request(4, 3, 1));
            without_huge_pages();
            let before = written_kib();
            // Of clients that know of no interleaved mode, and of such as make us remember them.
            let origins = [0_u64, 5];
            for (flood, origin) in origins.into_iter().enumerate() {
                let mut datagram = request(4, 3, 1);
                datagram[24..32].copy_from_slice(&origin.to_be_bytes());
                for number in 0..40_000_u32 {
                    // In 127/8, where every address is this machine's.
                    let spread = (number + 40_000 * flood as u32).wrapping_mul(2_654_435_761);
                    let [_, b, c, d] = spread.to_be_bytes();
                    let from = SocketAddr::from(([127, b, c, d], 5_000 + number as u16 % 20_000));
                    forge(from, server.addresses()[0], &datagram);
                    if number % 5_000 == 0 {
                        let own = u64::from(number) + 2;
                        let reply = honest.ask(&request(4, 3, own));
                        assert_eq!((reply.origin, reply.stratum), (own, 3), "the limit is not for the honest one");
                    }
                }
            }
            eventually("the flood is over", || server.statistics().requests + server.statistics().overflowed >= 80_017);
            // Of limits and pairs there are tables of 128 and 256 KiB, and no more; 80 000 addresses that were kept would take
            // 640 KiB at eight bytes each.
            let after = written_kib();
            assert!(after <= before + 384, "{before} KiB became {after} KiB");
            // There is a limit, and it is for everybody alike.
            let greedy = Client::at("127.88.88.88:0", server.addresses()[0]);
            (0..400).for_each(|_| greedy.send(&request(4, 3, 1)));
            eventually("some of it is refused", || server.statistics().limited > 100);
        },
    );
}

#[test]
fn case_14_without_nts_a_request_for_it_is_a_request_like_any_other() {
    let server = local("127.0.0.1:0", |_| ());
    let client = Client::of(server.addresses()[0]);
    // Unique identifier, cookie, placeholders and authenticator (RFC 8915, section 5), of senseless contents.
    let field = |kind: u16, length: u16| {
        [&kind.to_be_bytes()[..], &length.to_be_bytes(), &vec![7; usize::from(length) - 4]].concat()
    };
    let all = [field(0x104, 36), field(0x204, 104), field(0x304, 104), field(0x304, 104), field(0x404, 40)].concat();
    let reply = client.ask(&followed_by(&all));
    assert_eq!((reply.length, reply.origin, reply.stratum, reply.leap), (48, 5, 3, 0));
    let lying = [field(0x104, 36), vec![4, 4, 0xff, 0xff, 0, 0, 0, 0]].concat();
    assert_eq!(client.ask(&followed_by(&lying)).length, 48);
}

#[test]
fn case_18_a_reply_leaves_from_the_address_that_was_asked_also_on_a_host_of_many() {
    inside(module_path!(), "case_18_a_reply_leaves_from_the_address_that_was_asked_also_on_a_host_of_many", || {
        loopback_up();
        let index = inner_link();
        ip("addr add 192.0.2.1/24 dev inner");
        ip("addr add 192.0.2.2/24 dev inner");
        ip("addr add 2001:db8::1/64 dev inner nodad");
        ip("addr add 2001:db8::2/64 dev inner nodad");
        ip("addr add fe80::7/64 dev inner nodad");
        let link_local = format!("fe80::7%{index}");
        for (listen, asked) in [
            ("0.0.0.0:0", vec!["192.0.2.1", "192.0.2.2", "127.0.0.1", "127.0.0.77"]),
            ("[::]:0", vec!["2001:db8::1", "2001:db8::2", "::1", "192.0.2.2", &link_local]),
            ("192.0.2.2:0", vec!["192.0.2.2"]),
        ] {
            let server = local(listen, |config| _ = config.set_threads(2).unwrap());
            for asked in asked {
                let (host, zone) = asked.split_once('%').unwrap_or((asked, "0"));
                let mut address = SocketAddr::new(host.parse().unwrap(), server.addresses()[0].port());
                if let SocketAddr::V6(v6) = &mut address {
                    v6.set_scope_id(zone.parse().unwrap());
                }
                // A connected socket hears nobody else.
                let wildcard = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                assert_eq!(Client::at(wildcard, address).ask(&request(4, 3, 3)).origin, 3, "{listen} {asked}");
            }
        }
        // From a global address to the link's own one: only the interface tells which link is meant.
        let server = local("[::]:0", |_| ());
        let mut address = SocketAddr::new("fe80::7".parse().unwrap(), server.addresses()[0].port());
        if let SocketAddr::V6(v6) = &mut address {
            v6.set_scope_id(index);
        }
        assert_eq!(Client::at("[2001:db8::2]:0", address).ask(&request(4, 3, 4)).origin, 4);
    });
}

#[test]
fn case_19_queueing_does_not_bias_what_a_client_measures() {
    let server = local("127.0.0.1:0", |config| _ = config.set_rate_limit(0, 1).unwrap().set_threads(1).unwrap());
    let address = server.addresses()[0];
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let measured = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let client = Client::of(address);
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                for _ in 0..200 {
                    // A full buffer of our own is no matter.
                    let _ = client.0.send(&request(4, 3, 1));
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        // A quick machine answers a hundred before there is any queue to speak of.
        let mut measured = Vec::new();
        let begun = Instant::now();
        while (measured.len() < 100 || server.statistics().requests <= 10_000) && begun.elapsed().as_secs() < 30 {
            measured.extend(ntpclock::query(&address.to_string(), Duration::from_millis(500)));
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        flood.join().unwrap();
        measured
    });
    assert!(measured.len() > 50, "{}", measured.len());
    // The server shows the clock that we compare with: true is 0, whatever the queue.
    for answer in &measured {
        assert!(answer.offset_ns.abs() <= answer.bound_ns, "{answer:?}");
    }
    let told = server.statistics();
    assert!(told.requests > 10_000 && told.unstamped < told.requests / 10, "{told:?}");
}

/// A server in a process of its own, which can be starved; killed when dropped.
struct Starved {
    child: Child,
    address: SocketAddr,
}

impl Starved {
    fn start(more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ntpclock"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--local", "3", "--root-dispersion", "1", "--threads", "1"]);
        let mut child = command.args(more).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().rsplit(' ').next().unwrap().parse().unwrap() }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(status.unwrap().success(), "{name}");
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        // It may be dead already; and a stopped process can be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn case_19_how_long_a_request_waits_for_a_starved_server_does_not_show_in_what_a_client_measures() {
    let server = Starved::start(&[]);
    let (address, wait) = (server.address, Duration::from_millis(150));
    let mut errors: Vec<i64> = (0..7)
        .map(|_| {
            server.signal("-STOP");
            let begun = Instant::now();
            let asking = std::thread::spawn(move || ntpclock::query(&address.to_string(), PATIENCE).unwrap());
            std::thread::sleep(wait);
            server.signal("-CONT");
            let answer = asking.join().unwrap();
            assert!(begun.elapsed() >= wait && answer.offset_ns.abs() <= answer.bound_ns, "{answer:?}");
            answer.offset_ns.abs().max(answer.delay_ns)
        })
        .collect();
    errors.sort_unstable();
    assert!(errors[3] < wait.as_nanos() as i64 / 15, "{errors:?} ns");
}

#[test]
fn a_burst_that_finds_the_server_starved_is_answered_as_a_whole() {
    let server = Starved::start(&["--rate-limit", "0"]);
    // A client's own buffer has room for no more.
    let each = 150;
    let clients: Vec<_> = (0..20).map(|_| Client::of(server.address)).collect();
    server.signal("-STOP");
    for number in 1..=each {
        clients.iter().for_each(|client| client.send(&request(4, 3, number)));
    }
    server.signal("-CONT");
    for client in &clients {
        let answers = (0..each).map(|_| client.receive(PATIENCE).expect("all are answered"));
        let mut origins: Vec<_> = answers.map(|bytes| Reply::parse(&bytes).origin).collect();
        origins.sort_unstable();
        assert!(origins.into_iter().eq(1..=each));
    }
}

#[test]
fn case_20_a_server_stops_without_a_trace_and_a_port_in_use_is_a_clean_error() {
    inside(module_path!(), "case_20_a_server_stops_without_a_trace_and_a_port_in_use_is_a_clean_error", || {
        loopback_up();
        drop(local("127.0.0.1:0", |_| ()));
        let before = threads_and_descriptors();
        assert_eq!(before.0, 0);
        for threads in [1, 4] {
            let mut server = local("127.0.0.1:123", |config| {
                config.add_listen("[::1]:123").unwrap().set_threads(threads).unwrap();
            });
            // A thread names itself.
            eventually("the threads run", || threads_and_descriptors().0 == threads);
            // Sockets of ours share a port with each other, and with nobody else: not even with another server of ours.
            let mut config = ServerConfig::new();
            config.add_listen("127.0.0.1:0").unwrap().add_listen("127.0.0.1:123").unwrap();
            config.set_local(1, Duration::ZERO).unwrap().set_threads(2).unwrap();
            let error = Server::start(None, &config).unwrap_err().to_string();
            assert!(error.starts_with("listening on 127.0.0.1:123: "), "{error}");
            assert_eq!(threads_and_descriptors().0, threads);
            let client = Client::of(server.addresses()[0]);
            assert_eq!(client.ask(&request(4, 3, 5)).stratum, 3);
            server.stop();
            server.stop();
            assert!(client.0.send(&request(4, 3, 5)).is_err() || client.receive(SILENCE).is_none());
            assert_eq!(server.statistics().requests, 1);
            drop((client, server));
            assert_eq!(threads_and_descriptors(), before);
        }
    });
}

#[test]
fn case_20_a_forked_child_neither_serves_nor_disturbs_and_can_serve_itself() {
    inside(module_path!(), "case_20_a_forked_child_neither_serves_nor_disturbs_and_can_serve_itself", || {
        loopback_up();
        let mut server = local("127.0.0.1:123", |_| ());
        let client = Client::of(server.addresses()[0]);
        assert_eq!(client.ask(&request(4, 3, 5)).stratum, 3);
        let child = in_a_child(|| {
            server.stop();
            let own = local("127.0.0.1:0", |_| ());
            Client::of(own.addresses()[0]).ask(&request(4, 3, 6)).origin == 6
        });
        assert!(child, "the child's own server answers");
        assert_eq!(client.ask(&request(4, 3, 7)).origin, 7);
    });
}

#[test]
fn case_20_a_clock_that_follows_its_own_server_finds_the_loop() {
    inside(module_path!(), "case_20_a_clock_that_follows_its_own_server_finds_the_loop", || {
        loopback_up();
        for address in ["192.0.2.1/24", "192.0.2.9/24"] {
            ip(&format!("addr add {address} dev lo"));
        }
        // Not the address at which we ask ourselves: it is no address of ours that our own server names as its
        // reference.
        let upstream = local("192.0.2.9:0", |_| ());
        // A free port: the clock is to ask it before there is a server on it.
        let own = UdpSocket::bind("192.0.2.1:0").unwrap().local_addr().unwrap();
        let clock = fast_clock(&format!("{},{own}", upstream.addresses()[0]));
        let mut config = ServerConfig::new();
        config.add_listen(&own.to_string()).unwrap();
        let _server = Server::start(Some(&clock), &config).unwrap();
        clock.wait(None, Some(Duration::from_secs(20))).unwrap();
        let fault = || clock.sources()[1].fault.clone().unwrap_or_default();
        eventually("the loop is found", || fault().contains("follows this very host"));
        assert_eq!(clock.report().stratum, 4);
    });
}

#[test]
fn case_20_of_two_servers_that_follow_each_other_one_finds_the_loop() {
    inside(module_path!(), "case_20_of_two_servers_that_follow_each_other_one_finds_the_loop", || {
        loopback_up();
        for address in ["192.0.2.1/24", "192.0.2.2/24"] {
            ip(&format!("addr add {address} dev lo"));
        }
        let upstream = local("127.0.0.9:0", |_| ());
        // Where each listens, and where the other asks it: not from there, but from where it is itself asked, or from
        // 127.0.0.1.
        for [(at, asked), (other_at, other_asked)] in [
            [("127.0.0.3:123", "127.0.0.3:123"), ("127.0.0.2:123", "127.0.0.2:123")],
            [("0.0.0.0:124", "192.0.2.1:124"), ("0.0.0.0:125", "192.0.2.2:125")],
        ] {
            let serve = |clock: &Clock, listen: &str| {
                let mut config = ServerConfig::new();
                config.add_listen(listen).unwrap();
                Server::start(Some(clock), &config).unwrap()
            };
            let one = fast_clock(&format!("{},{other_asked}", upstream.addresses()[0]));
            let mut first = serve(&one, at);
            one.wait(None, Some(Duration::from_secs(20))).unwrap();
            let other = fast_clock(asked);
            let _second = serve(&other, other_at);
            let fault = |clock: &Clock, place: usize| clock.sources()[place].fault.clone().unwrap_or_default();
            eventually("the loop is found", || fault(&one, 1).contains("follows this very host"));
            eventually("the other is synchronised", || other.report().stratum == 5);
            assert_eq!((one.report().stratum, one.sources()[1].exchanges), (4, 0), "{other_asked}");
            assert_eq!(fault(&other, 0), "");
            // An address of the loopback means us only while we serve there.
            first.stop();
            if at.starts_with("127.") {
                eventually("who serves nobody is followed by nobody", || one.sources()[1].exchanges > 0);
            }
        }
    });
}

#[test]
fn a_server_of_many_threads_answers_every_client() {
    let server = local("127.0.0.1:0", |config| _ = config.set_threads(4).unwrap());
    let clients: Vec<_> = (0..40).map(|_| Client::of(server.addresses()[0])).collect();
    for (number, client) in clients.iter().enumerate() {
        client.send(&request(4, 3, number as u64 + 1));
    }
    for (number, client) in clients.iter().enumerate() {
        assert_eq!(Reply::parse(&client.receive(PATIENCE).unwrap()).origin, number as u64 + 1);
    }
    eventually("all are counted", || server.statistics().replies == 40);
    assert_eq!(server.statistics().threads, 4);
}

#[test]
fn all_addresses_of_both_families_may_be_named_on_one_port() {
    inside(module_path!(), "all_addresses_of_both_families_may_be_named_on_one_port", || {
        loopback_up();
        for listen in [["0.0.0.0:123", "[::]:123"], ["[::]:123", "0.0.0.0:123"]] {
            let server = local(listen[0], |config| {
                config.add_listen(listen[1]).unwrap().set_threads(2).unwrap();
            });
            for asked in ["127.0.0.5:123", "[::1]:123"] {
                assert_eq!(Client::of(asked.parse().unwrap()).ask(&request(4, 3, 5)).stratum, 3, "{listen:?} {asked}");
            }
            assert_eq!(server.addresses().len(), 2);
        }
    });
}

#[test]
fn who_is_denied_is_met_with_silence() {
    let server = local("127.0.0.1:0", |config| {
        config.allow("127.0.0.0/24").unwrap().deny("127.0.0.7").unwrap();
    });
    for (from, answered) in [("127.0.0.1:0", true), ("127.0.0.7:0", false), ("127.0.1.1:0", false)] {
        let client = Client::at(from, server.addresses()[0]);
        client.send(&request(4, 3, 5));
        let patience = if answered { PATIENCE } else { SILENCE };
        assert_eq!(client.receive(patience).is_some(), answered, "{from}");
    }
    eventually("both are counted", || server.statistics().denied == 2);
}
