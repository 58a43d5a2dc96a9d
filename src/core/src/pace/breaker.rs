//! The circuit breaker of a base: after repeated failures nothing is sent but a probe now and then.

use super::limits::BreakerLimits;

/// The state of a base's breaker, as operators see it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Breaker {
    /// Calls go.
    Closed,
    /// Calls are refused; the next probe is not due.
    Open,
    /// A probe is due or under way.
    HalfOpen,
}

/// Calls and failures of one window.
#[derive(Copy, Clone, Debug, Default)]
struct Tally {
    calls: u32,
    failures: u32,
}

/// Decides when a base counts as failing.
#[derive(Clone, Debug, Default)]
pub(super) struct Circuit {
    consecutive: u32,
    /// The window before the current one counts in proportion to its part that is still within reach.
    current: Tally,
    previous: Tally,
    window_start: u64,
    /// While open: when the next probe may go.
    probe_at: Option<u64>,
    /// The probe sent last is not back.
    probing: bool,
}

impl Circuit {
    pub(super) fn state(&self, now: u64) -> Breaker {
        match self.probe_at {
            None => Breaker::Closed,
            Some(_) if self.probing => Breaker::HalfOpen,
            Some(at) if now >= at => Breaker::HalfOpen,
            Some(_) => Breaker::Open,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.probe_at.is_none()
    }

    /// From when on a call may go.
    pub(super) fn free_at(&self) -> u64 {
        self.probe_at.unwrap_or(0)
    }

    /// A call starts; true if it is a probe.
    pub(super) fn start(&mut self, limits: &BreakerLimits, now: u64) -> bool {
        if self.probe_at.is_none() {
            return false;
        }
        // Whatever becomes of this probe, the next one has to wait.
        self.probe_at = Some(now + limits.probe_ms);
        self.probing = true;
        true
    }

    /// The probe that started then was not sent after all: the next call is one.
    pub(super) fn withdraw(&mut self, limits: &BreakerLimits, started: u64, now: u64) {
        // A younger probe may be under way.
        if self.probe_at == Some(started + limits.probe_ms) {
            self.probe_at = Some(now);
            self.probing = false;
        }
    }

    /// Airtable answered. While open only a probe's answer tells: others may have been sent before it failed.
    pub(super) fn success(&mut self, limits: &BreakerLimits, probe: bool, now: u64) {
        if self.probe_at.is_some() {
            if probe {
                *self = Circuit::default();
            }
            return;
        }
        self.roll(limits, now);
        self.consecutive = 0;
        self.current.calls = self.current.calls.saturating_add(1);
    }

    /// Airtable failed.
    pub(super) fn failure(&mut self, limits: &BreakerLimits, probe: bool, now: u64) {
        if self.probe_at.is_some() {
            if probe {
                self.probing = false;
            }
            return;
        }
        self.roll(limits, now);
        self.consecutive = self.consecutive.saturating_add(1);
        self.current.calls = self.current.calls.saturating_add(1);
        self.current.failures = self.current.failures.saturating_add(1);
        if self.consecutive >= limits.consecutive.max(1) || self.ratio_exceeded(limits, now) {
            self.open(limits, now);
        }
    }

    /// Opens it.
    pub(super) fn open(&mut self, limits: &BreakerLimits, now: u64) {
        *self = Circuit {
            probe_at: Some(now + limits.probe_ms),
            ..Circuit::default()
        };
    }

    fn roll(&mut self, limits: &BreakerLimits, now: u64) {
        let passed = now.saturating_sub(self.window_start);
        let window = limits.window_ms.max(1);
        if passed >= 2 * window {
            self.previous = Tally::default();
            self.current = Tally::default();
            self.window_start = now;
        } else if passed >= window {
            self.previous = core::mem::take(&mut self.current);
            self.window_start += window;
        }
    }

    fn ratio_exceeded(&self, limits: &BreakerLimits, now: u64) -> bool {
        let window = limits.window_ms.max(1);
        let within = window - now.saturating_sub(self.window_start).min(window);
        let weigh = |now: u32, before: u32| u64::from(now) * window + u64::from(before) * within;
        let calls = weigh(self.current.calls, self.previous.calls);
        let failures = weigh(self.current.failures, self.previous.failures);
        calls >= u64::from(limits.min_calls.max(1)) * window
            && failures * 100 >= calls * u64::from(limits.ratio_percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_it_and_probes_go_every_five_seconds() {
        let limits = BreakerLimits::default();
        let mut circuit = Circuit::default();
        for t in 0..4 {
            circuit.failure(&limits, false, t);
        }
        assert_eq!(circuit.state(4), Breaker::Closed);
        circuit.failure(&limits, false, 5);
        assert_eq!(circuit.state(5), Breaker::Open);
        assert_eq!(circuit.free_at(), 5005);
        assert_eq!(circuit.state(5005), Breaker::HalfOpen);
        assert!(circuit.start(&limits, 5005));
        assert_eq!(circuit.state(5006), Breaker::HalfOpen);
        assert_eq!(circuit.free_at(), 10_005);
        circuit.failure(&limits, true, 5100);
        assert_eq!(circuit.state(5100), Breaker::Open);
        assert!(circuit.start(&limits, 10_005));
        circuit.success(&limits, true, 10_050);
        assert_eq!(circuit.state(10_050), Breaker::Closed);
    }

    #[test]
    fn a_success_resets_the_row_but_not_the_ratio() {
        let limits = BreakerLimits::default();
        let mut circuit = Circuit::default();
        let mut opened = None;
        for t in 0..40 {
            if t % 2 == 0 {
                circuit.success(&limits, false, t * 100);
            } else {
                circuit.failure(&limits, false, t * 100);
            }
            if !circuit.is_closed() {
                opened = Some(t);
                break;
            }
        }
        assert_eq!(opened, Some(19));
    }

    #[test]
    fn failures_long_ago_do_not_count() {
        let limits = BreakerLimits::default();
        let mut circuit = Circuit::default();
        for t in 0..18 {
            circuit.failure(&limits, false, t);
            circuit.success(&limits, false, t);
            if t == 8 {
                break;
            }
        }
        circuit.failure(&limits, false, 70_000);
        circuit.failure(&limits, false, 70_001);
        assert!(circuit.is_closed());
    }

    #[test]
    fn a_late_answer_to_an_old_call_does_not_close_it() {
        let limits = BreakerLimits::default();
        let mut circuit = Circuit::default();
        circuit.open(&limits, 0);
        circuit.success(&limits, false, 10);
        assert_eq!(circuit.state(10), Breaker::Open);
    }
}
