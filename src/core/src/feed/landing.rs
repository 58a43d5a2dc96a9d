//! What the answers of Airtable come to: a webhook found, made or lost, a page to apply, a failure to wait out.

use super::hook::{id_of, is_alive, is_ours, next_of, Hook};
use super::page::Page;
use super::{Action, Failed, Feed, Landing, Outcome, Reaction};
use super::{KEPT_MS, RETRY_MS};
use alloc::string::ToString;
use alloc::vec::Vec;
use serde_json::Value;

impl Feed {
    /// A call ended.
    pub fn landed(&mut self, outcome: Outcome, at: Landing) -> Reaction {
        let mut out = Reaction::default();
        let Some(action) = self.under_way.take_if(|_| at.ticket == self.ticket) else {
            return out;
        };
        let Landing {
            asked,
            sent,
            now,
            seq,
            interval,
            ..
        } = at;
        match (action, outcome) {
            // A dead webhook that cannot be deleted ends by itself.
            (Action::Delete { webhook }, _) => self.discard.retain(|d| *d != webhook),
            (_, Outcome::Failed(why)) => self.failed(why, now, interval),
            (Action::List, Outcome::Listed(hooks)) => self.listed(&hooks, now, seq, &mut out),
            (Action::Create, Outcome::Created { id, secret }) => {
                self.hook = Some(Hook {
                    id,
                    secret: Some(secret),
                    cursor: 1,
                });
                self.begin(now, seq);
                out.save = true;
            }
            (Action::Schema, Outcome::Schema) => {
                self.schema_due = false;
                self.schema_known = true;
            }
            (Action::Refresh { .. }, Outcome::Refreshed) => self.checked = now,
            (Action::Poll { cursor, .. }, Outcome::Polled(page)) => {
                self.queued_ms = sent.saturating_sub(asked);
                self.page(cursor, page, sent, seq, &mut out);
            }
            _ => self.failed(
                Failed {
                    refused: false,
                    line: "UPSTREAMBAD Airtable answered another question".into(),
                },
                now,
                interval,
            ),
        }
        out
    }

    /// A webhook is followed from here on; what is fetched later than `seq` cannot change unheard.
    fn begin(&mut self, now: u64, seq: u64) {
        self.from = seq;
        self.sure = true;
        self.none_listed = false;
        self.urgent = true;
        self.checked = now;
    }

    fn lost(&mut self, why: &'static str, out: &mut Reaction) {
        if self.from > 0 {
            out.gap = Some(why);
            self.gaps += 1;
        }
        self.from = 0;
        self.sure = false;
        out.save = true;
    }

    fn listed(&mut self, hooks: &[Value], now: u64, seq: u64, out: &mut Reaction) {
        self.checked = now;
        let own = self
            .hook
            .as_ref()
            .and_then(|h| hooks.iter().find(|l| id_of(l) == Some(&h.id)));
        if let (Some(h), Some(l)) = (&self.hook, own) {
            let next = next_of(l).unwrap_or(h.cursor);
            let silent = self.polled > 0 && now.saturating_sub(self.polled) > KEPT_MS;
            if is_alive(l) && !silent && next >= h.cursor {
                self.sure = true;
                return;
            }
            if is_alive(l) {
                if let Some(h) = &mut self.hook {
                    h.cursor = next;
                }
                self.lost(
                    "it was not heard from for longer than Airtable keeps payloads",
                    out,
                );
                return self.begin(now, seq);
            }
            self.discard.push(h.id.clone());
        }
        if self.hook.take().is_some() {
            self.lost("the webhook ended", out);
        }
        let ours: Vec<&Value> = hooks
            .iter()
            .filter(|l| is_ours(l, self.notify.as_deref()))
            .collect();
        match ours
            .iter()
            .find(|l| is_alive(l))
            .and_then(|l| Some((id_of(l)?, next_of(l)?)))
        {
            // Without its secret a webhook cannot vouch for its pings.
            Some((id, cursor)) if self.notify.is_none() => {
                self.hook = Some(Hook {
                    id: id.to_string(),
                    secret: None,
                    cursor,
                });
                self.begin(now, seq);
                out.save = true;
            }
            _ => self.none_listed = true,
        }
        for dead in ours
            .iter()
            .filter(|l| !is_alive(l))
            .filter_map(|l| id_of(l))
        {
            if !self.discard.iter().any(|d| d == dead) {
                self.discard.push(dead.to_string());
            }
        }
    }

    fn page(&mut self, cursor: u64, page: Page, sent: u64, seq: u64, out: &mut Reaction) {
        self.payloads += page.count;
        if page.error.is_some() {
            // It stays dead for good: everything since the last page is unknown.
            if let Some(h) = self.hook.take() {
                self.discard.push(h.id);
            }
            self.lost("Airtable ended the webhook with an error payload", out);
            return;
        }
        let missing = page.gap(cursor);
        if missing || page.unclear {
            let why = if missing {
                "payloads are missing"
            } else {
                "a payload does not say what changed"
            };
            self.lost(why, out);
            self.from = seq;
            self.sure = true;
        }
        if page.reschema {
            self.schema_due = true;
        }
        self.urgent |= page.more || page.reschema;
        self.heard = (sent, self.ticket);
        out.apply = Some(page);
    }

    /// What a page says has been applied.
    pub fn applied(&mut self, page: &Page) {
        if let Some(h) = &mut self.hook {
            h.cursor = page.next;
        }
        self.failures = 0;
        self.retry_at = 0;
        if !page.more {
            (self.polled, self.ended_by) = self.heard;
            self.caught_up = true;
            self.last_error = None;
            self.excused = false;
            self.catching_up = false;
            self.wanted_since = None;
        }
    }

    /// What a page says could not be applied now: it is asked for again.
    pub fn stalled(&mut self, now: u64) {
        self.urgent = true;
        self.retry_at = now.saturating_add(RETRY_MS);
    }

    fn failed(&mut self, why: Failed, now: u64, interval: u64) {
        self.failures = self.failures.saturating_add(1);
        self.failed_ever += 1;
        self.last_error = Some(why.line);
        self.refused = why.refused;
        if why.refused && self.sure {
            self.sure = false;
            self.none_listed = false;
        }
        let wait = RETRY_MS
            .saturating_mul(1 << self.failures.min(20))
            .min(interval.max(RETRY_MS));
        self.retry_at = now.saturating_add(wait);
        if self.failures > 1 || self.wanted_since.is_some() {
            self.excused = true;
            self.wanted_since = None;
        }
    }
}
