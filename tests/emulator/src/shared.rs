//! What all connections share.

use crate::calls::CallLog;
use crate::clock::{Clock, Stop};
use crate::data::commit::Circumstances;
use crate::data::model::World;
use crate::data::seed;
use crate::faults::Fault;
use crate::iterators::Iterators;
use crate::latency::Latency;
use crate::limits::{Limits, Meter};
use crate::switches::Switches;
use crate::Options;
use parking_lot::{Mutex, RwLock};
use serde_json::Value as Json;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) stop: Stop,
    pub(crate) world: RwLock<World>,
    /// The last whole seed, for a reset.
    seed: Mutex<Json>,
    pub(crate) meter: Mutex<Meter>,
    pub(crate) calls: Mutex<CallLog>,
    pub(crate) faults: Mutex<Vec<Fault>>,
    pub(crate) latency: Mutex<Latency>,
    pub(crate) switches: RwLock<Switches>,
    pub(crate) iterators: Mutex<Iterators>,
    pub(crate) connections: AtomicU64,
    replies: AtomicU64,
    limits_at_start: Limits,
    latency_at_start_ms: u64,
}

impl Shared {
    pub(crate) fn new(options: &Options) -> Result<Self, String> {
        let limits = Limits {
            enabled: options.limits,
            ..Limits::default()
        };
        let shared = Self {
            clock: Clock::new(),
            stop: Stop::default(),
            world: RwLock::default(),
            seed: Mutex::default(),
            meter: Mutex::new(Meter::new(limits.clone())),
            calls: Mutex::default(),
            faults: Mutex::default(),
            latency: Mutex::new(Latency::new(options.latency_ms)),
            switches: RwLock::default(),
            iterators: Mutex::default(),
            connections: AtomicU64::new(0),
            replies: AtomicU64::new(0),
            limits_at_start: limits,
            latency_at_start_ms: options.latency_ms,
        };
        if let Some(seed) = &options.seed {
            shared.seed(seed)?;
        }
        Ok(shared)
    }

    /// A number that no other reply has.
    pub(crate) fn next_reply(&self) -> u64 {
        self.replies.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn circumstances<'s>(
        &self,
        switches: &'s Switches,
        source: &'s str,
    ) -> Circumstances<'s> {
        Circumstances {
            now_ms: self.clock.now_ms(),
            separator: &switches.arrayjoin_sep,
            computed_lag_ms: switches.linked_computed_lag_ms,
            payload_delay_ms: switches.payload_delay_ms,
            one_ended_payloads: switches.one_ended_payloads,
            source,
        }
    }

    /// Replaces all bases and tokens; with `"merge": true`, adds them (a base of the same id is replaced).
    pub(crate) fn seed(&self, document: &Json) -> Result<(), String> {
        let new = seed::world(document)?;
        if document.get("merge").and_then(Json::as_bool) == Some(true) {
            let mut world = self.world.write();
            world.tokens.extend(new.tokens);
            world.bases.extend(new.bases);
            return Ok(());
        }
        *self.world.write() = new;
        self.iterators.lock().clear();
        document.clone_into(&mut self.seed.lock());
        Ok(())
    }

    /// Everything as it was after the last whole seed: data, clock, limits, switches; logs and faults empty.
    pub(crate) fn reset(&self) -> Result<(), String> {
        let seed = self.seed.lock().clone();
        *self.world.write() = seed::world(&seed)?;
        self.iterators.lock().clear();
        self.faults.lock().clear();
        self.calls.lock().clear();
        *self.latency.lock() = Latency::new(self.latency_at_start_ms);
        *self.switches.write() = Switches::default();
        *self.meter.lock() = Meter::new(self.limits_at_start.clone());
        self.clock.reset();
        Ok(())
    }
}
