//! When a base's schema is read by itself.

/// So long after a spec's first fetch it is compared with the schema, ms: those who read first have been answered then, and
/// the first fetches of several specs are one call.
pub const BEHIND_MS: u64 = 3_000;
/// Schemas change without anybody being told: they are read again after this, ms.
const DAY_MS: u64 = 86_400_000;
/// The first new attempt after a failure, ms; the pause doubles up to a day.
const AGAIN_MS: u64 = 60_000;

/// What came of reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    Done,
    /// The token may not, or Airtable knows no such base: who is to change that needs time.
    Refused,
    /// It failed, as the `before` attempts before it did.
    Failed {
        before: u32,
    },
}

/// How long it is left alone then, ms.
pub fn pause_ms(read: Read) -> u64 {
    match read {
        Read::Done | Read::Refused => DAY_MS,
        Read::Failed { before } => (AGAIN_MS << before.min(12)).min(DAY_MS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_read_once_a_day_and_sooner_only_after_failures() {
        assert_eq!(pause_ms(Read::Done), 24 * 60 * 60 * 1000);
        assert_eq!(pause_ms(Read::Refused), 24 * 60 * 60 * 1000);
        let failed = |before| pause_ms(Read::Failed { before }) / 1000;
        assert_eq!([0, 1, 2].map(failed), [60, 120, 240]);
        assert!((0..40).all(|n| failed(n) <= failed(n + 1) && failed(n) <= 86_400));
        assert_eq!(failed(u32::MAX), 86_400);
    }
}
