//! A call of a write ended: the cache is told, the reply gets its parts, and what remains to be done is queued.

use crate::server::changes::written::{self, Written};
use crate::server::fetching;
use crate::server::state::lane::Lane;
use crate::server::upstream::fault::{never_begun, Fault};
use crate::server::valkey::reply::Body;
use crate::server::writes::step::{After, Step};
use crate::server::writes::{Answer, Cells, Ended, Place, Write};
use compact_str::CompactString;
use podium_airtable::{Damaged, Failure, Record};
use podium_core::missing::{Missing, Why};

impl Write {
    /// A call ended: the cache is told, the places of the reply are filled, further steps are queued.
    pub(super) fn ended(&self, step: &Step, sent: u64, brought: Ended, result: Result<(), Fault>) {
        let asked_ms = brought.asked_ms;
        match (step, result) {
            (Step::Create { lane, records, .. }, Ok(())) => {
                let cells: Vec<&Cells> = records.iter().map(|(_, cells)| cells).collect();
                let written = brought.answer.written;
                self.written(step, lane, None, written, &cells, sent, asked_ms);
            }
            (
                Step::Update {
                    lane, id, cells, ..
                },
                Ok(()),
            ) => {
                let written = brought.answer.written;
                self.written(step, lane, Some(id), written, &[cells], sent, asked_ms);
            }
            (Step::Delete { lane, ids }, Ok(())) => {
                let (gone, open): (Vec<_>, Vec<_>) = ids
                    .iter()
                    .cloned()
                    .partition(|(_, id)| brought.answer.deleted.iter().any(|d| *d == **id));
                self.gone(lane, &gone, 1);
                if !open.is_empty() {
                    let line =
                        "UPSTREAMBAD Airtable's answer does not say that the record was deleted";
                    self.next(Step::Confirm {
                        lane: lane.clone(),
                        ids: open,
                        known: Vec::new(),
                        refusal: Fault::new(line),
                    });
                }
            }
            (
                Step::Confirm {
                    lane,
                    ids,
                    known,
                    refusal,
                },
                Ok(()),
            ) => self.confirmed(lane, ids, known, refusal, &brought.answer),
            (step, Err(fault)) => self.failed(step, brought.failure, fault),
        }
    }

    /// Airtable has written records: those that can be read are stored and replied. `cells`: what was asked to be written of
    /// each; `id`: of the one that is updated.
    #[allow(clippy::too_many_arguments)]
    fn written(
        &self,
        step: &Step,
        lane: &Lane,
        id: Option<&CompactString>,
        written: Vec<Result<Record, Damaged>>,
        cells: &[&Cells],
        sent: u64,
        asked_ms: u64,
    ) {
        let mut told: Vec<(&Record, &Cells)> = Vec::with_capacity(written.len());
        let mut places = Vec::with_capacity(written.len());
        for ((at, result), cells) in step.places().into_iter().zip(&written).zip(cells) {
            match result {
                Ok(record) => {
                    told.push((record, cells));
                    places.push(at);
                }
                Err(damaged) => {
                    let own = damaged.id.as_deref().map(CompactString::new);
                    let id = own.as_ref().or(id);
                    written::uncertain(lane, id, &[cells]);
                    let name = match id {
                        Some(id) => format!("{}:{id}", lane.entity),
                        None => format!("a record of {}", lane.entity),
                    };
                    let fault = Fault::damaged(&name, &damaged.why, None);
                    self.fail(&[at], &format!("{}; it was written", fault.line));
                }
            }
        }
        let landed = written::store(lane, &told, sent, asked_ms, id.is_none());
        self.fill(&places, landed);
    }

    /// It is known of some of the records whose delete was refused whether they are there.
    fn confirmed(
        &self,
        lane: &Lane,
        ids: &[(Place, CompactString)],
        known: &[(Place, CompactString)],
        refusal: &Fault,
        answer: &Answer,
    ) {
        let places =
            |ids: &[(Place, CompactString)]| ids.iter().map(|(at, _)| *at).collect::<Vec<_>>();
        let (found, lacking): (Vec<_>, Vec<_>) = ids
            .iter()
            .cloned()
            .partition(|(_, id)| answer.there.iter().any(|r| *r == **id));
        let there: Vec<_> = known.iter().cloned().chain(found).collect();
        match answer.missing.unwrap_or(Missing::Unknown(Why::NotAskedFor)) {
            Missing::None | Missing::Gone => self.gone(lane, &lacking, 0),
            // What a short page left out is not gone.
            Missing::Unread => {
                return self.next(Step::Confirm {
                    lane: lane.clone(),
                    ids: lacking,
                    known: there,
                    refusal: refusal.clone(),
                });
            }
            Missing::Unknown(why) => {
                let fault = fetching::unanswered(&lane.entity, why);
                self.fail(&places(&lacking), &fault.line);
            }
        }
        if there.is_empty() {
        } else if lacking.is_empty() {
            // All are there, and yet they were not deleted.
            self.fail(&places(&there), &refusal.line);
        } else {
            self.next(Step::Delete {
                lane: lane.clone(),
                ids: there,
            });
        }
    }

    fn failed(&self, step: &Step, failure: Option<Failure>, fault: Fault) {
        let after = step.after(failure.as_ref());
        let line = match &failure {
            Some(f) if f.may_have_applied => {
                format!("{}; it may have been written nevertheless", fault.line)
            }
            Some(f) if never_begun(f) => match step {
                // It was to find out more: what is known by now has to do.
                Step::Confirm { refusal, .. } => refusal.line.clone(),
                _ => format!("{}; nothing was written", self.not_in_time()),
            },
            _ => fault.line.clone(),
        };
        match (step, after) {
            (_, After::Over) => {}
            (
                Step::Create {
                    lane,
                    records,
                    typecast,
                },
                After::Divided,
            ) => {
                let (a, b) = records.split_at(records.len() / 2);
                let half = |part: &[(Place, Cells)]| Step::Create {
                    lane: lane.clone(),
                    records: part.to_vec(),
                    typecast: *typecast,
                };
                self.next(half(b));
                self.next(half(a));
                return;
            }
            (Step::Delete { lane, ids }, After::Confirmed) => {
                let refusal = Fault::new(line);
                self.next(Step::Confirm {
                    lane: lane.clone(),
                    ids: ids.clone(),
                    known: Vec::new(),
                    refusal,
                });
                return;
            }
            (Step::Create { lane, records, .. }, _) => {
                written::uncertain(
                    lane,
                    None,
                    &records.iter().map(|(_, c)| c).collect::<Vec<_>>(),
                );
            }
            (
                Step::Update {
                    lane, id, cells, ..
                },
                _,
            ) => written::uncertain(lane, Some(id), &[cells]),
            (Step::Delete { lane, ids }, _) => {
                for (_, id) in ids {
                    written::uncertain(lane, Some(id), &[]);
                }
            }
            (Step::Confirm { .. }, _) => {}
        }
        self.fail(&step.places(), &line);
    }

    fn gone(&self, lane: &Lane, ids: &[(Place, CompactString)], counted: i64) {
        if ids.is_empty() {
            return;
        }
        let beyond = written::deleted(
            lane,
            &ids.iter().map(|(_, id)| id.clone()).collect::<Vec<_>>(),
        );
        let mut i = self.inner.lock();
        for (at, id) in ids {
            if let Some(slot) = i.places.get_mut(*at) {
                let failed = beyond.iter().find(|(b, _)| b == id);
                *slot = Some(match failed {
                    Some((_, line)) => Body::error(line),
                    None => Body::Int(counted),
                });
            }
        }
    }

    fn fill(&self, places: &[Place], landed: Vec<Written>) {
        let mut i = self.inner.lock();
        for (at, l) in places.iter().copied().zip(landed) {
            i.fresh_until = i.fresh_until.min(l.fresh_until);
            i.stored &= l.stored;
            if let Some(slot) = i.places.get_mut(at) {
                *slot = Some(l.body);
            }
        }
    }

    fn fail(&self, places: &[Place], line: &str) {
        let mut i = self.inner.lock();
        for at in places {
            if let Some(slot) = i.places.get_mut(*at) {
                *slot = Some(Body::error(line));
            }
        }
    }

    fn next(&self, step: Step) {
        self.inner.lock().steps.push_front(step);
    }
}
