//! What LEASE and GET answer of a computed key, from the copy that is there, what was asked, and who computes.

use super::index::Check;

/// The copy under a key.
#[derive(Clone, Copy, Debug)]
pub struct Copy {
    pub check: Check,
    /// When it was stored, unix ms.
    pub stored_ms: u64,
    /// End of freshness, unix ms.
    pub fresh_until: u64,
    /// The draw of [`super::early::early`] for this read; only looked at while the copy is fresh.
    pub early: bool,
}

/// What a resource allows, ms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    pub grace_ms: u64,
    pub if_error_ms: u64,
    /// Setting `podium.enabled`.
    pub enabled: bool,
}

/// What was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    pub no_cache: bool,
    pub max_age_ms: Option<u64>,
    pub cache_only: bool,
    /// Neither NOWAIT nor a place where no command may wait.
    pub may_wait: bool,
}

/// What others do with the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Others {
    /// Somebody computes it ([`super::lease::Leases::is_taken`]).
    pub taken: bool,
    /// A computation failed lately ([`super::lease::Leases::backs_off`]).
    pub backing_off: bool,
}

/// `cache` in META.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    Hit,
    Miss,
    Stale,
    Bypass,
}

/// `detail` in META.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    None,
    /// A lease is given: compute it.
    Lease,
    /// The same, before the copy's end.
    Early,
    /// A computation failed, and the old copy serves for a while.
    Released,
    /// Neither a value nor a lease.
    NoLease,
    /// The answer of somebody else's computation was waited for.
    Waited,
}

impl Detail {
    /// As META shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Detail::None => "",
            Detail::Lease => "lease",
            Detail::Early => "early",
            Detail::Released => "released",
            Detail::NoLease => "no-lease",
            Detail::Waited => "waited",
        }
    }
}

/// What is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// `[value, null]`
    Value(Source, Detail),
    /// `[value, token]`: take a lease.
    ValueAndLease(Source, Detail),
    /// `[null, token]`: take a lease.
    Lease(Source),
    /// `[null, null]`
    Nothing(Source),
    /// Wait for who computes.
    Wait,
    /// Something it used is in doubt: have that looked at ([`super::index::Index::doubts`]), then decide again. Who may
    /// not wait for it gets nothing, and it is looked at behind.
    Settle,
}

#[derive(PartialEq, Eq)]
enum State {
    Fresh,
    Grace,
    IfError,
    No,
}

fn state(terms: &Terms, copy: &Copy, asked: &Options, now_ms: u64) -> State {
    if asked.no_cache || copy.check == Check::Dropped {
        return State::No;
    }
    if let Some(most) = asked.max_age_ms {
        // An end that has passed is no answer to who says how old it may be.
        let young = now_ms.saturating_sub(copy.stored_ms) <= most;
        return if young && now_ms < copy.fresh_until {
            State::Fresh
        } else {
            State::No
        };
    }
    let over = now_ms.saturating_sub(copy.fresh_until);
    match () {
        () if now_ms < copy.fresh_until => State::Fresh,
        () if over < terms.grace_ms => State::Grace,
        () if over < terms.if_error_ms => State::IfError,
        () => State::No,
    }
}

/// What LEASE answers. `copy`: `None`, there is none.
pub fn lease(
    terms: &Terms,
    copy: Option<&Copy>,
    asked: &Options,
    others: Others,
    now_ms: u64,
) -> Reply {
    if !terms.enabled {
        return Reply::Nothing(Source::Bypass);
    }
    if asked.no_cache {
        return Reply::Lease(Source::Bypass);
    }
    let absent = match (asked.cache_only, others.taken) {
        (true, _) => Reply::Nothing(Source::Miss),
        (_, true) if asked.may_wait => Reply::Wait,
        (_, true) => Reply::Nothing(Source::Miss),
        (_, false) => Reply::Lease(Source::Miss),
    };
    let Some(copy) = copy else { return absent };
    let state = state(terms, copy, asked, now_ms);
    let served = state == State::Fresh
        || state == State::Grace
        || state == State::IfError && others.backing_off;
    if !served {
        return absent;
    }
    if copy.check == Check::Suspended {
        return if asked.may_wait && !asked.cache_only {
            Reply::Settle
        } else {
            Reply::Nothing(Source::Miss)
        };
    }
    let free = !others.taken && !others.backing_off && !asked.cache_only;
    match state {
        State::Fresh if copy.early && free => Reply::ValueAndLease(Source::Hit, Detail::Early),
        State::Fresh => Reply::Value(Source::Hit, Detail::None),
        _ if others.backing_off => Reply::Value(Source::Stale, Detail::Released),
        State::Grace if free => Reply::ValueAndLease(Source::Stale, Detail::Lease),
        _ => Reply::Value(Source::Stale, Detail::None),
    }
}

/// What GET and MGET answer: the value or nothing, never a lease. [`Reply::Settle`] to who may not wait: it would block.
pub fn get(
    terms: &Terms,
    copy: Option<&Copy>,
    asked: &Options,
    others: Others,
    now_ms: u64,
) -> Reply {
    if !terms.enabled || asked.no_cache {
        return Reply::Nothing(Source::Bypass);
    }
    let Some(copy) = copy else {
        return Reply::Nothing(Source::Miss);
    };
    let (source, detail) = match state(terms, copy, asked, now_ms) {
        State::Fresh => (Source::Hit, Detail::None),
        State::Grace | State::IfError if others.backing_off => (Source::Stale, Detail::Released),
        State::Grace => (Source::Stale, Detail::None),
        _ => return Reply::Nothing(Source::Miss),
    };
    if copy.check == Check::Suspended {
        return if asked.cache_only {
            Reply::Nothing(Source::Miss)
        } else {
            Reply::Settle
        };
    }
    Reply::Value(source, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        grace_ms: 100,
        if_error_ms: 500,
        enabled: true,
    };
    const WAIT: Options = Options {
        no_cache: false,
        max_age_ms: None,
        cache_only: false,
        may_wait: true,
    };
    const FREE: Others = Others {
        taken: false,
        backing_off: false,
    };
    const TAKEN: Others = Others {
        taken: true,
        backing_off: false,
    };
    const BACK: Others = Others {
        taken: false,
        backing_off: true,
    };
    /// Stored at 0, fresh until 1,000.
    fn copy(check: Check, early: bool) -> Copy {
        Copy {
            check,
            stored_ms: 0,
            fresh_until: 1000,
            early,
        }
    }

    #[test]
    fn a_lease_is_what_the_table_says() {
        use Check::{Dropped, Hit, Suspended};
        use Detail::{Early, Released};
        use Reply::{Lease, Nothing, Settle, Value, ValueAndLease, Wait};
        use Source::{Bypass, Miss, Stale};
        let hit = Value(Source::Hit, Detail::None);
        let only = Options {
            cache_only: true,
            ..WAIT
        };
        let now = Options {
            may_wait: false,
            ..WAIT
        };
        let aged = |ms| Options {
            max_age_ms: Some(ms),
            ..WAIT
        };
        let skip = Options {
            no_cache: true,
            ..WAIT
        };
        let c = Some(copy(Hit, false));
        let rows = [
            (c, WAIT, FREE, 999, hit),
            (c, WAIT, TAKEN, 999, hit),
            (None, WAIT, FREE, 0, Lease(Miss)),
            (None, WAIT, TAKEN, 0, Wait),
            (None, now, TAKEN, 0, Nothing(Miss)),
            (None, now, FREE, 0, Lease(Miss)),
            (None, only, FREE, 0, Nothing(Miss)),
            (c, WAIT, FREE, 1050, ValueAndLease(Stale, Detail::Lease)),
            (c, WAIT, TAKEN, 1050, Value(Stale, Detail::None)),
            (c, only, FREE, 1050, Value(Stale, Detail::None)),
            (c, WAIT, BACK, 1050, Value(Stale, Released)),
            (c, WAIT, FREE, 1100, Lease(Miss)),
            (c, WAIT, TAKEN, 1100, Wait),
            (c, WAIT, BACK, 1499, Value(Stale, Released)),
            (c, WAIT, BACK, 1500, Lease(Miss)),
            (
                Some(copy(Hit, true)),
                WAIT,
                FREE,
                999,
                ValueAndLease(Source::Hit, Early),
            ),
            (Some(copy(Hit, true)), WAIT, TAKEN, 999, hit),
            (Some(copy(Hit, true)), only, FREE, 999, hit),
            (c, aged(999), FREE, 999, hit),
            (c, aged(998), FREE, 999, Lease(Miss)),
            (c, aged(5000), FREE, 1001, Lease(Miss)),
            (c, skip, FREE, 5, Lease(Bypass)),
            (c, skip, TAKEN, 5, Lease(Bypass)),
            (Some(copy(Suspended, false)), WAIT, FREE, 5, Settle),
            (Some(copy(Suspended, false)), now, FREE, 5, Nothing(Miss)),
            (Some(copy(Suspended, false)), WAIT, FREE, 1200, Lease(Miss)),
            (Some(copy(Dropped, true)), WAIT, FREE, 5, Lease(Miss)),
            (Some(copy(Dropped, true)), WAIT, BACK, 1050, Lease(Miss)),
        ];
        for (n, (copy, asked, others, at, expected)) in rows.into_iter().enumerate() {
            let found = lease(&TERMS, copy.as_ref(), &asked, others, at);
            assert_eq!(found, expected, "row {n}");
        }
        let off = Terms {
            enabled: false,
            ..TERMS
        };
        assert_eq!(lease(&off, c.as_ref(), &WAIT, FREE, 5), Nothing(Bypass));
    }

    #[test]
    fn get_gives_no_lease() {
        for (check, at, others, expected) in [
            (Check::Hit, 5, FREE, Reply::Value(Source::Hit, Detail::None)),
            (
                Check::Hit,
                1050,
                FREE,
                Reply::Value(Source::Stale, Detail::None),
            ),
            (Check::Hit, 1200, FREE, Reply::Nothing(Source::Miss)),
            (
                Check::Hit,
                1200,
                BACK,
                Reply::Value(Source::Stale, Detail::Released),
            ),
            (Check::Suspended, 5, FREE, Reply::Settle),
            (Check::Dropped, 5, FREE, Reply::Nothing(Source::Miss)),
        ] {
            assert_eq!(
                get(&TERMS, Some(&copy(check, true)), &WAIT, others, at),
                expected
            );
        }
        assert_eq!(
            get(&TERMS, None, &WAIT, TAKEN, 5),
            Reply::Nothing(Source::Miss)
        );
    }
}
