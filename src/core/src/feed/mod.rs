//! The change feed of one base: what to ask next, and what the answers are worth.
//!
//! Reading order: [`page`] (what a page of payloads says), [`schema`] (whose tables these are), [`hook`] (which
//! webhook), [`Feed`] here (which call is next, and from when until when the feed vouches for what is cached), `landing` (what
//! comes of the answers).
//!
//! The feed vouches for a copy that was fetched after the feed began to be followed without a gap: had the record changed
//! since, the feed would have said so. It vouches only while it is heard from: three intervals of silence end that.

mod call;
pub mod hook;
mod landing;
pub mod page;
pub mod schema;
pub mod view;

use alloc::string::String;
use alloc::vec::Vec;
pub use call::{Action, Failed, Landing, Outcome, Reaction, Step};
pub use hook::{specification, Hook, MacSecret};
pub use page::{Fate, LinkCell, Page, TableChanges};
pub use schema::{Dependent, Schema};
pub use view::{can_renew, View};

/// A base that nobody reads is polled so often.
const IDLE_MS: u64 = 86_400_000;
/// Whether the webhook still lives is asked so often, its end put off with it (it is 7 days away then).
const CHECK_MS: u64 = 3_600_000;
/// Payloads are kept for 7 days: what was not heard from for so long may have lost some unseen.
const KEPT_MS: u64 = 6 * 86_400_000;
/// A read waits for a poll no longer than this.
const PATIENCE_MS: u64 = 1_500;
/// The first try after a failure; it doubles up to the interval.
const RETRY_MS: u64 = 250;

/// When a poll was asked for: counted in calls, since a clock's ms holds several.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Calls begun by then: a later one sees all that was there.
    calls: u64,
    /// Calls failed by then.
    failed: u64,
}

/// The feed of one base.
#[derive(Clone, Default, Debug)]
pub struct Feed {
    pub hook: Option<Hook>,
    /// Gap-free since this number in the order of sends and changes; 0: never yet.
    pub from: u64,
    /// Where Airtable is to post pings.
    pub notify: Option<String>,
    /// Start of the last poll that brought the list to its end, unix ms.
    pub polled: u64,
    /// The webhook was found in the base's list since this process follows it.
    sure: bool,
    /// The list was read, and nothing in it is ours.
    none_listed: bool,
    discard: Vec<String>,
    schema_due: bool,
    schema_known: bool,
    checked: u64,
    tried: u64,
    failures: u32,
    retry_at: u64,
    urgent: bool,
    /// The base was read since the last poll: the next one goes out when it is due.
    expected: bool,
    under_way: Option<Action>,
    /// The number of the call under way: what comes of an earlier one is too late.
    ticket: u64,
    /// The pause before the poll under way was longer than the interval: reads wait for it.
    catching_up: bool,
    /// How long the last poll waited for its turn in the month's budget.
    queued_ms: u64,
    /// A read waits for a poll since then.
    wanted_since: Option<u64>,
    /// Airtable did not answer in time: reads wait no more until it does.
    excused: bool,
    pub last_error: Option<String>,
    /// The last failure was Airtable's refusal.
    pub refused: bool,
    /// When the last page was asked for, and by which call; it counts once it is applied.
    heard: (u64, u64),
    /// The call whose page brought the list to its end last.
    ended_by: u64,
    /// Calls that failed, ever.
    failed_ever: u64,
    /// All that could be listed was applied once since this process follows it.
    caught_up: bool,
    pub payloads: u64,
    pub gaps: u64,
}

impl Feed {
    /// A feed to be started.
    pub fn new(notify: Option<String>) -> Feed {
        Feed {
            notify,
            schema_due: true,
            ..Feed::default()
        }
    }

    /// A feed that was followed by an earlier process, or by the primary before this one.
    pub fn restored(hook: Option<Hook>, from: u64, polled: u64, notify: Option<String>) -> Feed {
        Feed {
            hook,
            from,
            polled,
            tried: polled,
            urgent: true,
            ..Feed::new(notify)
        }
    }

    /// Another node may have followed it meanwhile: is the webhook still there?
    pub fn look_again(&mut self) {
        self.sure = false;
        self.none_listed = false;
        self.urgent = true;
        self.schema_due = true;
        self.under_way = None;
        self.caught_up = false;
    }

    /// What to do at `now` (unix ms). `read`: when the base was last read; `interval`: between polls.
    pub fn next(&mut self, now: u64, read: u64, interval: u64) -> Step {
        if now <= self.tried.saturating_add(interval) {
            // A read later than that found the pause too long, and waits.
            self.expected = read >= self.tried;
        }
        if let Some(since) = self.wanted_since {
            if now.saturating_sub(since) < PATIENCE_MS {
                return match self.call(now, read, interval) {
                    Step::Rest => Step::Wait(since + PATIENCE_MS),
                    Step::Wait(at) => Step::Wait(at.min(since + PATIENCE_MS)),
                    call => call,
                };
            }
            self.excused = true;
            self.wanted_since = None;
        }
        self.call(now, read, interval)
    }

    fn call(&mut self, now: u64, read: u64, interval: u64) -> Step {
        if self.under_way.is_some() {
            return Step::Rest;
        }
        if now < self.retry_at && self.retry_at - now <= interval.max(RETRY_MS) {
            return Step::Wait(self.retry_at);
        }
        let action = match &self.hook {
            _ if !self.discard.is_empty() => Action::Delete {
                webhook: self.discard.first().cloned().unwrap_or_default(),
            },
            None if self.none_listed => Action::Create,
            None => Action::List,
            Some(_) if !self.sure => Action::List,
            Some(_) if self.schema_due || !self.schema_known => Action::Schema,
            Some(h) => {
                if let Some(at) = self.poll_at(now, read, interval) {
                    return Step::Wait(at);
                }
                if now.abs_diff(self.checked) >= CHECK_MS {
                    Action::Refresh {
                        webhook: h.id.clone(),
                    }
                } else {
                    self.catching_up |= now > self.settled_by_time(interval);
                    self.tried = now;
                    self.expected = false;
                    // Who asks for a poll from here on means a later one.
                    self.urgent = false;
                    Action::Poll {
                        webhook: h.id.clone(),
                        cursor: h.cursor,
                    }
                }
            }
        };
        self.under_way = Some(action.clone());
        self.ticket += 1;
        Step::Do(action)
    }

    /// The number of the call that [`Feed::next`] said to make last.
    pub fn ticket(&self) -> u64 {
        self.ticket
    }

    /// Until when reads need no other poll than the last. A poll that goes out by itself may take a while to do so; where
    /// none does, because nobody read, there is nothing to wait for beyond the interval.
    fn settled_by_time(&self, interval: u64) -> u64 {
        let grace = if self.expected {
            (interval / 4).clamp(250, 5_000)
        } else {
            0
        };
        self.tried.saturating_add(interval).saturating_add(grace)
    }

    /// When the next poll is due; `None`: now.
    fn poll_at(&self, now: u64, read: u64, interval: u64) -> Option<u64> {
        if self.urgent || self.wanted_since.is_some() || self.tried > now || self.failures > 0 {
            return None;
        }
        let regular = self.tried.saturating_add(interval);
        let idle = self.tried.saturating_add(IDLE_MS.max(interval));
        // Shortly before it is due it is looked whether there were reads: those that come until it is out need not wait.
        let look = regular.saturating_sub((interval / 8).clamp(1, 1_000));
        if now < look {
            Some(look)
        } else if now < regular {
            Some(regular)
        } else if read >= self.tried || now >= idle {
            None
        } else {
            Some(idle)
        }
    }

    /// A client, a ping or a sweep wants to know the state as of now: poll at once.
    pub fn poll_now(&mut self) -> Asked {
        self.urgent = true;
        self.retry_at = 0;
        Asked {
            calls: self.ticket,
            failed: self.failed_ever,
        }
    }

    /// A read waits for a poll.
    pub fn wanted(&mut self, now: u64) {
        self.wanted_since.get_or_insert(now);
    }

    /// May the reads that wait be answered? (The poll is there, or it takes too long.)
    pub fn releases(&self, now: u64, interval: u64) -> bool {
        self.excused || !self.view(interval).unsettled(now)
    }

    /// A table that the schema does not hold is named by a spec: the schema is read again.
    pub fn read_schema(&mut self) {
        self.schema_due = true;
    }

    /// Was the schema read since this process follows it? No page is applied before that.
    pub fn knows_schema(&self) -> bool {
        self.schema_known
    }

    /// The interval in force: polls that wait for their share of the month come later.
    pub fn interval_in_force(&self, interval: u64) -> u64 {
        interval.saturating_add(self.queued_ms)
    }

    /// What reads need to know.
    pub fn view(&self, interval: u64) -> View {
        if self.from == 0 {
            return View {
                behind: self.failures > 0,
                ..View::OFF
            };
        }
        let in_force = self.interval_in_force(interval);
        let settled_until = if self.excused {
            u64::MAX
        } else if self.catching_up || self.wanted_since.is_some() {
            0
        } else if self.under_way.is_some() && !self.urgent {
            // A poll that came when it was due, and takes its time.
            u64::MAX
        } else {
            self.settled_by_time(interval)
        };
        View {
            from: self.from,
            vouched_until: if self.polled == 0 {
                0
            } else {
                self.polled.saturating_add(in_force.saturating_mul(3))
            },
            settled_until,
            behind: self.failures > 0 || self.excused,
        }
    }

    /// A word for the state.
    pub fn state(&self) -> &'static str {
        if self.failures > 0 || self.excused {
            "behind"
        } else if !self.caught_up || !self.sure {
            "starting"
        } else {
            "following"
        }
    }

    /// What became of a poll that was asked for: `None` while it is not over; `Ok`: all that could be listed when it was
    /// asked for is applied; `Err`: what the last call to fail since then said.
    pub fn came_of(&self, asked: Asked) -> Option<Result<(), &str>> {
        if self.ended_by > asked.calls && !self.schema_due && self.under_way.is_none() {
            return Some(Ok(()));
        }
        let failed = self.failures > 0 && self.failed_ever > asked.failed;
        self.last_error.as_deref().filter(|_| failed).map(Err)
    }
    /// Failed attempts in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests;
