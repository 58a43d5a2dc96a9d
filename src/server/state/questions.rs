//! How many index questions of an entity are under way: doubt matters to them as to the sets that are there.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

/// The count, kept with the entity.
#[derive(Default)]
pub(crate) struct Questions(Arc<AtomicU32>);

/// One of them; counted for as long as this lives.
pub(crate) struct UnderWay(Arc<AtomicU32>);

impl Questions {
    /// One more is under way.
    pub(crate) fn begin(&self) -> UnderWay {
        self.0.fetch_add(1, Ordering::AcqRel);
        UnderWay(self.0.clone())
    }
    /// Is any?
    pub(crate) fn any(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_counts_until_it_is_over_however_it_ends() {
        let of = Questions::default();
        assert!(!of.any());
        let (one, two) = (of.begin(), of.begin());
        drop(one);
        assert!(of.any());
        let lost = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _two = two;
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(lost.is_err() && !of.any());
    }

    #[test]
    fn one_that_outlives_its_entity_is_nobody_elses() {
        let former = Questions::default();
        let late = former.begin();
        drop(former);
        let anew = Questions::default();
        let own = anew.begin();
        drop(late);
        assert!(anew.any());
        drop(own);
        assert!(!anew.any());
    }
}
