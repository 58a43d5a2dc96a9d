//! What is ordered at the desk: records, questions, and the numbers under which they are sent.

use crate::server::desk::job::Job;
use crate::server::desk::{limits, Desk, QuestionCall, Thing};
use crate::server::state::clock::{self, Sent};
use crate::server::state::entities::Entity;
use crate::server::state::lane::{self, Lane};
use crate::server::state::outcome::Ticket;
use crate::server::state::waiting::Op;
use crate::server::state::waiting::Passenger;
use crate::server::upstream::figures::Cause;
use crate::server::valkey::settings;
use compact_str::CompactString;
use podium_core::flight::{FlightId, Joined};
use podium_core::pace::{BaseKey, Breaker, Busy, Class};
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// Has a call been in the air for about as long as a reader waits? Who asks now had better not rely on it: it may hang.
fn overdue(begun_us: u64) -> bool {
    let patience_us = settings::FETCH_TIMEOUT_MS.get().max(1) as u64 * 900;
    clock::now_us().saturating_sub(begun_us) > patience_us
}

impl Desk {
    pub(crate) fn base(&mut self, base: &str) -> BaseKey {
        if let Some(b) = self.bases.get(base) {
            return *b;
        }
        let b = self.bases.len() as BaseKey;
        self.bases.insert(base.into(), b);
        b
    }
    /// Why a read of this base cannot go upstream now.
    pub(crate) fn busy_for(&mut self, base: &str) -> Option<Busy> {
        self.heed_settings();
        let b = self.base(base);
        self.sched.busy_for(b, clock::mono_ms())
    }
    /// The state of the base that is worst off.
    pub(crate) fn worst_breaker(&self) -> Breaker {
        let states: Vec<Breaker> = self
            .bases
            .values()
            .map(|b| self.sched.breaker(*b, clock::mono_ms()))
            .collect();
        if states.contains(&Breaker::Open) {
            Breaker::Open
        } else if states.contains(&Breaker::HalfOpen) {
            Breaker::HalfOpen
        } else {
            Breaker::Closed
        }
    }
    /// Orders one record for a reader (or for nobody). `fresh_start`: only a fetch that begins from now on will do.
    pub(crate) fn want_record(
        &mut self,
        e: &Entity,
        id: &CompactString,
        class: Class,
        op: Option<&Arc<Op>>,
        fresh_start: bool,
    ) -> Joined {
        let thing = Thing::Record(e.ix, id.clone(), e.generation);
        let tokens = clock::order();
        let joined = self.flights.join(&thing, None, |sent| {
            // (A number is the time it was given at.)
            !fresh_start && tokens.current(e.ix, id, sent) && !(op.is_some() && overdue(sent))
        });
        self.board(joined, op);
        if let Joined::Lead(flight) = joined {
            let lane = lane::key(e.ix, e.generation);
            self.lanes
                .entry(lane)
                .or_insert_with(|| Lane::of(e, Cause::Get));
            let base = self.base(&e.base());
            let queued = self
                .sched
                .want(base, lane, id.clone(), class, clock::mono_ms());
            if !queued && op.is_none() && self.sched.pending() >= self.sched.limits().max_queued {
                // Too much waits already for what nobody waits for: no flight that never leaves.
                self.flights.land(flight);
            }
        } else if class == Class::Read {
            // Somebody waits now for what was to be a refresh.
            let base = self.base(&e.base());
            if self.flights.boarding(&thing) {
                let lane = lane::key(e.ix, e.generation);
                self.sched
                    .want(base, lane, id.clone(), class, clock::mono_ms());
            }
        }
        joined
    }
    /// Orders an index question.
    pub(crate) fn want_question(
        &mut self,
        e: &Entity,
        suffix: &Arc<[u8]>,
        class: Class,
        op: Option<&Arc<Op>>,
        fresh_start: bool,
        job: impl FnOnce() -> Job,
    ) -> Joined {
        let thing = Thing::Question(e.ix, suffix.clone(), e.generation);
        let what = String::from_utf8_lossy(suffix).into_owned();
        let tokens = clock::order();
        let open = self.flights.open(&thing);
        let begun_us = open
            .and_then(|f| self.calls.get(&f))
            .map_or(0, |c| c.begun_us);
        let late = op.is_some() && begun_us > 0 && overdue(begun_us);
        let asked = op.map_or(u64::MAX, |op| op.asked);
        let joined = self.flights.join(&thing, None, |sent| {
            !fresh_start
                && !late
                && tokens.current(e.ix, &what, sent)
                && tokens.relies(e.ix, sent, asked)
        });
        self.board(joined, op);
        if let Joined::Lead(flight) = joined {
            self.lanes
                .entry(lane::key(e.ix, e.generation))
                .or_insert_with(|| Lane::of(e, Cause::Get));
            let base = self.base(&e.base());
            let id = self
                .sched
                .submit(base, class, Arc::new(job()), clock::mono_ms());
            let call = QuestionCall {
                id,
                repeats: false,
                begun_us: 0,
            };
            self.calls.insert(flight, call);
        } else if let (Joined::Follow(flight), Class::Read) = (joined, class) {
            // Somebody waits now for what was to be a refresh.
            if let Some(call) = self.calls.get(&flight) {
                self.sched.promote(call.id, class);
            }
        }
        joined
    }
    fn board(&mut self, joined: Joined, op: Option<&Arc<Op>>) {
        let Some(op) = op else { return };
        let (id, led) = match joined {
            Joined::Lead(id) => (id, true),
            Joined::Follow(id) => (id, false),
        };
        self.flights.add(
            id,
            Passenger {
                op: op.clone(),
                led,
                spent: Vec::new(),
            },
        );
    }
    /// A record's call is over (`ticket`: it counts as made for those who wait) and brought nothing of it, but its id is
    /// queued again: its flight boards once more, as urgent as those who wait for it. One that nobody waits for does not
    /// wait through a silence.
    pub(crate) fn ask_again(
        &mut self,
        lane: &Lane,
        id: &CompactString,
        flight: FlightId,
        silenced: bool,
        ticket: &Arc<Ticket>,
    ) {
        let waiters = self.flights.waiters(flight);
        let attended = !waiters.is_empty();
        for w in waiters.iter_mut().filter(|w| w.led) {
            w.spent.push(ticket.clone());
        }
        if silenced && !attended {
            self.flights.land(flight);
            // Somebody may have ordered it anew.
            let thing = Thing::Record(lane.ix, id.clone(), lane.generation);
            if !self.flights.boarding(&thing) {
                self.sched.unwant(lane.key(), id);
            }
            return;
        }
        self.flights.reboard(flight);
        if attended {
            let base = self.base(&lane.base);
            self.sched
                .want(base, lane.key(), id.clone(), Class::Read, clock::mono_ms());
        }
    }
    /// As [`ask_again`](Self::ask_again), of an id that is not queued: it is, in `class` if nobody waits for it.
    pub(crate) fn ask_on(
        &mut self,
        lane: &Lane,
        id: &CompactString,
        flight: FlightId,
        class: Class,
        ticket: &Arc<Ticket>,
    ) {
        self.ask_again(lane, id, flight, false, ticket);
        let base = self.base(&lane.base);
        let class = class.max(Class::Refresh);
        let queued = self
            .sched
            .want(base, lane.key(), id.clone(), class, clock::mono_ms());
        if !queued && self.sched.pending() >= self.sched.limits().max_queued {
            // Too much waits already for what nobody waits for; who does is queued.
            let thing = Thing::Record(lane.ix, id.clone(), lane.generation);
            if self.flights.waiters(flight).is_empty() && self.flights.boarding(&thing) {
                self.flights.land(flight);
            }
        }
    }
    /// A batch goes out: its number, and the flights that are on it.
    pub(crate) fn send_batch(
        &mut self,
        lane: &Lane,
        ids: &[CompactString],
    ) -> (Sent, Vec<(CompactString, Option<FlightId>)>) {
        let sent = Sent::now();
        let flights = ids
            .iter()
            .map(|id| {
                (
                    id.clone(),
                    self.flights.send(
                        &Thing::Record(lane.ix, id.clone(), lane.generation),
                        sent.number(),
                    ),
                )
            })
            .collect();
        (sent, flights)
    }
    /// A changed setting is in force for the next call.
    pub(crate) fn heed_settings(&mut self) {
        let changes = settings::CHANGES.load(Ordering::Relaxed);
        if self.limits_at != changes {
            self.limits_at = changes;
            self.sched.set_limits(limits());
        }
    }
    /// What is ordered and not answered yet: records and questions until they have landed, calls of other kinds until they are done.
    pub(crate) fn pending(&self) -> usize {
        let calls = self.sched.pending() + self.sched.in_flight();
        self.flights.len().max(calls)
    }
    pub(crate) fn forget_idle_lanes(&mut self) {
        if self.lanes.len() > 256 && self.sched.pending() == 0 && self.sched.in_flight() == 0 {
            self.lanes.clear();
        }
    }
}
