//! The log of calls that tests assert on: "100 ids cost 1 call".

use serde_json::{json, Value as Json};
use std::collections::VecDeque;

/// Older entries go; the count of all calls stays.
const KEPT: usize = 200_000;

/// One call to the API (control calls are not logged).
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// 1 for the first call since the log was cleared.
    pub seq: u64,
    /// Milliseconds on the emulator's clock since it started, when the request arrived.
    pub t_ms: i64,
    /// Real milliseconds since it started.
    pub real_ms: i64,
    /// The request method.
    pub method: String,
    /// The path as sent, without the query.
    pub path: String,
    /// The query as sent.
    pub query: String,
    /// The decoded `filterByFormula`, from query or body.
    pub formula: Option<String>,
    /// The JSON body as sent; null when there was none.
    pub body: Json,
    /// The status answered; 0 when a fault kept it from being answered.
    pub status: u16,
    /// How many records were returned, when records were.
    pub records: Option<usize>,
    /// The kind of the fault that was played, if any.
    pub fault: Option<String>,
}

impl Call {
    /// As the control route shows it.
    #[must_use]
    pub fn to_json(&self) -> Json {
        json!({
            "seq": self.seq, "t_ms": self.t_ms, "real_ms": self.real_ms, "method": self.method, "path": self.path,
            "query": self.query, "formula": self.formula, "body": self.body, "status": self.status,
            "records": self.records, "fault": self.fault,
        })
    }
}

#[derive(Default)]
pub(crate) struct CallLog {
    calls: VecDeque<Call>,
    count: u64,
}

impl CallLog {
    /// Adds a call and numbers it.
    pub(crate) fn push(&mut self, mut call: Call) -> u64 {
        self.count += 1;
        call.seq = self.count;
        if self.calls.len() >= KEPT {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
        self.count
    }

    /// Fills in what is known once the call was answered.
    pub(crate) fn finish(
        &mut self,
        seq: u64,
        status: u16,
        records: Option<usize>,
        fault: Option<String>,
    ) {
        // Newest first: it is among the last unless the log was cleared meanwhile.
        if let Some(call) = self.calls.iter_mut().rev().find(|call| call.seq == seq) {
            (call.status, call.records, call.fault) = (status, records, fault);
        }
    }

    /// The kept calls after number `seq`, oldest first.
    pub(crate) fn since(&self, seq: u64) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| call.seq > seq)
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
