//! Exchanges on disk: one answered exchange a line, in the order of their ends.
//!
//! ```text
//! source,t1_raw_ns,t2_utc_ns,t3_utc_ns,t4_raw_ns,stratum,root_delay_ns,root_disp_ns,leap
//! ```
//!
//! `t1` and `t4` are values of the client's raw counter, `t2` and `t3` the server's clock in ns since 1970 (complete
//! dates, no era to resolve). Lost exchanges are absent.

pub(crate) mod record;
pub(crate) mod replay;

use crate::exchange::{Exchange, ServerState, Stamps};
use crate::status::Leap;
use crate::units::{Counter, Nanos, UnixTime};

/// The first line of every trace.
pub(crate) const HEADER: &str =
    "source,t1_raw_ns,t2_utc_ns,t3_utc_ns,t4_raw_ns,stratum,root_delay_ns,root_disp_ns,leap";

/// A recorded server's precision is not in the file: its timestamps are taken to be as fine as they are written.
const PRECISION: i8 = -30;

/// One line of a trace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    /// The source's number in the file.
    pub(crate) source: u32,
    pub(crate) exchange: Exchange,
}

/// What is wrong with a file: the line (from 1), and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) line: usize,
    pub(crate) why: String,
}

/// Reads a whole trace.
pub(crate) fn parse(text: &str) -> Result<Vec<Recorded>, Malformed> {
    let mut lines = text.lines().enumerate();
    if lines.next().map(|(_, header)| header.trim()) != Some(HEADER) {
        return Err(Malformed { line: 1, why: format!("the header is not `{HEADER}`") });
    }
    let mut last = Counter(i64::MIN);
    let mut recorded = Vec::new();
    for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let entry = parse_line(line).map_err(|why| Malformed { line: index + 1, why })?;
        let end = entry.exchange.stamps.t4;
        if end < last {
            let why = format!("t4_raw_ns is {}, before the line above it", end.0);
            return Err(Malformed { line: index + 1, why });
        }
        last = end;
        recorded.push(entry);
    }
    Ok(recorded)
}

fn parse_line(line: &str) -> Result<Recorded, String> {
    let (fields, names) = (line.split(',').count(), HEADER.split(',').count());
    if fields != names {
        return Err(format!("there are {fields} fields, not {names}"));
    }
    let mut columns = HEADER.split(',').zip(line.split(',').map(str::trim));
    // The next column, of those that the header names.
    let mut number = |low: i64, high: i64| {
        let (name, field) = columns.next().unwrap_or_default();
        match field.parse::<i64>() {
            Ok(value) if (low..=high).contains(&value) => Ok(value),
            Ok(value) => Err(format!("{name} is {value}; {low} to {high} is possible")),
            Err(_) => Err(format!("{name} is `{field}`, which is no whole number")),
        }
    };
    let source = number(0, i64::from(u32::MAX))? as u32;
    let mut any = || number(i64::MIN, i64::MAX);
    let stamps = Stamps { t1: Counter(any()?), t2: UnixTime(any()?), t3: UnixTime(any()?), t4: Counter(any()?) };
    if stamps.t4 < stamps.t1 {
        return Err(format!("t4_raw_ns is {}, before t1_raw_ns", stamps.t4.0));
    }
    let stratum = number(0, 16)? as u8;
    let mut span = |seconds| number(0, seconds * crate::units::NANOS_PER_SECOND).map(Nanos);
    // What an exchange may have and be accepted: half the delay and the dispersion make up to 16 s.
    let (root_delay, root_dispersion) = (span(32)?, span(16)?);
    let server = ServerState {
        leap: Leap::from_number(number(0, 3)?.unsigned_abs()),
        version: 4,
        stratum,
        precision: PRECISION,
        root_delay,
        root_dispersion,
        reference_id: 0,
        reference_time: None,
    };
    Ok(Recorded { source, exchange: Exchange { stamps, server } })
}

/// Reads the counter values of a query file: the first column, under one header line, never decreasing.
pub(crate) fn parse_queries(text: &str) -> Result<Vec<Counter>, Malformed> {
    let mut last = i64::MIN;
    let mut queries = Vec::new();
    for (index, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()) {
        let field = line.split(',').next().unwrap_or("").trim();
        let wrong = |why| Malformed { line: index + 1, why };
        let value = field.parse().map_err(|_| wrong(format!("raw_ns is `{field}`, which is no whole number")))?;
        if value < last {
            return Err(wrong(format!("raw_ns is {value}, before the line above it")));
        }
        last = value;
        queries.push(Counter(value));
    }
    Ok(queries)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "0,100,1262304000000000150,1262304000000000160,220,1,5,6,0";

    fn fault(body: &str) -> Malformed {
        parse(&format!("{HEADER}\n{body}")).unwrap_err()
    }

    #[test]
    fn a_line_is_an_exchange() {
        let recorded = parse(&format!("{HEADER}\n{LINE}\n\n")).unwrap();
        assert_eq!(recorded.len(), 1);
        let Exchange { stamps, server } = recorded[0].exchange;
        assert_eq!((stamps.t1, stamps.t4, stamps.delay()), (Counter(100), Counter(220), Nanos(110)));
        assert_eq!((server.stratum, server.root_delay, server.root_dispersion), (1, Nanos(5), Nanos(6)));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        assert_eq!(parse("").unwrap_err().line, 1);
        assert_eq!(parse("a,b\n").unwrap_err().line, 1);
        for (line, why) in [
            ("0,1,2", "3 fields"),
            ("0,x,2,3,4,1,0,0,0", "t1_raw_ns is `x`"),
            ("0,9,2,3,4,1,0,0,0", "before t1_raw_ns"),
            ("0,1,2,3,4,17,0,0,0", "stratum is 17"),
            ("0,1,2,3,4,1,-1,0,0", "root_delay_ns is -1"),
            ("0,1,2,3,4,1,0,0,4", "leap is 4"),
            ("-1,1,2,3,4,1,0,0,0", "source is -1"),
            ("0,1,2,3,99999999999999999999,1,0,0,0", "t4_raw_ns"),
        ] {
            let Malformed { line: number, why: told } = fault(&format!("{LINE}\n{line}"));
            assert!(told.contains(why) && (number, told.is_empty()) == (3, false), "{line}: {told}");
        }
        assert!(fault(&format!("{LINE}\n0,1,2,3,4,1,0,0,0")).why.contains("before the line above"));
    }

    #[test]
    fn queries_are_the_first_column_in_order() {
        assert_eq!(parse_queries("raw_ns,utc\n1,5\n2\n2\n").unwrap(), [Counter(1), Counter(2), Counter(2)]);
        assert_eq!(parse_queries("raw_ns\n5\n4\n").unwrap_err().line, 3);
        assert_eq!(parse_queries("raw_ns\nfive\n").unwrap_err().line, 2);
    }
}
