//! The engine's side of key exchanges: orders to the helper thread, and what comes back.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::handshake::{self, Concluded, Granted, Limits, Order, Trust};
use super::roster::{Exchanger, Roster};
use crate::config::Config;
use crate::error::Error;
use crate::synchronizer::{SourceId, Synchronizer};
use crate::sys::counter;
use crate::sys::wake::Waker;

/// What a key exchange has come to.
type Outcome = (SourceId, Concluded);

/// Key exchanges of one engine.
pub(super) struct KeyExchanges {
    trust: Arc<Trust>,
    outcomes: Sender<Outcome>,
    arrived: Receiver<Outcome>,
}

impl KeyExchanges {
    /// Reads the certificates that `config` names.
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        let (outcomes, arrived) = crossbeam_channel::unbounded();
        Ok(Self { trust: Arc::new(Trust::load(&config.trust)?), outcomes, arrived })
    }

    /// Has keys exchanged for source `id`; `waker` is woken when [`Self::take_in`] has something to do.
    pub(super) fn order(&self, id: SourceId, exchanger: Exchanger, core: &Synchronizer, waker: &Arc<Waker>) {
        let Exchanger { host, port, taken, mut given_up, present } = exchanger;
        // Who leads to a server that is silent or false, before one that only has to be asked again.
        given_up.extend(present.filter(|_| core.wants_address(id)));
        let time = core.certificate_time(counter::system_time(), counter::now());
        let (trust, limits) = (Arc::clone(&self.trust), Limits::default());
        let order = Order { host, port, taken, given_up, time, trust, limits };
        let outcomes = self.outcomes.clone();
        // The receiver may be gone: the clock was stopped meanwhile.
        let told = move |outcome| drop(outcomes.send((id, outcome)));
        handshake::queue(order, waker, told);
    }

    /// Hands what has arrived to the sources.
    pub(super) fn take_in(&self, roster: &mut Roster, core: &mut Synchronizer) {
        while let Ok((id, Concluded { outcome, failed })) = self.arrived.try_recv() {
            let now = counter::now();
            roster.handle_failed_exchangers(id, &failed);
            match outcome {
                Ok(Granted { exchanger, exchangers, server, grant }) => {
                    core.grant(id, server, grant, now);
                    roster.handle_exchanger(id, exchanger, exchangers, core, now);
                }
                Err(fault) => core.handle_no_keys(id, &fault, now),
            }
        }
    }
}
