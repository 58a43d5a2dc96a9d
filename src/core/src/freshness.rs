//! How long a copy serves: one soft end (freshness), one hard end (the stale windows), and the attachments' own.

/// Attachment urls live two hours after the response that carried them; a little less is promised.
pub const ATTACHMENT_DEAD_MS: u64 = 7_000_000;

/// The settings' windows, in ms.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Windows {
    pub ttl_ms: u64,
    /// Share of the ttl by which it varies either way, 0..=0.5.
    pub jitter: f64,
    pub while_revalidate_ms: u64,
    pub if_error_ms: u64,
    pub attachment_ms: u64,
}

/// When a copy that was asked for at `asked_ms` ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends {
    /// End of freshness, unix ms.
    pub fresh_until: u64,
    /// Never served from here on, unix ms.
    pub dead_at: u64,
    /// The key's own expiry, unix ms.
    pub expire_at: u64,
}

/// A span that varies either way by a share of it; `chance`: any 64 random bits.
pub fn spread(ms: u64, jitter: f64, chance: u64) -> u64 {
    let unit = (chance >> 11) as f64 / (1u64 << 53) as f64;
    (ms as f64 * (1.0 + jitter * (2.0 * unit - 1.0))) as u64
}

/// `chance`: any 64 random bits; they spread the ends so that what was loaded together does not end together.
pub fn ends(w: &Windows, asked_ms: u64, attachments: bool, chance: u64) -> Ends {
    let ttl = spread(w.ttl_ms, w.jitter, chance).max(1);
    let ttl = if attachments {
        ttl.min(w.attachment_ms)
    } else {
        ttl
    };
    let fresh_until = asked_ms.saturating_add(ttl);
    let dead_at = if attachments {
        asked_ms.saturating_add(ATTACHMENT_DEAD_MS)
    } else {
        u64::MAX
    };
    let window = w.while_revalidate_ms.max(w.if_error_ms);
    Ends {
        fresh_until,
        dead_at,
        expire_at: fresh_until
            .saturating_add(window)
            .min(dead_at)
            .max(asked_ms + 1),
    }
}

/// What a copy is good for now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    Fresh,
    /// Past freshness: served while one refresh runs.
    WhileRevalidate,
    /// Past that too: served only if Airtable fails.
    IfError,
    No,
}

/// Judges a copy by its ends and the windows in force.
pub fn judge(w: &Windows, fresh_until: u64, dead_at: u64, now: u64) -> Use {
    if now >= dead_at {
        return Use::No;
    }
    if now < fresh_until {
        return Use::Fresh;
    }
    let over = now - fresh_until;
    if over < w.while_revalidate_ms {
        Use::WhileRevalidate
    } else if over < w.if_error_ms {
        Use::IfError
    } else {
        Use::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const W: Windows = Windows {
        ttl_ms: 1000,
        jitter: 0.05,
        while_revalidate_ms: 100,
        if_error_ms: 500,
        attachment_ms: 400,
    };

    #[test]
    fn the_end_of_freshness_spreads_by_the_jitter_and_no_more() {
        assert_eq!(ends(&W, 0, false, 0).fresh_until, 950);
        assert!(ends(&W, 0, false, u64::MAX).fresh_until <= 1050);
        assert_eq!(ends(&W, 0, false, 1 << 63).fresh_until, 1000);
        assert_eq!(ends(&W, 0, false, 0).expire_at, 1450);
    }

    #[test]
    fn attachments_end_by_their_own_clock() {
        let e = ends(
            &Windows {
                if_error_ms: 90_000_000,
                ..W
            },
            10,
            true,
            1 << 63,
        );
        assert_eq!(
            (e.fresh_until, e.dead_at, e.expire_at),
            (410, 7_000_010, 7_000_010)
        );
    }

    #[test]
    fn a_copy_is_judged_by_soft_and_hard_ends() {
        let rows = [
            (999, Use::Fresh),
            (1000, Use::WhileRevalidate),
            (1099, Use::WhileRevalidate),
            (1100, Use::IfError),
            (1499, Use::IfError),
            (1500, Use::No),
        ];
        for (now, expected) in rows {
            assert_eq!(judge(&W, 1000, u64::MAX, now), expected, "{now}");
        }
        assert_eq!(judge(&W, 1000, 900, 950), Use::No);
    }
}
