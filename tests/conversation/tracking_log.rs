//! What a `chronyd -x` tells of its own clock in `tracking.log`, turned into that clock's error at any instant.
//!
//! With `-x` chronyd corrects not the system clock but a clock of its own: the system clock plus a correction, which
//! it applies whenever it asks for the time. It neither slews nor steps that one: an update changes the correction at
//! once and its rate from then on (chrony 4.3, `sys_null.c`: `corr = -freq * elapsed - offset_register`). Its server
//! serves the system clock, so what its own clock should show is the system clock, and the whole correction is error.
//!
//! Two columns of a line tell that correction `e`, both in seconds (`REF_SetReference` in `reference.c` and
//! `LCL_AccumulateFrequencyAndOffset` in `local.c`):
//!
//! * column 11, `Rem. corr.`, is `e` just before the update. Where the system clock is steered it is what is left of
//!   the last slew; with `-x` nothing is ever slewed, and it is all.
//! * column 7, `Offset`, is what the update takes away: just after it, `e = Rem. corr. - Offset`.
//!
//! `Offset` alone is *not* the error of chronyd's clock: it is the newest step of its own loop, which is small wherever
//! the loop is steady, be it right or wrong. Between two updates `e` runs straight, at minus the frequency (column 5,
//! ppm) of the first. The date of a line is cut to whole seconds, so a line is drawn from one update to the next rather
//! than by its slope, and stands up to a second early.

/// One line of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Update {
    /// Seconds since 1970, cut.
    at_s: i64,
    /// Error of the clock just before and just after, ns; positive: ahead of the true time.
    before_ns: f64,
    after_ns: f64,
    /// How fast the error grows from here on, parts per 10^9.
    rate_ppb: f64,
}

/// All updates in their order.
#[derive(Debug)]
pub(crate) struct TrackingLog(Vec<Update>);

impl TrackingLog {
    /// Reads the lines of a log that begins less than a day after `since_s`, seconds since 1970.
    pub(crate) fn parse(text: &str, since_s: i64) -> Self {
        // Every so often the titles are written anew, between two rules. A line with leap `?` tells that no server is
        // followed; it changes nothing about the clock.
        let dated = text.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
        let lines = dated.filter(|line| line.split_whitespace().nth(7) != Some("?"));
        Self(
            lines
                .map(|line| update(line, since_s).unwrap_or_else(|| panic!("no line of a tracking.log: {line}")))
                .collect(),
        )
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The error of chronyd's clock at `at_s`, seconds since 1970; `None` before its first update.
    pub(crate) fn error_ns(&self, at_s: f64) -> Option<f64> {
        let next = self.0.partition_point(|update| update.at_s as f64 <= at_s);
        let update = self.0.get(next.checked_sub(1)?)?;
        let elapsed = at_s - update.at_s as f64;
        let rate = self
            .0
            .get(next)
            .map_or(update.rate_ppb, |next| (next.before_ns - update.after_ns) / (next.at_s - update.at_s) as f64);
        Some(update.after_ns + rate * elapsed)
    }

    /// Each update must follow from the one before it, or the columns do not mean what is said above.
    pub(crate) fn assert_consistent(&self) {
        for pair in self.0.windows(2) {
            let [earlier, later] = pair else { continue };
            let predicted = earlier.after_ns + earlier.rate_ppb * (later.at_s - earlier.at_s) as f64;
            // Dates are cut by up to 1 s each, the frequency is rounded to 1 ppb, offsets to four digits.
            let magnitudes = earlier.before_ns.abs() + earlier.after_ns.abs() + later.before_ns.abs();
            let rounding = 0.5 * (later.at_s - earlier.at_s + 1) as f64 + 0.001 * magnitudes + 1.0;
            let allowed = earlier.rate_ppb.abs() + rounding;
            assert!(
                (later.before_ns - predicted).abs() <= allowed,
                "{later:?} does not follow from {earlier:?}: {predicted} ns were expected"
            );
        }
    }
}

fn update(line: &str, since_s: i64) -> Option<Update> {
    const DAY: i64 = 86_400;
    let columns: Vec<&str> = line.split_whitespace().collect();
    let number = |column: usize| columns.get(column - 1)?.parse::<f64>().ok();
    let of_day = columns.get(1)?.split(':').try_fold(0, |sum, part| Some(sum * 60 + part.parse::<i64>().ok()?))?;
    let (offset, remaining) = (number(7)?, number(11)?);
    Some(Update {
        at_s: since_s + (of_day - since_s).rem_euclid(DAY),
        before_ns: remaining * 1e9,
        after_ns: (remaining - offset) * 1e9,
        rate_ppb: -number(5)? * 1e3,
    })
}

#[test]
fn the_error_of_chronyds_clock_runs_from_update_to_update() {
    let log = "\
======================================================================================================================
   Date (UTC) Time     IP Address   St   Freq ppm   Skew ppm     Offset L Co  Offset sd Rem. corr. Root delay Root disp. Max. error
======================================================================================================================
2026-11-22 23:59:57 0.0.0.0          0      0.000 1000000.000  0.000e+00 ?  0  0.000e+00 -0.000e+00  1.0e+00  1.0e+00  1.5e+00
2026-11-22 23:59:58 127.0.0.1        4      0.100      0.075  3.000e-06 N  1  1.000e-06 -1.000e-06  1.0e-05  1.0e-05  1.0e-05
2026-11-23 00:00:02 127.0.0.1        4     -0.200      0.075 -1.000e-06 N  1  1.000e-06 -4.400e-06  1.0e-05  1.0e-05  1.0e-05
";
    // Ten seconds before midnight, 2026-11-22.
    let midnight = 20_780 * 86_400;
    let log = TrackingLog::parse(log, midnight - 10);
    assert_eq!(log.len(), 2);
    log.assert_consistent();
    let near = |seconds: f64, expected: f64| {
        let error = log.error_ns(midnight as f64 + seconds).unwrap();
        assert!((error - expected).abs() < 1e-3, "at {seconds} s: {error} ns");
    };
    assert_eq!(log.error_ns(midnight as f64 - 2.5), None);
    near(-2.0, -4_000.0);
    near(0.0, -4_200.0);
    near(2.0, -3_400.0);
    near(7.0, -2_400.0);
}
