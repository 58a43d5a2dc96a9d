#![allow(clippy::indexing_slicing)]

use super::*;
use alloc::vec::Vec;
use proptest::prelude::*;

const LAST: bool = false;
const MORE: bool = true;

#[test]
fn what_a_last_page_leaves_out_is_gone() {
    let page = |came: &[&str]| Asked::all(["recA", "recB"]).page(came.iter().copied(), false, LAST);
    assert_eq!(page(&["recA"]), Missing::Gone);
    assert_eq!(page(&[]), Missing::Gone);
    assert_eq!(page(&["recB", "recA"]), Missing::None);
}

#[test]
fn what_a_short_page_leaves_out_is_unread_if_it_brought_anything_wanted() {
    let page = |came: &[&str]| {
        let asked = [("recA", true), ("recB", true), ("recFill", false)];
        Asked::of(asked).page(came.iter().copied(), false, MORE)
    };
    assert_eq!(page(&["recA"]), Missing::Unread);
    assert_eq!(page(&[]), Missing::Unknown(Why::NoProgress));
    assert_eq!(page(&["recFill"]), Missing::Unknown(Why::NoProgress));
    assert_eq!(page(&["recA", "recB"]), Missing::Unread, "the filler");
    assert_eq!(page(&["recA", "recB", "recFill"]), Missing::None);
}

#[test]
fn an_answer_to_another_question_says_nothing() {
    for more in [LAST, MORE] {
        let page =
            |came: &[&str]| Asked::all(["recA", "recB"]).page(came.iter().copied(), false, more);
        assert_eq!(page(&["recX"]), Missing::Unknown(Why::NotAskedFor));
        assert_eq!(page(&["recA", "recX"]), Missing::Unknown(Why::NotAskedFor));
        assert_eq!(page(&["recA", "recX", "recB"]), Missing::None);
    }
}

#[test]
fn something_without_a_name_may_be_any() {
    let page =
        |came: &[&str], more| Asked::all(["recA", "recB"]).page(came.iter().copied(), true, more);
    assert_eq!(page(&["recA"], LAST), Missing::Unknown(Why::Nameless));
    assert_eq!(page(&["recX"], LAST), Missing::Unknown(Why::Nameless));
    assert_eq!(page(&["recA", "recB"], LAST), Missing::None);
    assert_eq!(page(&["recA"], MORE), Missing::Unread, "it may come yet");
}

#[test]
fn something_without_a_name_on_an_earlier_page_may_be_any_to_the_end() {
    let mut asked = Asked::all(["recA", "recB", "recC"]);
    assert_eq!(asked.page(["recA"], true, MORE), Missing::Unread);
    let last = asked.page(["recB"], false, LAST);
    assert_eq!(last, Missing::Unknown(Why::Nameless));
}

#[test]
fn a_page_that_repeats_what_came_is_no_progress() {
    let mut asked = Asked::all(["recA", "recB"]);
    assert_eq!(asked.page(["recA"], false, MORE), Missing::Unread);
    let again = asked.page(["recA"], false, MORE);
    assert_eq!(again, Missing::Unknown(Why::NoProgress));
    assert_eq!(asked.page(["recB"], false, MORE), Missing::None);
}

/// A page as Airtable, or what stands in its place, may answer.
#[derive(Debug, Clone)]
struct Page {
    came: Vec<u8>,
    nameless: bool,
}

fn pages() -> impl Strategy<Value = Vec<Page>> {
    let page = (
        prop::collection::vec(0..8u8, 0..5),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(came, nameless)| Page { came, nameless });
    prop::collection::vec(page, 1..6)
}

fn name(n: u8) -> CompactString {
    compact_str::format_compact!("rec{n}")
}

proptest! {
    /// Whatever comes: ids are called gone only by a last page of an answer that held nothing but what was asked for and
    /// said of all of it what it was; asking on ends.
    #[test]
    fn gone_is_said_only_of_a_whole_answer_to_the_question(
        asked in prop::collection::btree_set(0..6u8, 1..6),
        pages in pages(),
    ) {
        let mut question = Asked::all(asked.iter().map(|n| name(*n)));
        let mut left = asked.clone();
        let mut nameless = false;
        for (n, page) in pages.iter().enumerate() {
            let more = n + 1 < pages.len();
            let came: Vec<CompactString> = page.came.iter().map(|n| name(*n)).collect();
            let before = left.len();
            page.came.iter().for_each(|n| { left.remove(n); });
            nameless |= page.nameless;
            let strange = page.came.iter().any(|n| !asked.contains(n));
            let said = question.page(came.iter().map(CompactString::as_str), page.nameless, more);
            prop_assert_eq!(said == Missing::None, left.is_empty());
            match said {
                Missing::None => break,
                Missing::Gone => prop_assert!(!more && !strange && !nameless),
                Missing::Unread => prop_assert!(more && !strange && left.len() < before),
                Missing::Unknown(Why::Nameless) => prop_assert!(nameless && !more),
                Missing::Unknown(Why::NotAskedFor) => prop_assert!(strange),
                Missing::Unknown(Why::NoProgress) => {
                    prop_assert!(more && left.len() == before);
                }
            }
            if said != Missing::Unread {
                break;
            }
        }
    }

    /// An honest Airtable's pages, however they are cut: exactly what is not there is called gone.
    #[test]
    fn an_honest_answer_is_believed(
        asked in prop::collection::btree_set(0..40u8, 1..30),
        there in prop::collection::btree_set(0..40u8, 0..30),
        size in 1..9usize,
    ) {
        let hits: Vec<CompactString> = asked.intersection(&there).map(|n| name(*n)).collect();
        let mut question = Asked::all(asked.iter().map(|n| name(*n)));
        let mut said = Missing::Unread;
        if hits.is_empty() {
            said = question.page([], false, LAST);
        }
        let cut: Vec<_> = hits.chunks(size).collect();
        for (n, part) in cut.iter().enumerate() {
            prop_assert_eq!(said, Missing::Unread);
            let more = n + 1 < cut.len();
            said = question.page(part.iter().map(CompactString::as_str), false, more);
        }
        let all = hits.len() == asked.len();
        prop_assert_eq!(said, if all { Missing::None } else { Missing::Gone });
    }
}
