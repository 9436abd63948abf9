//! A page like any clock's, whose writer can be held in mid-update: what readers notice of that, `make bench` measures.

use parking_lot::Mutex;

use super::{read_page, utc, utc_otherwise};
use crate::model::slew::Line;
use crate::model::{ClockModel, UtcSpan};
use crate::publication::{Publication, Writer, stall};
use crate::reading::Reading;
use crate::status::State;
use crate::sys::{counter, fork, ticks};
use crate::units::{Nanos, Ppb, Rate};

/// The page and its writer. Any number of threads may read it, one at a time publishes.
#[derive(Debug)]
pub struct HeldPage {
    publication: Publication,
    writer: Mutex<Writer>,
    model: ClockModel,
}

impl HeldPage {
    /// Shows the system clock's time, and nothing before [`Self::publish`] was called.
    #[expect(clippy::new_without_default, reason = "nothing else has such a page")]
    pub fn new() -> Self {
        let publication = Publication::new();
        let writer = Mutex::new(Writer::new(&publication, ticks::kernel_sight()));
        let (now, utc) = (counter::now(), counter::system_time());
        let rate = |ppm| Rate::from_ppb(Ppb::from_ppm(ppm));
        let model = ClockModel {
            line: Line { base: now, utc, slew: rate(1.0), slew_end: now, rate: rate(1.0) },
            span: UtcSpan {
                at: now,
                earliest: utc - Nanos(30_000),
                latest: utc + Nanos(30_000),
                slowest: rate(-1.0),
                fastest: rate(3.0),
                knee: Nanos::from_seconds(1_000),
                drift_long: rate(15.0),
            },
            state: State::Synchronized,
            epoch: 1,
            holdover_at: now + Nanos::from_seconds(1_000),
            bound_cap: Nanos::from_seconds(1),
            newest_exchange: now,
            ..ClockModel::UNSYNCHRONIZED
        };
        Self { publication, writer, model }
    }

    /// Publishes as a clock's thread does, as soon as what was published last has taken effect, 1 ms after that. It is
    /// held by `hold` where everything is written and nothing is shown; for more than half a millisecond, and it does
    /// it again. Whether anything was shown.
    pub fn publish(&self, hold: impl FnMut() + 'static) -> bool {
        let mut writer = self.writer.lock();
        while counter::now() < writer.ready_at() {
            std::hint::spin_loop();
        }
        writer.cross_check(ticks::sight());
        stall::HOOK.set(Some(Box::new(hold)));
        let shown =
            writer.publish_with(&self.publication, fork::generation(), counter::now, |_| (self.model, None, ()));
        stall::HOOK.set(None);
        shown.is_some()
    }

    /// [`Clock::now`](super::Clock::now).
    #[inline]
    pub fn now(&self) -> Reading {
        read_page(&self.publication, fork::generation())
    }

    /// [`Clock::unix_ns`](super::Clock::unix_ns).
    #[inline]
    pub fn unix_ns(&self) -> i64 {
        let otherwise = || utc_otherwise(&self.publication, fork::generation());
        utc(&self.publication, ticks::read).unwrap_or_else(otherwise)
    }
}
