//! `ntpclock serve`: answers NTP clients until it is ended.

use std::io::Write;
use std::thread;
use std::time::Duration;

use clap::Args;

use super::{Failure, Files, Upstream, seconds};
use crate::clock::Clock;
use crate::server::{Server, ServerConfig};

/// Where to serve, and whose time.
#[derive(Args)]
pub(super) struct Serve {
    /// Address and port to listen on; port 0 picks a free one (may be repeated)
    #[arg(long, required = true, value_name = "ADDRESS:PORT")]
    listen: Vec<String>,
    #[command(flatten)]
    upstream: Upstream,
    #[command(flatten)]
    files: Files,
    /// Serve this machine's own clock as this stratum, without any upstream
    #[arg(long, value_name = "STRATUM", conflicts_with_all = ["servers", "state_file", "shared_page"], requires = "root_dispersion")]
    local: Option<i32>,
    /// How far from UTC this machine's clock may be: your claim, which clients rely on
    #[arg(long, value_name = "MILLISECONDS", value_parser = milliseconds, requires = "local")]
    root_dispersion: Option<Duration>,
    /// End by itself after this time [default: run until a signal ends the process]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
}

impl Serve {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let mut config = ServerConfig::new();
        for address in &self.listen {
            config.add_listen(address)?;
        }
        // Held until the end: the clock stops when dropped.
        let clock = match self.local.zip(self.root_dispersion) {
            Some((stratum, root_dispersion)) => {
                config.set_local(stratum, root_dispersion)?;
                None
            }
            None => Some(Clock::start(self.upstream.with(&self.files)?)?),
        };
        let mut server = Server::start(clock.as_ref(), &config)?;
        let whose = match self.local {
            Some(stratum) => format!("this machine's clock as stratum {stratum}"),
            None => format!("the time of {}", self.upstream.config()?.servers()),
        };
        for address in server.addresses() {
            writeln!(out, "serving {whose} on {address}")?;
        }
        // Whoever reads these lines through a pipe waits for the port.
        out.flush()?;
        match self.duration {
            Some(duration) => thread::sleep(duration),
            // The default action of SIGINT and SIGTERM ends the process, and the kernel closes the sockets.
            None => loop {
                thread::park();
            },
        }
        server.stop();
        Ok(())
    }
}

/// Reads a number of milliseconds, fractions allowed.
fn milliseconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "is not a number of milliseconds".to_owned())?;
    Duration::try_from_secs_f64(number / 1e3).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_may_have_fractions_but_no_sign() {
        assert_eq!(milliseconds("0.5"), Ok(Duration::from_micros(500)));
        assert!(milliseconds("-1").is_err() && milliseconds("ten").is_err());
    }
}
