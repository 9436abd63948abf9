//! `ntpclock demo`: the whole way of the data in one process, without the network if need be.

use std::io::Write;
use std::thread;
use std::time::Duration;

use clap::Args;

use super::{Failure, Faults, Upstream, seconds, table, text};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::Error;
use crate::server::{Server, ServerConfig};

/// What the server inside the demonstration claims to be.
const STRATUM: i32 = 1;
/// Its claimed distance to this machine's clock, to which all is relative: far above what it takes to read that clock
/// on a busy machine.
const ROOT_DISPERSION: Duration = Duration::from_millis(1);

/// Whom to follow, if not ourselves.
#[derive(Args)]
pub(super) struct Demo {
    #[command(flatten)]
    upstream: Upstream,
    /// How long to wait for synchronisation
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    timeout: Duration,
    /// How many seconds to watch the clock, one line each
    #[arg(long, value_name = "SECONDS", default_value = "5")]
    seconds: u32,
}

impl Demo {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        match self.upstream.config() {
            Ok(config) => {
                writeln!(out, "Following {}.", config.servers())?;
                self.show(config, out)
            }
            Err(Error::NoServers) => self.show_loopback(out),
            Err(error) => Err(error.into()),
        }
    }

    /// Follows an NTP server in this very process.
    fn show_loopback(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let mut config = ServerConfig::new();
        config.add_listen("127.0.0.1:0")?.set_local(STRATUM, ROOT_DISPERSION)?;
        let server = Server::start(None, &config)?;
        let addresses = server.addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        writeln!(out, "No server is named, so this process is its own: an NTP server on {addresses} that serves the")?;
        writeln!(out, "system clock. Time and bounds below are relative to this machine's clock, not to true UTC.")?;
        let mut config = Config::with_servers(&addresses)?;
        // Nobody else's server is troubled, so ask every second: then there is something to see.
        config.set_poll_exponents(0, 0)?;
        self.show(config, out)
    }

    /// Starts a clock, waits, watches it, and shows what it knows.
    fn show(&self, config: Config, out: &mut dyn Write) -> Result<(), Failure> {
        // Whoever watches sees at once what is being waited for.
        out.flush()?;
        let clock = Clock::start(config)?;
        let waited = clock.wait(None, Some(self.timeout));
        if waited.is_ok() {
            self.watch(&clock, out)?;
        }
        write!(out, "\n{}", table::status(&clock.now(), clock.offset(), &clock.report(), Faults::of(&clock)))?;
        write!(out, "\n{}", table::sources(&clock.sources()))?;
        Ok(waited?)
    }

    /// One line a second: the time, the bound, the offset, the state.
    fn watch(&self, clock: &Clock, out: &mut dyn Write) -> Result<(), Failure> {
        writeln!(out)?;
        for second in 0..=self.seconds {
            if second > 0 {
                thread::sleep(Duration::from_secs(1));
            }
            let (reading, offset) = (clock.now(), clock.offset());
            writeln!(out, "{}   offset {}   {}", text::time(&reading), text::offset(offset), reading.state)?;
            out.flush()?;
        }
        Ok(())
    }
}
