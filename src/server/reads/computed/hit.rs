//! The short way of a plain hit.

use crate::server::state::entities::State;
use podium_core::computed::index::Check;
use podium_core::computed::stored::Stored;

/// Is a stored answer a hit, as a plain GET sees it? Neither a lock nor an allocation; counted if so. (A generation is random
/// and an answer names its own key, so nothing else needs to be compared.) False: the general way decides.
#[inline]
pub(crate) fn is_hit(st: &mut State, answer: &Stored, now: u64) -> bool {
    is_fresh(st, answer, now, false)
}

/// As [`is_hit`], for LEASE: not so near its end that somebody may be asked to compute it anew.
#[inline]
pub(crate) fn is_lease_hit(st: &mut State, answer: &Stored, now: u64) -> bool {
    is_fresh(st, answer, now, true)
}

#[inline]
fn is_fresh(st: &mut State, answer: &Stored, now: u64, leases: bool) -> bool {
    let h = &answer.header;
    if now >= h.fresh_until || st.replica || st.answers.lost {
        return false;
    }
    let Some(at) = answer.place(st.answers.process) else {
        return false;
    };
    if st.answers.core.check(at) != Check::Hit {
        return false;
    }
    let Some(hot) = st.resources.hot(h.generation) else {
        return false;
    };
    // Beyond so many times what it took, the chance is less than that of a machine's error.
    if leases && (h.fresh_until - now) as f64 <= h.took_ms as f64 * hot.early * 64.0 {
        return false;
    }
    hot.hits += 1;
    true
}
