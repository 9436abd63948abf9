//! Processes that share one page: what becomes of it when its leader is killed, is stopped, forks, or goes over to
//! another program. The processes are `tests/c/share.c`.

#[path = "../common/library.rs"]
#[expect(dead_code, reason = "one compiler will do here")]
mod library;

mod house;
mod pages;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use house::{AMPLE, House, TAKE_OVER, signal};
use ntpclock::{Clock, Config, Events, Role, Server, ServerConfig, State, Timescale};

#[test]
fn eight_processes_read_one_line_though_the_leader_is_killed_fifty_times_in_a_row() {
    let mut house = House::new("fifty");
    (0..8).for_each(|place| house.enter("read", place));
    let inode = fs::metadata(house.page()).unwrap().ino();
    let mut slowest = Duration::ZERO;
    for round in 0..50_u64 {
        let former = house.leader().unwrap();
        let place = house.place_of(former).expect("the leader is one of ours");
        let mut child = house.take(place);
        child.kill().unwrap();
        slowest = slowest.max(house.until_another_leads(former));
        child.wait().unwrap();
        // Anybody may be in the middle of anything: of taking over, of the first exchange, of a correction.
        sleep(Duration::from_millis(round * 37 % 250));
        house.enter("read", place);
    }
    assert!(slowest < TAKE_OVER, "{slowest:?}");
    assert_eq!(fs::metadata(house.page()).unwrap().ino(), inode, "it is the same file");
    let leader = i64::from(house.leader().unwrap());
    house.until("all know the leader", || (0..8).all(|place| house.found(place).leader_pid == leader).then_some(()));
    let leads = |place: &usize| house.found(*place).role == i64::from(Role::Leader as i32);
    house.until("one leads, and no other", || ((0..8).filter(leads).count() == 1).then_some(()));
    let all = house.close();
    assert_eq!(all.len(), 8);
    for found in all {
        // One epoch from beginning to end.
        assert_eq!(found.epoch, 1, "{found:?}");
        assert!(found.readings > 1_000, "{found:?}");
    }
}

/// How a process has mapped the page.
fn mappings(house: &House, pid: u32) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let page = house.page().display().to_string();
    let ours = maps.lines().filter(|line| line.ends_with(&page));
    ours.filter_map(|line| line.split(' ').nth(1).map(str::to_owned)).collect()
}

/// The first child of a process.
fn child_of(parent: u32) -> u32 {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_its = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Behind the name, which may hold anything: state and parent.
        let rest = stat.rsplit(')').next().unwrap_or_default();
        rest.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    pids.find(is_its).expect("it has a child")
}

#[test]
fn a_follower_maps_the_page_for_reading_only_and_watches_its_leaders_process() {
    let mut house = House::new("maps");
    (0..2).for_each(|place| house.enter("read", place));
    let leader = house.leader().unwrap();
    let follower = house.processes.iter().map(|(_, child)| child.id()).find(|pid| *pid != leader).unwrap();
    assert!(mappings(&house, leader).contains(&"rw-s".to_owned()), "{:?}", mappings(&house, leader));
    let read_only = mappings(&house, follower);
    assert!(!read_only.is_empty() && read_only.iter().all(|mode| mode == "r--s"), "{read_only:?}");
    let watches = || {
        let descriptors = fs::read_dir(format!("/proc/{follower}/fd")).unwrap().flatten();
        let mut targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
        targets.any(|target| target.to_string_lossy().contains("pidfd")).then_some(())
    };
    house.until("the follower watches the leader's process", watches);
    house.close();
}

#[test]
fn a_leader_that_forks_and_then_dies_is_succeeded_though_its_child_lives() {
    let mut house = House::new("fork");
    house.enter("fork", 0);
    house.until("the child reads", || (house.found(1).readings > 10).then_some(()));
    // Nor has it inherited what could write there.
    let inherited = mappings(&house, child_of(house.leader().unwrap()));
    assert!(!inherited.is_empty() && inherited.iter().all(|mode| mode == "r--s"), "{inherited:?}");
    house.enter("read", 2);
    let former = house.leader().unwrap();
    assert_eq!(house.place_of(former), Some(0));
    let mut parent = house.take(0);
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(house.until_another_leads(former) < TAKE_OVER);
    // The child has no thread and reads on what the other process writes: past the deadlines of what its parent wrote.
    let before = house.found(1);
    sleep(Duration::from_millis(4_500));
    let child = house.found(1);
    assert!(child.readings > before.readings + 1_000, "{child:?}");
    assert_eq!((child.held_over, child.role), (0, Role::Follower as i64), "{child:?}");
    house.close();
}

#[test]
fn a_stopped_leader_keeps_the_lead_and_its_deadlines_tell() {
    let mut house = House::new("stopped");
    house.enter("read", 0);
    (1..3).for_each(|place| house.enter("read", place));
    let leader = house.leader().unwrap();
    signal(leader, "-STOP");
    house.until("the followers are in holdover", || (house.found(1).held_over > 0).then_some(()));
    assert_eq!(house.leader(), Some(leader), "nobody else leads");
    signal(leader, "-CONT");
    // It goes on as if nothing had happened, and so does everybody.
    house.until("they are synchronised again", || {
        let before = house.found(1);
        sleep(Duration::from_millis(300));
        let after = house.found(1);
        (after.readings > before.readings && after.held_over == before.held_over).then_some(())
    });
    assert_eq!(house.leader(), Some(leader));
    // One that is stopped when it is killed is succeeded like any other.
    signal(leader, "-STOP");
    let mut child = house.take(0);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(house.until_another_leads(leader) < TAKE_OVER);
    let all = house.close();
    assert!(all.iter().all(|found| found.epoch == 1), "{all:?}");
}

#[test]
fn a_leader_that_ends_without_its_process_is_succeeded_and_nobody_leaves_synchronized() {
    for mode in ["exec", "free"] {
        let mut house = House::new(mode);
        house.enter(mode, 0);
        house.enter("read", 1);
        house.enter("read", 2);
        let former = house.leader().unwrap();
        assert_eq!(house.place_of(former), Some(0), "{mode}");
        // It reads two thousand times, and ends to lead.
        house.until("it has read", || (house.found(0).readings == 2_000).then_some(()));
        assert!(house.until_another_leads(former) < TAKE_OVER, "{mode}");
        sleep(Duration::from_secs(1));
        if mode == "exec" {
            let mut other_program = house.take(0);
            other_program.kill().unwrap();
            other_program.wait().unwrap();
        }
        for found in house.close() {
            assert_eq!((found.held_over, found.epoch, found.faults), (0, 1, 0), "{mode}: {found:?}");
            assert!(!Events(found.events as u32).contains(Events::LOST), "{mode}: {found:?}");
        }
    }
}

#[test]
fn where_processes_cannot_be_watched_the_lock_is_looked_at_often_enough() {
    let mut house = House::new("filtered");
    house.enter("read", 0);
    house.enter("filtered", 1);
    let former = house.leader().unwrap();
    let mut child = house.take(0);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(house.until_another_leads(former) < TAKE_OVER);
    house.close();
}

#[test]
fn what_a_leader_prints_that_has_closed_its_standard_output_is_not_written_on_the_page() {
    let mut house = House::new("closed");
    house.enter("closed", 0);
    house.enter("read", 1);
    let leader = house.leader().unwrap();
    assert_eq!(house.place_of(leader), Some(0));
    let is_ours = |fd: &Path| fs::read_link(fd).is_ok_and(|file| file.starts_with(&house.folder));
    let folder = PathBuf::from(format!("/proc/{leader}/fd"));
    assert!(!["0", "1", "2"].iter().any(|fd| is_ours(&folder.join(fd))));
    // What of the page stays open cannot be written at all.
    let kept = fs::read_dir(&folder).unwrap().map(|fd| fd.unwrap().path());
    let page: Vec<PathBuf> = kept.filter(|fd| fs::read_link(fd).is_ok_and(|file| file == house.page())).collect();
    let told = fs::read_to_string(
        PathBuf::from("/proc").join(leader.to_string()).join("fdinfo").join(page[0].file_name().unwrap()),
    );
    let told = told.unwrap();
    let flags = told.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    assert!(page.len() == 1 && flags.ends_with('0'), "{page:?} {told}");
    for found in house.close() {
        assert_eq!((found.epoch, found.faults), (1, 0), "{found:?}");
    }
}

#[test]
fn a_process_that_may_not_read_the_processors_counter_is_refused_or_needs_not_to() {
    let mut house = House::new("deaf");
    house.enter("read", 0);
    let output = house.command("deaf", 1).stdout(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}: {said}", output.status);
    // Byte 20 of the page says what it may be read by. Elsewhere the counter cannot be forbidden.
    if cfg!(target_arch = "x86_64") && fs::read(house.page()).unwrap()[20] == 1 {
        assert!(said.starts_with("-43 ") && said.contains("PR_SET_TSC"), "{said}");
    } else {
        assert!(said.starts_with("0 "), "{said}");
    }
    house.close();
}

#[test]
fn two_clocks_of_one_process_are_a_leader_and_a_follower_and_the_follower_succeeds() {
    let house = House::new("pair");
    let first = house.synchronized();
    let second = house.clock().unwrap();
    // What the leader has published is there at once.
    assert_eq!((second.now().state, second.now().epoch), (State::Synchronized, 1));
    second.wait(None, Some(AMPLE)).unwrap();
    let (leader, follower) = (first.report(), second.report());
    assert_eq!((leader.role, follower.role), (Role::Leader, Role::Follower));
    assert_eq!((leader.leader_pid, follower.leader_pid), (std::process::id(), std::process::id()));
    assert_eq!((follower.stratum, follower.reference_id), (2, leader.reference_id));
    assert_eq!((follower.state, follower.configured, follower.agreeing), (State::Synchronized, 1, 1));
    assert!(follower.exchanges > 0 && follower.root_dispersion_ns > 0, "{follower:?}");
    assert_eq!((first.sources().len(), second.sources().len()), (1, 0));
    // Events and the past are its own thread's to tell.
    house.until("the follower is told", || second.take_events().contains(Events::SYNCHRONIZED).then_some(()));
    let reading = second.now();
    let then = second.convert(Timescale::Raw, reading.raw_ns).unwrap();
    assert!(then.earliest_ns <= reading.latest_ns && reading.earliest_ns <= then.latest_ns, "{then:?} {reading:?}");
    second.wait_until_past(reading.latest_ns, Some(AMPLE)).unwrap();

    let exchanges = first.report().exchanges;
    first.stop();
    house.until("the follower leads", || (second.report().role == Role::Leader).then_some(()));
    house.until("it asks", || (second.report().exchanges > exchanges.min(1)).then_some(()));
    assert_eq!((second.now().state, second.now().epoch), (State::Synchronized, 1));
    assert!(!second.take_events().contains(Events::LOST));
    // Who was stopped reads on, what another writes.
    let (one, two) = (first.now(), second.now());
    assert_eq!((one.state, one.epoch, first.report().role), (State::Synchronized, 1, Role::Follower));
    assert!(one.unix_ns <= two.unix_ns && first.report().leader_pid == 0);
    assert_eq!((first.shared_page_fault(), second.shared_page_fault()), (None, None));
}

#[test]
fn a_page_that_nobody_leads_any_more_is_read_at_once_by_whoever_comes_next() {
    let house = House::new("again");
    let first = house.synchronized();
    let before = first.now();
    drop(first);
    let again = house.clock().unwrap();
    let now = again.now();
    assert_eq!((now.state, now.epoch), (State::Synchronized, 1));
    assert!(now.unix_ns > before.unix_ns && again.report().role == Role::Leader);
    house.until("it asks", || (again.report().exchanges > 0).then_some(()));
    assert_eq!((again.now().epoch, again.report().steps), (1, 0));
}

#[test]
fn of_six_processes_the_leader_alone_asks_the_server() {
    let mut house = House::new("asked");
    house.enter("read", 0);
    (1..6).for_each(|place| house.enter("read", place));
    let leads = |place: &usize| house.found(*place).role == i64::from(Role::Leader as i32);
    house.until("five follow", || ((0..6).filter(leads).count() == 1).then_some(()));
    // The burst that a clock begins with goes before.
    sleep(Duration::from_secs(2));
    let asked_in = |house: &House, seconds: u64| {
        let before = house.server.statistics().requests;
        sleep(Duration::from_secs(seconds));
        house.server.statistics().requests - before
    };
    // One a second; six clocks would ask six times as often, and two twice.
    let asked = asked_in(&house, 8);
    assert!((6..=10).contains(&asked), "{asked} requests in 8 s");
    // The one that takes over is no exception, once its own burst has gone.
    let former = house.leader().unwrap();
    let mut leader = house.take(house.place_of(former).unwrap());
    leader.kill().unwrap();
    leader.wait().unwrap();
    house.until_another_leads(former);
    sleep(Duration::from_secs(8));
    let asked = asked_in(&house, 8);
    assert!((6..=10).contains(&asked), "{asked} requests of the next leader in 8 s");
    house.close();
}

#[test]
fn a_server_on_a_clock_that_follows_says_what_its_leader_would() {
    let house = House::new("served");
    let leader = house.synchronized();
    let follower = house.clock().unwrap();
    let mut config = ServerConfig::new();
    config.add_listen("127.0.0.1:0").unwrap();
    let server = Server::start(Some(&follower), &config).unwrap();
    let answer = ntpclock::query(&server.addresses()[0].to_string(), AMPLE).unwrap();
    assert_eq!((answer.stratum, answer.reference_id), (2, leader.report().reference_id));
    assert!(answer.offset_ns.abs() <= answer.bound_ns && answer.reference_time_ns > 0, "{answer:?}");
}

#[test]
fn a_page_is_read_at_the_price_of_a_clock_of_ones_own() {
    let house = House::new("price");
    let leader = house.synchronized();
    let follower = house.clock().unwrap();
    let mut config = Config::with_servers(&house.servers()).unwrap();
    config.set_poll_exponents(0, 0).unwrap();
    let own = Clock::start(config).unwrap();
    own.wait(None, Some(AMPLE)).unwrap();
    // By now all are read by what is best.
    sleep(Duration::from_secs(2));
    let price = |clock: &Clock| {
        let begun = Instant::now();
        for _ in 0..1_000 {
            std::hint::black_box(clock.now());
        }
        begun.elapsed()
    };
    // In turns, and the best of each: what else goes on here hits all alike.
    let mut best = [Duration::MAX; 3];
    for _ in 0..500 {
        for (best, clock) in best.iter_mut().zip([&own, &leader, &follower]) {
            *best = price(clock).min(*best);
        }
    }
    let [own, leader, follower] = best.map(|best| best.as_secs_f64());
    assert!(leader < 1.25 * own && follower < 1.25 * own, "{best:?}");
}

#[test]
fn the_thread_of_a_clock_that_follows_wakes_up_four_times_a_second() {
    let mut house = House::new("idle");
    house.enter("read", 0);
    house.enter("read", 1);
    let (_, follower) = &house.processes[1];
    let tasks = fs::read_dir(format!("/proc/{}/task", follower.id())).unwrap().map(|task| task.unwrap().path());
    let mut engines = tasks.filter(|task| fs::read_to_string(task.join("comm")).unwrap().trim() == "ntpclock");
    let engine = engines.next().expect("it has a thread of ours");
    let switches = || -> i64 {
        let status = fs::read_to_string(engine.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse().unwrap()
    };
    let (begun, before) = (Instant::now(), switches());
    sleep(Duration::from_secs(5));
    let pace = (switches() - before) as f64 / begun.elapsed().as_secs_f64();
    // And as often again for locks and a disk, at the most.
    assert!((3.0..=9.0).contains(&pace), "{pace} a second");
}
