//! The state file: what one run of a clock leaves on disk for the next, so that it starts warm.
//!
//! A state file is trusted only if every doubt is answered: ours or root's, writable by no one else, of our format,
//! whole, about this machine and this kind of counter, and from the past. Else it is refused, with the reason, and the
//! clock starts cold. The *time* in it is used only if the counter has run on since: same boot, same time namespace, no
//! suspend, and no disagreement with the host's clock about the time since. The *frequency* is used after any boot.
//!
//! A state file is replaced at one stroke: written aside, synced, renamed. Numbers are little-endian:
//!
//! ```text
//!   0  magic, 8 bytes          version, size of the file, kind of counter, flags: u32 each
//!  24  identity of the counter's origin, and of the machine: 16 bytes each
//!  56  u64 each: counter and host clock at saving, time suspended since boot,
//!      frequency and its deviation (ppb, as f64), UTC at saving,
//!      the interval: counter, earliest, latest, slowest, fastest (2^-48), knee (ns); newest exchange
//! 160  CRC-32 of all before
//! ```

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::checksum;
use crate::error::Error;
use crate::model::estimator::Prior;
use crate::synchronizer::memory::{Memory, RememberedTime};
use crate::sys::counter;
use crate::sys::file::{self, Distrust};
use crate::sys::host::{self, Host, Identity};
use crate::units::{Counter, Nanos, Ppb, Rate, UnixTime};

const MAGIC: &[u8; 8] = b"NTPCSTAT";
const VERSION: u32 = 1;
/// Numbers of 64 bits.
const WORDS: usize = 13;
const WORDS_AT: usize = 56;
const CHECKSUM_AT: usize = WORDS_AT + 8 * WORDS;
const SIZE: usize = CHECKSUM_AT + 4;

const HAS_TIME: u32 = 1;
const HAS_ORIGIN: u32 = 2;
const HAS_MACHINE: u32 = 4;
/// The time rests on authenticated sources alone.
const IS_AUTHENTICATED: u32 = 8;

/// How far ahead of the host's clock a file may be: those clocks are wrong at times, which is why we are here.
const FUTURE_MAX: Nanos = Nanos::from_seconds(86_400);

/// An older file tells too little: crystals age.
const AGE_MAX: Nanos = Nanos::from_seconds(180 * 86_400);

/// What the host's clock and the counter may differ by about the time since saving: a leap second, and the fastest
/// slewing of the one against the other.
const DISAGREEMENT_MAX: Nanos = Nanos::from_seconds(2);
const DISAGREEMENT_PPM: i64 = 1_000;

/// Shorter suspends there are not; the two clocks that tell are read one after the other.
const SUSPENDED_MAX: Nanos = Nanos::from_millis(10);

/// How the frequency walks while nobody looks, ppb per √s: an ordinary machine's.
const WANDER: f64 = 5.0;
/// What a frequency is good to after a while at most, ppb; and after another boot, whose kernel measures the counter
/// anew.
const SAME_BOOT_DEVIATION: f64 = 500.0;
const OTHER_BOOT_DEVIATION: f64 = 5_000.0;

/// Frequencies are at most this, ppb: above what can be configured there is no oscillator.
const FREQUENCY_MAX: f64 = 1e6;

/// A state file's place.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    /// What is there now is not ours to replace.
    hands_off: bool,
}

/// What was found in a state file.
#[derive(Debug, Default)]
pub(crate) struct Recollection {
    pub(crate) memory: Option<Memory>,
    /// UTC is not before this: authenticated sources have said so. Known also where the rest is refused for what the
    /// host's clock shows, which is when it is wanted most.
    pub(crate) floor: Option<UnixTime>,
    /// Why the file, or the time in it, is not used.
    pub(crate) refusal: Option<String>,
}

/// Why a file, or the time in it, is not used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Distrusted(Distrust),
    Foreign,
    Version(u32),
    Size(usize),
    Checksum,
    Kind(u32),
    Nonsense(&'static str),
    Machine,
    CounterAhead(Nanos),
    ClockAhead(Nanos),
    Old(Nanos),
    // From here on, of the time alone.
    Suspended(Nanos),
    Disagreement(Nanos),
}

impl Refusal {
    /// Whether a new file may be put in the place of the old one. Whoever names a file of another kind by mistake shall
    /// not lose it.
    fn may_be_replaced(&self) -> bool {
        !matches!(self, Self::Distrusted(distrust) if !matches!(distrust, Distrust::Writable(_)))
            && !matches!(self, Self::Foreign)
    }
}

impl From<Distrust> for Refusal {
    fn from(distrust: Distrust) -> Self {
        Self::Distrusted(distrust)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |span: &Nanos| span.as_f64() * 1e-9;
        match self {
            Self::Distrusted(distrust) => distrust.fmt(f),
            Self::Foreign => f.write_str("it is no state file of ntpclock"),
            Self::Version(version) => write!(f, "its format is version {version}, known is {VERSION}"),
            Self::Size(size) => write!(f, "it has {size} bytes, not {SIZE}"),
            Self::Checksum => f.write_str("its checksum is wrong"),
            Self::Kind(kind) => write!(f, "it is about a counter of kind {kind}, ours is {}", counter::KIND),
            Self::Nonsense(what) => write!(f, "its {what} makes no sense"),
            Self::Machine => f.write_str("it was saved on another machine"),
            Self::CounterAhead(by) => write!(f, "it was saved {} s in the counter's future", seconds(by)),
            Self::ClockAhead(by) => write!(f, "it was saved {} s in the future of the system clock", seconds(by)),
            Self::Old(age) => write!(f, "it is {} days old", seconds(age) / 86_400.0),
            Self::Suspended(by) => {
                write!(f, "the time in it is not used: the machine was suspended for {} s", seconds(by))
            }
            Self::Disagreement(by) => write!(
                f,
                "the time in it is not used: system clock and counter differ by {} s about the time since",
                seconds(by)
            ),
        }
    }
}

impl StateFile {
    /// The file at `path`, which is absolute: our host may change its working directory.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, hands_off: false }
    }

    /// What the file tells at a start on `host`. That there is none yet is no fault.
    pub(crate) fn load(&mut self, host: &Host) -> Recollection {
        let read = read(&self.path, host::effective_user());
        let decoded = read.and_then(|bytes| bytes.map(|bytes| decode(&bytes, host)).transpose());
        let name = |refusal: &Refusal| format!("state file {}: {refusal}", self.path.display());
        let floor = decoded.as_ref().ok().and_then(|saved| saved.as_ref()?.floor());
        let judged = decoded.and_then(|saved| saved.map(|saved| recall(saved, host)).transpose());
        match judged {
            Ok(None) => Recollection::default(),
            Ok(Some((memory, doubt))) => {
                Recollection { memory: Some(memory), floor, refusal: doubt.as_ref().map(name) }
            }
            Err(refusal) => {
                let refused = Recollection { memory: None, floor, refusal: Some(name(&refusal)) };
                self.hands_off = !refusal.may_be_replaced();
                refused
            }
        }
    }

    /// Replaces the file, at one stroke; the old one stays if that fails. One that is not ours is left alone.
    pub(crate) fn save(&self, memory: &Memory, host: &Host) -> Result<(), Error> {
        if self.hands_off {
            return Ok(());
        }
        let writing = |error| Error::io(format!("writing state file {}", self.path.display()), error);
        file::put(&self.path, &encode(memory, host), |aside, path| fs::rename(aside, path)).map_err(writing)?;
        // After a power failure either file may be found: both are whole. So a directory that cannot be synced is no
        // fault.
        let _ = self.path.parent().map(|folder| File::open(folder).and_then(|folder| folder.sync_all()));
        Ok(())
    }
}

/// The bytes of a file that only `user` or root can have written; `None` if there is no file.
fn read(path: &Path, user: u32) -> Result<Option<Vec<u8>>, Refusal> {
    let file = match file::open_trusted(path, File::options().read(true), user) {
        Ok(file) => file,
        Err(distrust) if distrust.is_absence() => return Ok(None),
        Err(distrust) => return Err(distrust.into()),
    };
    let mut bytes = Vec::new();
    file.take(SIZE as u64 + 1).read_to_end(&mut bytes).map_err(Distrust::from)?;
    Ok(Some(bytes))
}

pub(crate) fn encode(memory: &Memory, host: &Host) -> Vec<u8> {
    let flag = |set: bool, flag: u32| if set { flag } else { 0 };
    let flags = flag(memory.time.is_some(), HAS_TIME)
        | flag(memory.time.is_some_and(|time| time.authenticated), IS_AUTHENTICATED)
        | flag(host.origin.is_some(), HAS_ORIGIN)
        | flag(host.machine.is_some(), HAS_MACHINE);
    let mut bytes = Vec::with_capacity(SIZE);
    bytes.extend(MAGIC);
    for number in [VERSION, SIZE as u32, counter::KIND, flags] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(host.origin.unwrap_or_default());
    bytes.extend(host.machine.unwrap_or_default());
    let Prior { mean, deviation } = memory.frequency;
    let time = memory.time.map_or([0; 8], |time| {
        [
            time.utc.0,
            time.sighted.0,
            time.earliest.0,
            time.latest.0,
            time.slowest.0,
            time.fastest.0,
            time.knee.0,
            time.newest_exchange.0,
        ]
    });
    // The remembered line is moved to the instant of saving, which is the host's.
    let at = memory.time.map_or(host.counter, |time| time.at);
    let system = host.system - (host.counter - at);
    let words = [at.0, system.0, host.suspended.0, bits(mean), bits(deviation)].into_iter().chain(time);
    bytes.extend(words.flat_map(i64::to_le_bytes));
    let checksum = checksum::of(&bytes);
    bytes.extend(checksum.to_le_bytes());
    bytes
}

fn bits(ppb: Ppb) -> i64 {
    ppb.0.to_bits().cast_signed()
}

/// The fields of a file, read in their order.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// The next `N` bytes; zeros where the file has ended, which its size has ruled out.
    fn next<const N: usize>(&mut self) -> [u8; N] {
        let Some((field, rest)) = self.0.split_first_chunk() else { return [0; N] };
        self.0 = rest;
        *field
    }

    fn number(&mut self) -> u32 {
        u32::from_le_bytes(self.next())
    }

    fn word(&mut self) -> i64 {
        i64::from_le_bytes(self.next())
    }

    fn identity(&mut self, known: bool) -> Option<Identity> {
        let identity = self.next();
        known.then_some(identity)
    }
}

/// What a file holds.
pub(crate) struct Saved {
    /// As it was at saving.
    pub(crate) host: Host,
    pub(crate) frequency: Prior,
    pub(crate) time: Option<RememberedTime>,
}

impl Saved {
    /// UTC is not before this, however much time has passed since.
    fn floor(&self) -> Option<UnixTime> {
        self.time.filter(|time| time.authenticated).map(|time| time.earliest)
    }
}

/// What `bytes`, which are ours and whole, say about `host`'s machine.
pub(crate) fn decode(bytes: &[u8], host: &Host) -> Result<Saved, Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::Size(0));
    }
    let mut fields = Fields(bytes);
    if &fields.next() != MAGIC {
        return Err(Refusal::Foreign);
    }
    let version = fields.number();
    if version != VERSION {
        return Err(Refusal::Version(version));
    }
    if bytes.len() != SIZE || fields.number() != SIZE as u32 {
        return Err(Refusal::Size(bytes.len()));
    }
    if bytes.split_last_chunk().is_none_or(|(all, checksum)| checksum::of(all).to_le_bytes() != *checksum) {
        return Err(Refusal::Checksum);
    }
    let kind = fields.number();
    if kind != counter::KIND {
        return Err(Refusal::Kind(kind));
    }
    let flags = fields.number();
    let origin = fields.identity(flags & HAS_ORIGIN != 0);
    let machine = fields.identity(flags & HAS_MACHINE != 0);
    if machine.is_some() && host.machine.is_some() && machine != host.machine {
        return Err(Refusal::Machine);
    }
    let mut word = || fields.word();
    let saved = Host { counter: Counter(word()), system: UnixTime(word()), suspended: Nanos(word()), origin, machine };
    let mut ppb = || Ppb(f64::from_bits(word().cast_unsigned()));
    let frequency = Prior { mean: ppb(), deviation: ppb() };
    let time = RememberedTime {
        at: saved.counter,
        utc: UnixTime(word()),
        sighted: Counter(word()),
        earliest: UnixTime(word()),
        latest: UnixTime(word()),
        slowest: Rate(word()),
        fastest: Rate(word()),
        knee: Nanos(word()),
        newest_exchange: Counter(word()),
        authenticated: flags & IS_AUTHENTICATED != 0,
    };
    let time = (flags & HAS_TIME != 0).then_some(time);
    make_sense(&frequency, time.as_ref())?;
    Ok(Saved { host: saved, frequency, time })
}

/// What was saved says to a run that starts on `host`, and why that is less than there is.
pub(crate) fn recall(saved: Saved, host: &Host) -> Result<(Memory, Option<Refusal>), Refusal> {
    let Saved { host: saved, frequency, time } = saved;
    let by_clock = host.system - saved.system;
    if -by_clock > FUTURE_MAX {
        return Err(Refusal::ClockAhead(-by_clock));
    }
    let same_boot = saved.origin.is_some() && saved.origin == host.origin;
    let by_counter = host.counter - saved.counter;
    if same_boot && by_counter < Nanos::ZERO {
        return Err(Refusal::CounterAhead(-by_counter));
    }
    let age = if same_boot { by_counter } else { by_clock.max(Nanos::ZERO) };
    if age > AGE_MAX {
        return Err(Refusal::Old(age));
    }
    let frequency = aged(frequency, age, same_boot);
    if !same_boot || time.is_none() {
        return Ok((Memory { time: None, frequency }, None));
    }
    match stood_still(&saved, host) {
        Some(doubt) => Ok((Memory { time: None, frequency }, Some(doubt))),
        None => Ok((Memory { time, frequency }, None)),
    }
}

/// Whether the numbers can be what they are said to be: a checksum proves only that they are as they were written.
fn make_sense(frequency: &Prior, time: Option<&RememberedTime>) -> Result<(), Refusal> {
    let in_range = |ppb: f64| ppb.abs() <= FREQUENCY_MAX;
    if !in_range(frequency.mean.0) {
        return Err(Refusal::Nonsense("frequency"));
    }
    if !in_range(frequency.deviation.0) || frequency.deviation.0 <= 0.0 {
        return Err(Refusal::Nonsense("frequency's deviation"));
    }
    let Some(time) = time else { return Ok(()) };
    if time.earliest > time.latest || time.latest - time.earliest == Nanos::MAX {
        return Err(Refusal::Nonsense("interval"));
    }
    let (low, high) = (Rate::from_ppb_down(Ppb(-FREQUENCY_MAX)), Rate::from_ppb_up(Ppb(FREQUENCY_MAX)));
    if time.slowest > time.fastest || time.slowest < low || time.fastest > high {
        return Err(Refusal::Nonsense("range of frequencies"));
    }
    if time.knee < Nanos::ZERO {
        return Err(Refusal::Nonsense("knee"));
    }
    // A model takes effect a moment after it is made, and may be saved in between.
    let moment = Nanos::from_seconds(1);
    if time.sighted - time.at > moment || time.newest_exchange - time.at > moment {
        return Err(Refusal::Nonsense("order in time"));
    }
    Ok(())
}

/// Why the counter may not have counted all the time between `saved` and `now`, which are of one boot.
fn stood_still(saved: &Host, now: &Host) -> Option<Refusal> {
    let suspended = (now.suspended - saved.suspended).abs();
    if suspended > SUSPENDED_MAX {
        return Some(Refusal::Suspended(suspended));
    }
    // A virtual machine that was paused or put back to a snapshot knows nothing of it, but its system clock may have
    // been told.
    let counted = now.counter - saved.counter;
    let disagreement = ((now.system - saved.system) - counted).abs();
    let most = DISAGREEMENT_MAX + Nanos(counted.0 / 1_000_000 * DISAGREEMENT_PPM);
    (disagreement > most).then_some(Refusal::Disagreement(disagreement))
}

/// How well a frequency is known `age` later.
fn aged(frequency: Prior, age: Nanos, same_boot: bool) -> Prior {
    let walked = WANDER * (age.as_f64() * 1e-9).sqrt();
    let least = if same_boot { SAME_BOOT_DEVIATION } else { OTHER_BOOT_DEVIATION };
    let deviation = Ppb(frequency.deviation.0.hypot(walked).hypot(least));
    Prior { deviation, ..frequency }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A change to a file, in words, what it is, and the refusal it must meet.
    type Case = (&'static str, fn(&mut Vec<u8>), Refusal);

    const SECOND: i64 = 1_000_000_000;

    fn recall(bytes: &[u8], host: &Host) -> Result<(Memory, Option<Refusal>), Refusal> {
        super::recall(decode(bytes, host)?, host)
    }

    fn host() -> Host {
        Host {
            counter: Counter(5_000 * SECOND),
            system: UnixTime(1_795_000_000 * SECOND),
            suspended: Nanos(70),
            origin: Some([1; 16]),
            machine: Some([2; 16]),
        }
    }

    /// The same host `seconds` later.
    fn later(seconds: i64) -> Host {
        let span = Nanos::from_seconds(seconds);
        Host { counter: host().counter + span, system: host().system + span, ..host() }
    }

    fn memory() -> Memory {
        let utc = host().system + Nanos(12_345);
        let time = RememberedTime {
            at: host().counter,
            utc,
            sighted: host().counter - Nanos(100),
            earliest: utc - Nanos(50_000),
            latest: utc + Nanos(60_000),
            slowest: Rate::from_ppb(Ppb(-3_000.0)),
            fastest: Rate::from_ppb(Ppb(4_000.0)),
            knee: Nanos::from_seconds(24),
            newest_exchange: host().counter - Nanos(7),
            authenticated: false,
        };
        Memory { time: Some(time), frequency: Prior { mean: Ppb(1_234.5), deviation: Ppb(300.0) } }
    }

    #[test]
    fn an_authenticated_time_is_a_floor_even_to_a_host_whose_clock_is_long_before_it() {
        let folder = Folder::new("floor");
        let mut file = folder.file();
        let wrong = Host { system: UnixTime(0), origin: None, ..host() };
        let mut memory = memory();
        for authenticated in [false, true] {
            let time = memory.time.as_mut().unwrap();
            time.authenticated = authenticated;
            let earliest = time.earliest;
            file.save(&memory, &host()).unwrap();
            let found = file.load(&wrong);
            assert!(found.memory.is_none() && found.refusal.is_some());
            assert_eq!(found.floor, authenticated.then_some(earliest));
            assert_eq!(
                file.load(&later(1)).memory.and_then(|memory| memory.time).unwrap().authenticated,
                authenticated
            );
        }
    }

    fn good() -> Vec<u8> {
        encode(&memory(), &host())
    }

    fn seal(bytes: &mut [u8]) {
        let checksum = checksum::of(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    }

    fn set_word(bytes: &mut [u8], index: usize, word: i64) {
        bytes[WORDS_AT + 8 * index..][..8].copy_from_slice(&word.to_le_bytes());
        seal(bytes);
    }

    /// A directory of one test; gone with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ntpclock-state-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self) -> StateFile {
            StateFile::at(self.0.join("state"))
        }

        fn names(&self) -> Vec<String> {
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_same_boot_gets_back_time_and_frequency() {
        let (told, doubt) = recall(&good(), &later(100)).unwrap();
        assert_eq!((told.time, doubt), (memory().time, None));
        assert_eq!(told.frequency.mean, memory().frequency.mean);
        // 300 ppb when saved, 50 by walking, and 500 at least.
        assert!((told.frequency.deviation.0 - 585.0).abs() < 1.0, "{:?}", told.frequency);
        assert_eq!(good().len(), SIZE);
    }

    #[test]
    fn another_boot_gets_the_frequency_only() {
        for origin in [Some([9; 16]), None] {
            let rebooted = Host { counter: Counter(SECOND), origin, suspended: Nanos::ZERO, ..later(600) };
            let (told, doubt) = recall(&good(), &rebooted).unwrap();
            assert_eq!((told.time, doubt), (None, None));
            assert_eq!(told.frequency.mean, memory().frequency.mean);
            assert!(told.frequency.deviation.0 >= 5_000.0);
        }
    }

    #[test]
    fn a_counter_that_stood_still_in_between_leaves_the_frequency_only() {
        let hour = Nanos::from_seconds(3600);
        let suspended = Host { suspended: host().suspended + hour, system: later(100).system + hour, ..later(100) };
        let stepped = Host { system: later(100).system + hour, ..later(100) };
        for (now, reason) in [(suspended, Refusal::Suspended(hour)), (stepped, Refusal::Disagreement(hour))] {
            let (told, doubt) = recall(&good(), &now).unwrap();
            assert_eq!((told.time, doubt), (None, Some(reason)));
            assert_eq!(told.frequency.mean, memory().frequency.mean);
        }
        // A host clock that is slewed, or takes a leap second, is no reason for doubt.
        let slewed = Host { system: later(10_000).system + Nanos::from_seconds(6), ..later(10_000) };
        assert!(recall(&good(), &slewed).unwrap().0.time.is_some());
    }

    #[test]
    fn what_cannot_be_trusted_is_refused_by_name() {
        let cases: [Case; 16] = [
            ("another file", |bytes| bytes[0] = b'#', Refusal::Foreign),
            ("a short text", |bytes| *bytes = b"hi".to_vec(), Refusal::Foreign),
            ("nothing", Vec::clear, Refusal::Size(0)),
            ("a newer format", |bytes| bytes[8] = 2, Refusal::Version(2)),
            ("a file cut short", |bytes| bytes.truncate(SIZE - 1), Refusal::Size(SIZE - 1)),
            ("a file that goes on", |bytes| bytes.push(0), Refusal::Size(SIZE + 1)),
            ("a flipped bit", |bytes| bytes[90] ^= 1, Refusal::Checksum),
            (
                "another counter",
                |bytes| {
                    bytes[16] = 7;
                    seal(bytes);
                },
                Refusal::Kind(7),
            ),
            (
                "another machine",
                |bytes| {
                    bytes[40] = 9;
                    seal(bytes);
                },
                Refusal::Machine,
            ),
            ("a frequency that is no number", |bytes| set_word(bytes, 3, i64::MAX), Refusal::Nonsense("frequency")),
            ("no deviation", |bytes| set_word(bytes, 4, 0), Refusal::Nonsense("frequency's deviation")),
            ("ends in the wrong order", |bytes| set_word(bytes, 7, i64::MAX), Refusal::Nonsense("interval")),
            ("a rate of 100 %", |bytes| set_word(bytes, 10, 1 << 48), Refusal::Nonsense("range of frequencies")),
            ("a knee before its time", |bytes| set_word(bytes, 11, -1), Refusal::Nonsense("knee")),
            ("seen after it was saved", |bytes| set_word(bytes, 6, i64::MAX), Refusal::Nonsense("order in time")),
            (
                "the counter's future",
                |bytes| set_word(bytes, 0, 5_103 * SECOND),
                Refusal::CounterAhead(Nanos::from_seconds(3)),
            ),
        ];
        for (what, change, refusal) in cases {
            let mut bytes = good();
            change(&mut bytes);
            assert_eq!(recall(&bytes, &later(100)), Err(refusal), "{what}");
        }
        let two_days = Nanos::from_seconds(2 * 86_400);
        let back = Host { system: host().system - two_days, ..host() };
        assert_eq!(recall(&good(), &back), Err(Refusal::ClockAhead(two_days)));
        let old = later(181 * 86_400);
        assert_eq!(recall(&good(), &old), Err(Refusal::Old(Nanos::from_seconds(181 * 86_400))));
        assert!(matches!(recall(&good(), &Host { origin: None, ..old }), Err(Refusal::Old(_))));
    }

    #[test]
    fn no_flipped_byte_is_survived_and_none_is_trusted() {
        let good = good();
        for index in 0..good.len() {
            for flip in [0x01, 0x80, 0xff, 0x5a] {
                let mut bytes = good.clone();
                bytes[index] ^= flip;
                assert!(recall(&bytes, &later(100)).is_err(), "byte {index} ^ {flip:#x}");
                // Even with a checksum that fits, nothing may break.
                seal(&mut bytes);
                let _ = recall(&bytes, &later(100));
            }
            assert!(recall(&good[..index], &later(100)).is_err(), "{index} bytes");
        }
    }

    #[test]
    fn a_saved_file_is_found_again_and_nobody_else_may_read_it() {
        let folder = Folder::new("again");
        let mut file = folder.file();
        assert!(file.load(&host()).memory.is_none() && file.load(&host()).refusal.is_none());
        file.save(&memory(), &host()).unwrap();
        file.save(&memory(), &host()).unwrap();
        assert_eq!(folder.names(), ["state"]);
        assert_eq!(fs::metadata(&file.path).unwrap().permissions().mode() & 0o7777, 0o600);
        let found = file.load(&later(10));
        assert_eq!((found.memory.unwrap().time, found.refusal), (memory().time, None));
    }

    #[test]
    fn an_interrupted_write_leaves_the_old_file() {
        let folder = Folder::new("interrupted");
        let mut file = folder.file();
        file.save(&memory(), &host()).unwrap();
        // Power fails in the middle of the next one, or just before it gets its name.
        for length in [0, 1, SIZE / 2, SIZE] {
            file::write_aside(&file::aside(&file.path).unwrap(), &good()[..length], None).unwrap();
            assert_eq!(file.load(&later(10)).memory.unwrap().time, memory().time);
        }
        // The disk fails: what was written aside is taken away again.
        let folder = Folder::new("in-the-way");
        fs::create_dir_all(folder.0.join("state/full")).unwrap();
        let error = folder.file().save(&memory(), &host()).unwrap_err().to_string();
        assert!(error.starts_with("writing state file ") && error.contains("in-the-way/state: "), "{error}");
        assert_eq!(folder.names(), ["state"]);
    }

    #[test]
    fn who_else_may_have_written_it_is_asked() {
        let folder = Folder::new("owner");
        let file = folder.file();
        file.save(&memory(), &host()).unwrap();
        let ours = host::effective_user();
        assert!(read(&file.path, ours).unwrap().is_some());
        // Read by somebody else, it would be somebody else's; root's is everybody's.
        let other = read(&file.path, ours + 1);
        if ours == 0 {
            assert!(other.is_ok())
        } else {
            assert_eq!(other, Err(Distrust::Owner(ours).into()))
        }
        for mode in [0o620, 0o602, 0o666] {
            fs::set_permissions(&file.path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(read(&file.path, ours), Err(Refusal::Distrusted(Distrust::Writable(_)))), "{mode:o}");
        }
        fs::set_permissions(&file.path, fs::Permissions::from_mode(0o644)).unwrap();
        let link = folder.0.join("link");
        symlink(&file.path, &link).unwrap();
        assert_eq!(read(&link, ours), Err(Distrust::Link.into()));
        assert_eq!(read(&folder.0, ours), Err(Distrust::NotAFile.into()));
        assert_eq!(read(Path::new("/dev/null"), ours), Err(Distrust::NotAFile.into()));
    }

    #[test]
    fn a_file_of_another_kind_is_refused_and_left_alone_and_a_broken_one_is_replaced() {
        let folder = Folder::new("alone");
        let mut file = folder.file();
        fs::write(&file.path, "my diary").unwrap();
        let told = file.load(&host()).refusal.unwrap();
        assert!(told.contains("alone/state: it is no state file"), "{told}");
        file.save(&memory(), &host()).unwrap();
        assert_eq!(fs::read(&file.path).unwrap(), b"my diary");

        fs::write(&file.path, &good()[..99]).unwrap();
        let mut file = folder.file();
        assert!(file.load(&host()).refusal.unwrap().ends_with("it has 99 bytes, not 164"));
        file.save(&memory(), &host()).unwrap();
        assert!(file.load(&later(1)).memory.is_some());
    }
}
