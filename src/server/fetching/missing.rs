//! What a page leaves open of the ids that were asked for ([`podium_core::missing`] decides it), in the words clients see.

use crate::server::upstream::fault::Fault;
use crate::server::upstream::figures;
use podium_airtable::Page;
use podium_core::missing::{Asked, Missing, Why};

/// What a page says of the ids that it lacks.
pub(crate) fn missing(asked: &mut Asked, page: &Page) -> Missing {
    asked.page(page.ids(), page.nameless > 0, page.offset.is_some())
}

/// It says nothing of them. Counted as Airtable's error.
pub(crate) fn unanswered(entity: &str, why: Why) -> Fault {
    figures::error(false);
    match why {
        Why::Nameless => Fault::nameless(entity),
        Why::NotAskedFor | Why::NoProgress => Fault::outage(format!(
            "UPSTREAMBAD Airtable did not answer which records of {entity} there are: it left some out that may be there"
        )),
    }
}
