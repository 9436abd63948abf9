//! The command `ntpclock`.

use std::io;
use std::process::exit;

fn main() {
    let code = ntpclock::cli::run(std::env::args_os(), &mut io::stdout().lock(), &mut io::stderr().lock());
    exit(code);
}
