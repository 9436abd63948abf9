//! The command line: what the Rust face knows, said in words or in JSON.
//!
//! The binary and Python's `ntpclock` script both call [`run`]. Nothing here prints, exits or installs
//! anything by itself: bytes go to the writers that came in, the exit code goes back to the caller.

#[cfg(feature = "_nts")]
mod cookies;
mod demo;
mod json;
mod record;
mod replay;
mod serve;
pub(crate) mod settings;
mod table;
mod text;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::clock::Clock;
use crate::config::{Authentication, Config, parse_server};
use crate::error::Error;
use crate::status::ServerOptions;

/// What was asked for could not be done.
const FAILED: i32 = 1;

/// What was asked for makes no sense.
const MISUSED: i32 = 2;

/// Runs the command line `args` (the program's name first) and returns the exit code: 0 done, 1 failed, 2 misused.
///
/// Results go to `out`, complaints to `err`. A reader that closes `out` early is no failure.
pub fn run(args: impl IntoIterator<Item = OsString>, out: &mut dyn Write, err: &mut dyn Write) -> i32 {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(usage) => return explain(&usage, out, err),
    };
    match arguments.command.run(out, err).and_then(|()| Ok(out.flush()?)) {
        Ok(()) => 0,
        // `ntpclock … | head -1` has got what it wanted.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(failure) => {
            for line in failure.to_string().lines() {
                // When even the complaint cannot be written, the exit code still tells.
                let _ = writeln!(err, "ntpclock: {line}");
            }
            failure.exit_code()
        }
    }
}

/// Prints what clap has to say: help and version to `out`, misuse to `err`.
fn explain(usage: &clap::Error, out: &mut dyn Write, err: &mut dyn Write) -> i32 {
    let to: &mut dyn Write = if usage.use_stderr() { err } else { out };
    // As above: the exit code tells.
    let _ = write!(to, "{}", usage.render()).and_then(|()| to.flush());
    usage.exit_code()
}

/// Synchronised UTC with an honest error bound, from NTP.
#[derive(Parser)]
#[command(name = "ntpclock", version, about, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done; 1 not done, now or by this system; 2 asked for what makes no sense.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Synchronise, then print the time and its error bound
    Now(Session),
    /// Ask each server once and print what it answers
    Query(Query),
    /// Synchronise, then print the clock's state in numbers; or tell what a server has done
    Status(Status),
    /// Synchronise, then print one line a source
    Sources(Session),
    /// Answer NTP clients
    Serve(Box<serve::Serve>),
    /// Put a new key in front of those in a file that seal NTS servers' cookies
    #[cfg(feature = "_nts")]
    CookieKeys(cookies::CookieKeys),
    /// Show what the clock does, on a server of its own unless servers are given
    Demo(demo::Demo),
    /// Write every exchange to a file, for `replay`
    Record(record::Record),
    /// Read the clock as it would have been, from recorded exchanges
    Replay(replay::Replay),
}

impl Command {
    fn run(self, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Failure> {
        match self {
            Self::Now(session) => session.now(out, err),
            Self::Query(query) => query.run(out),
            Self::Status(status) => status.run(out, err),
            Self::Sources(session) => session.sources(out, err),
            Self::Serve(serve) => serve.run(out, err),
            #[cfg(feature = "_nts")]
            Self::CookieKeys(keys) => keys.run(),
            Self::Demo(demo) => demo.run(out),
            Self::Record(record) => record.run(out, err),
            Self::Replay(replay) => replay.run(out),
        }
    }
}

/// Which servers a command follows.
#[derive(Args, Clone, Debug, Default, PartialEq)]
struct Upstream {
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    trust: Trust,
}

/// Whom to ask, how, and what their answers count for. Its name is that of a group of options, as [`Trust`]'s and
/// [`Files`]' are: what goes with none of them names the groups.
#[derive(Args, Clone, Debug, Default, PartialEq)]
struct Sources {
    /// Comma-separated list: host, host:port, [v6]:port, pool:host, each perhaps with ` nts` (may be repeated)
    /// [default: $NTPCLOCK_SERVERS]
    #[arg(short, long, value_name = "LIST")]
    servers: Vec<String>,
    /// Ask servers when their last reply really left (interleaved mode, RFC 9769)
    #[arg(long)]
    interleaved: bool,
    /// One server with options: `HOST [key N] [require] [prefer] [trust]` (may be repeated)
    #[arg(long, value_name = "SOURCE", value_parser = source)]
    source: Vec<(String, ServerOptions)>,
    /// Read the symmetric keys in this file, which nobody else may read
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// What authenticated servers are to the others: ignore, mix, require
    #[arg(long, value_name = "MODE", default_value = "mix", value_parser = authentication)]
    authentication: Authentication,
    /// Ask a dozen other servers of the pools once an hour, and veto what they contradict
    #[arg(long)]
    khronos: bool,
}

impl Upstream {
    /// The servers of the options, else of the environment.
    fn config(&self) -> Result<Config, Error> {
        let Self { sources, trust } = self;
        let mut config = match (sources.servers.is_empty(), sources.source.is_empty()) {
            (true, true) => Config::from_environment()?,
            (true, false) => Config::new(),
            (false, _) => Config::with_servers(&sources.servers.join(","))?,
        };
        for (server, options) in &sources.source {
            config.add_servers_with(server, *options)?;
        }
        if let Some(path) = &sources.keys {
            config.load_keys(path)?;
        }
        config.set_authentication(sources.authentication).set_khronos(sources.khronos);
        config.set_interleaved(sources.interleaved);
        trust.apply(&mut config)?;
        Ok(config)
    }

    /// The same with the files that are named.
    fn with(&self, files: &Files) -> Result<Config, Error> {
        let mut config = self.config()?;
        if let Some(path) = &files.state_file {
            config.set_state_file(path)?;
        }
        if let Some(path) = &files.shared_page {
            config.set_shared_page(path)?;
        }
        Ok(config)
    }
}

/// Who vouches for servers with ` nts`.
#[derive(Args, Clone, Debug, Default, PartialEq)]
struct Trust {
    /// Trust the certificates in this file (PEM) to vouch for servers with ` nts` (may be repeated)
    #[arg(long, value_name = "FILE")]
    trusted_certificates: Vec<PathBuf>,
    /// Do not trust the certificates that the platform trusts
    #[arg(long)]
    no_platform_trust: bool,
}

impl Trust {
    fn apply(&self, config: &mut Config) -> Result<(), Error> {
        for file in &self.trusted_certificates {
            config.add_trusted_certificates(file)?;
        }
        config.set_platform_trust(!self.no_platform_trust);
        Ok(())
    }
}

/// Reads `HOST [key N] [require] [prefer] [trust] [nts]`; what follows the grammar of a list's entry stays with the
/// host.
fn source(text: &str) -> Result<(String, ServerOptions), String> {
    let (mut server, mut options) = (Vec::new(), ServerOptions::default());
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "key" => {
                let id = words.next().and_then(|id| id.parse().ok());
                options.key = Some(id.ok_or("after `key` goes the id of one, a number")?);
            }
            "require" => options.require = true,
            "prefer" => options.prefer = true,
            "trust" => options.trust = true,
            "nts" => options.nts = true,
            word => server.push(word),
        }
    }
    Ok((server.join(" "), options))
}

fn authentication(text: &str) -> Result<Authentication, String> {
    match text {
        "ignore" => Ok(Authentication::Ignore),
        "mix" => Ok(Authentication::Mix),
        "require" => Ok(Authentication::Require),
        _ => Err("is none of ignore, mix, require".to_owned()),
    }
}

/// What a clock keeps in files.
#[derive(Args, Clone, Debug, Default, PartialEq)]
struct Files {
    /// Start warm from this file, and keep the state in it
    #[arg(long, value_name = "FILE")]
    state_file: Option<PathBuf>,
    /// Share the clock with the processes that name the same file: all read it, one asks the servers
    #[arg(long, value_name = "FILE")]
    shared_page: Option<PathBuf>,
}

/// What is wrong with those files.
struct Faults {
    state_file: Option<String>,
    shared_page: Option<String>,
}

impl Faults {
    fn of(clock: &Clock) -> Self {
        Self { state_file: clock.state_file_fault(), shared_page: clock.shared_page_fault() }
    }
}

/// A clock that lives as long as one command.
#[derive(Args)]
struct Session {
    #[command(flatten)]
    upstream: Upstream,
    /// How long to wait for synchronisation
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    timeout: Duration,
    #[command(flatten)]
    files: Files,
    /// Print JSON: nanoseconds as integers, null for what is unknown
    #[arg(long)]
    json: bool,
}

impl Session {
    fn start(&self) -> Result<Clock, Error> {
        Clock::start(self.upstream.with(&self.files)?)
    }

    fn now(&self, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Failure> {
        let clock = self.start()?;
        let waited = clock.wait(None, Some(self.timeout));
        let reading = clock.now();
        if self.json {
            json::write(out, &json::Now::new(&reading, waited.as_ref().err()))?;
        }
        waited?;
        if !self.json {
            writeln!(out, "{}", text::time(&reading))?;
        }
        finish(&clock, err)
    }

    /// The state is printed even if synchronisation fails: that is when it is wanted most.
    fn status(&self, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Failure> {
        let clock = self.start()?;
        let waited = clock.wait(None, Some(self.timeout));
        let (reading, offset, report) = (clock.now(), clock.offset(), clock.report());
        let faults = Faults::of(&clock);
        if self.json {
            json::write(out, &json::Status::new(&reading, offset, &report, faults))?;
        } else {
            write!(out, "{}", table::status(&reading, offset, &report, faults))?;
        }
        waited?;
        finish(&clock, err)
    }

    /// As for the state: a silent source is what one looks for here.
    fn sources(&self, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Failure> {
        let clock = self.start()?;
        let waited = clock.wait(None, Some(self.timeout));
        let sources = clock.sources();
        if self.json {
            json::write(out, &sources.iter().map(json::SourceInfo::from).collect::<Vec<_>>())?;
        } else {
            write!(out, "{}", table::sources(&sources))?;
        }
        waited?;
        finish(&clock, err)
    }
}

/// Stops `clock`, which saves its state.
fn end(clock: &Clock) -> Result<(), Failure> {
    clock.stop();
    clock.unsaved_state().map_or(Ok(()), |why| Err(Failure::Unsaved(why)))
}

/// The same, and says what was wrong with the state file all along.
fn finish(clock: &Clock, err: &mut dyn Write) -> Result<(), Failure> {
    end(clock)?;
    if let Some(fault) = clock.state_file_fault() {
        // What was asked for is done all the same.
        let _ = writeln!(err, "ntpclock: {fault}");
    }
    Ok(())
}

/// A clock's state, or a server's.
#[derive(Args)]
struct Status {
    #[command(flatten)]
    session: Session,
    /// Tell what a server has done instead: the file is the server's own `--statistics-file`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["Sources", "Trust", "Files", "timeout"])]
    server: Option<PathBuf>,
}

impl Status {
    fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Failure> {
        let Some(path) = &self.server else { return self.session.status(out, err) };
        let statistics = json::Statistics::read(path)?;
        if self.session.json {
            return json::write(out, &statistics);
        }
        Ok(write!(out, "{}", table::statistics(&statistics))?)
    }
}

/// One exchange with each server, without a clock.
#[derive(Args)]
struct Query {
    /// Lists as those of `--servers`, in quotes or not: host, host:port, [v6]:port, perhaps with ` nts`, which exchanges
    /// keys first
    #[arg(required = true, value_name = "LIST")]
    hosts: Vec<String>,
    #[command(flatten)]
    trust: Trust,
    /// How long to wait for each answer
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    timeout: Duration,
    /// Print JSON: nanoseconds as integers, null for what is unknown
    #[arg(long)]
    json: bool,
}

impl Query {
    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let mut config = Config::new();
        self.trust.apply(&mut config)?;
        let list = self.list();
        let hosts: Vec<&str> = list.split(',').map(str::trim).collect();
        // Before anybody is asked.
        hosts.iter().try_for_each(|host| parse_server(host).map(drop))?;
        let answers: Vec<_> = hosts.iter().copied().zip(self.ask(&config, &hosts)).collect();
        if self.json {
            let answers = answers.iter().map(|(host, answer)| json::Answer::new(host, answer.as_ref()));
            json::write(out, &answers.collect::<Vec<_>>())?;
        } else {
            write!(out, "{}", table::answers(&answers))?;
        }
        let failed: Vec<_> =
            answers.iter().filter_map(|(_, answer)| answer.as_ref().err().map(Error::to_string)).collect();
        if failed.is_empty() { Ok(()) } else { Err(Failure::Hosts(failed)) }
    }

    /// One list of all arguments: each begins an entry of its own, unless a shell has cut it off within one.
    fn list(&self) -> String {
        let mut list = String::new();
        for (index, argument) in self.hosts.iter().enumerate() {
            let first = argument.split([',', ' ']).next();
            let goes_on = first == Some("nts") || argument.starts_with(',') || list.ends_with(',');
            list += match (index, goes_on) {
                (0, _) => "",
                (_, true) => " ",
                (_, false) => ",",
            };
            list += argument;
        }
        list
    }

    /// Asks all at once: a dead server costs its timeout once, however many there are.
    fn ask(&self, config: &Config, hosts: &[&str]) -> Vec<Result<crate::QueryResult, Error>> {
        thread::scope(|scope| {
            let ask = |host: &str| crate::query_with(config, host, self.timeout);
            let asked: Vec<_> = hosts.iter().map(|&host| scope.spawn(move || ask(host))).collect();
            let panicked = |panic| std::panic::resume_unwind(panic);
            asked.into_iter().map(|answer| answer.join().unwrap_or_else(panicked)).collect()
        })
    }
}

/// Why a command did not do what it says.
enum Failure {
    /// The library says so.
    Clock(Error),
    /// The results could not be written.
    Output(io::Error),
    /// Some of the hosts could not be asked; one sentence each, which names the host.
    Hosts(Vec<String>),
    /// What a file asks for makes no sense; the sentence names the file.
    Settings(String),
    /// The recording ended before it was to; the sentence names the file.
    Recording(String),
    /// The state could not be saved; the sentence names the file.
    Unsaved(String),
}

impl Failure {
    /// A file that is not what it should be is misuse, as a wrong option is, and a value that makes no sense of its own
    /// or beside the others.
    fn exit_code(&self) -> i32 {
        match self {
            Self::Clock(Error::Malformed { .. } | Error::InvalidArgument { .. } | Error::InvalidServer { .. })
            | Self::Settings(_) => MISUSED,
            _ => FAILED,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Clock(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock(error) => error.fmt(f),
            Self::Output(error) => write!(f, "the output cannot be written: {error}"),
            Self::Recording(sentence) | Self::Unsaved(sentence) | Self::Settings(sentence) => f.write_str(sentence),
            Self::Hosts(sentences) => f.write_str(&sentences.join("\n")),
        }
    }
}

/// Reads a number of seconds, fractions allowed.
fn seconds(text: &str) -> Result<Duration, String> {
    parsed_span(text, 1.0, "seconds")
}

fn parsed_span(text: &str, per_second: f64, parts: &str) -> Result<Duration, String> {
    // What is no number is told of as what is not a number.
    span(text.parse().unwrap_or(f64::NAN), per_second, parts)
}

/// So many parts of a second, `per_second` of which are one.
fn span(number: f64, per_second: f64, parts: &str) -> Result<Duration, String> {
    if !number.is_finite() {
        return Err(format!("is not a number of {parts}"));
    }
    if number < 0.0 {
        return Err("is below zero".to_owned());
    }
    Duration::try_from_secs_f64(number / per_second).map_err(|_| format!("is more {parts} than can be counted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exit code, output and complaints of a command line.
    fn said(line: &str) -> (i32, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(line.split_whitespace().map(OsString::from), &mut out, &mut err);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn the_definition_of_the_commands_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_and_version_are_results_and_misuse_is_a_complaint() {
        let (code, out, err) = said("ntpclock --version");
        assert_eq!((code, out.trim(), err.as_str()), (0, concat!("ntpclock ", env!("CARGO_PKG_VERSION")), ""));
        let (code, out, err) = said("ntpclock --help");
        assert_eq!((code, out.contains("query"), err.as_str()), (0, true, ""));
        for misuse in ["ntpclock", "ntpclock nonsense", "ntpclock query", "ntpclock now --timeout -1"] {
            let (code, out, err) = said(misuse);
            assert_eq!((code, out.as_str()), (2, ""), "{misuse}");
            assert!(err.contains("Usage") || err.contains("--help"), "{err}");
        }
    }

    #[test]
    fn a_wrong_server_list_is_a_complaint_that_names_the_entry() {
        let (code, out, err) = said("ntpclock now -s [::1");
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.starts_with("ntpclock: ") && err.contains("[::1"), "{err}");
    }

    #[test]
    fn options_follow_a_server_in_any_order() {
        let (server, options) = source("192.0.2.1:1123 trust key 5 require").unwrap();
        let expected = ServerOptions { key: Some(5), require: true, prefer: false, trust: true, nts: false };
        assert_eq!((server.as_str(), options), ("192.0.2.1:1123", expected));
        assert_eq!(source("pool:p prefer").unwrap().1, ServerOptions { prefer: true, ..ServerOptions::default() });
        for wrong in ["a key", "a key x", "a key -1"] {
            assert!(source(wrong).is_err(), "{wrong}");
        }
        // What is no option is the list's to judge, and told by name.
        let (code, _, err) = said("ntpclock now --source a;b");
        assert_eq!((code, err.contains("a;b")), (2, true), "{err}");
        let (code, _, err) = said("ntpclock now -s 127.0.0.1 --authentication require");
        assert_eq!((code, err.contains("no server is authenticated")), (2, true), "{err}");
    }

    #[test]
    fn seconds_may_have_fractions_but_no_sign() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for wrong in ["", "x", "-1", "nan", "inf", "1e30"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        // In words of the one who typed it, not of the program.
        for (wrong, why) in [
            ("nan", "is not a number of seconds"),
            ("-inf", "is not a number of seconds"),
            ("-1", "is below zero"),
            ("1e300", "is more seconds than can be counted"),
        ] {
            assert_eq!(seconds(wrong), Err(why.to_owned()), "{wrong}");
        }
    }

    #[test]
    fn a_list_that_a_shell_has_cut_into_words_is_the_same_list() {
        for (line, list) in [
            ("a", "a"),
            ("a b", "a,b"),
            ("a nts b", "a nts,b"),
            ("a:1,b:2", "a:1,b:2"),
            ("a nts,b nts", "a nts,b nts"),
            ("a, b ,c", "a, b ,c"),
            ("nts.example.org ntsb", "nts.example.org,ntsb"),
        ] {
            let arguments = ["ntpclock", "query"].into_iter().chain(line.split(' '));
            let Command::Query(query) = Arguments::try_parse_from(arguments).unwrap().command else { unreachable!() };
            assert_eq!(query.list(), list);
        }
    }

    #[test]
    fn a_closed_pipe_is_no_failure_and_a_full_disk_is() {
        struct Broken(io::ErrorKind);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (kind, expected) in [(io::ErrorKind::BrokenPipe, 0), (io::ErrorKind::StorageFull, FAILED)] {
            let line = "ntpclock serve --listen 127.0.0.1:0 --local 3 --root-dispersion 1 --duration 0";
            let code = run(line.split(' ').map(OsString::from), &mut Broken(kind), &mut Vec::new());
            assert_eq!(code, expected);
        }
    }
}
