#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use proptest::prelude::*;

fn all(r: &Register, n: usize, told: Option<Option<u64>>) -> Vec<String> {
    let (mut out, mut from) = (Vec::new(), Some(START));
    while let Some(at) = from {
        let (ids, next) = match told {
            None => r.part(at, n),
            Some(set) => r.told_part(at, n, set),
        };
        out.extend(ids.into_iter().map(String::from));
        from = next;
    }
    out.sort();
    out
}

/// Ids of both kinds, near each other and not.
fn id(n: u32) -> String {
    match n % 5 {
        0 => format!("rec{n:014}"),
        1 => format!("rec{n}"),
        2 => format!("recAbcdefghijklm{}", n % 10),
        3 => format!("rec{}_{n}", "x".repeat(30)),
        _ => format!("rec{:_>14}", n * 7919),
    }
}

#[test]
fn it_is_small_and_no_insertion_moves_much() {
    let mut r = Register::default();
    for n in 0..200_000u32 {
        assert!(r.insert(&format!("rec{:014}", u64::from(n) * 7_919_777)));
    }
    assert_eq!(r.len(), 200_000);
    let bytes = r.usual.bytes();
    assert!(
        bytes < 200_000 * 14,
        "{} a record",
        bytes as f64 / 200_000.0
    );
    assert!(
        r.usual.widest() < 200,
        "a bucket is looked through as a whole: {}",
        r.usual.widest()
    );
}

#[test]
fn what_arrives_is_looked_at_once() {
    let mut r = Register::default();
    r.arrived("recA");
    r.arrived("recB");
    assert_eq!(r.take_arrived(1).len() + r.take_arrived(5).len(), 2);
    assert!(r.take_arrived(5).is_empty());
    r.lose_told();
    r.arrived("recC");
    assert!(
        r.take_arrived(5).is_empty() && !r.told_is_complete(),
        "all is looked through"
    );
    r.found_all_told();
    assert!(r.told_is_complete());
}

#[test]
fn few_that_do_not_belong_to_a_set_are_looked_at_for_it() {
    let mut r = Register::default();
    let name = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for n in 0..10_000u64 {
        r.tell(&format!("rec{n}"), [name(n), name(n % 7)].into_iter());
    }
    assert_eq!(r.told(), 10_000);
    let found = all(&r, 1_000, Some(Some(name(4_321))));
    assert!(found.iter().any(|id| id == "rec4321"));
    assert!(found.len() < 3_500, "{}", found.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// A set of ids, some of them told, however they come and go.
    #[test]
    fn it_is_a_map_of_ids(steps in prop::collection::vec((0u8..8, 0u32..400, 0u64..40), 1..3000), n in 1usize..300) {
        let mut r = Register::default();
        let mut model: BTreeMap<String, Option<u64>> = BTreeMap::new();
        for (what, number, set) in steps {
            let id = id(number);
            match what {
                0..=3 => {
                    prop_assert_eq!(r.insert(&id), !model.contains_key(&id));
                    model.entry(id).or_insert(None);
                }
                4 => prop_assert_eq!(r.remove(&id), model.remove(&id).is_some()),
                5 | 6 => {
                    r.tell(&id, [set].into_iter());
                    model.insert(id, Some(set));
                }
                _ => {
                    r.untell(&id);
                    if let Some(told) = model.get_mut(&id) {
                        *told = None;
                    }
                }
            }
        }
        prop_assert_eq!(r.len(), model.len());
        prop_assert_eq!(r.told(), model.values().filter(|t| t.is_some()).count());
        for number in 0..400 {
            prop_assert_eq!(r.contains(&id(number)), model.contains_key(&id(number)));
        }
        let ids: Vec<String> = model.keys().cloned().collect();
        prop_assert_eq!(&all(&r, n, None), &ids);
        let mut listed: Vec<String> = r.iter().map(String::from).collect();
        listed.sort();
        prop_assert_eq!(&listed, &ids);
        let told: Vec<String> = model.iter().filter(|(_, t)| t.is_some()).map(|(id, _)| id.clone()).collect();
        prop_assert_eq!(all(&r, n, Some(None)), told);
        let of_one = all(&r, n, Some(Some(1)));
        for (id, _) in model.iter().filter(|(_, t)| **t == Some(1)) {
            prop_assert!(of_one.contains(id));
        }
        let mut remains = r.into_remains();
        let mut left = Vec::new();
        while let Some(id) = remains.next() {
            left.push(String::from(id));
            prop_assert_eq!(remains.len(), ids.len() - left.len());
        }
        left.sort();
        prop_assert_eq!(left, ids);
    }

    /// Whatever comes and goes between two parts of a walk: what stays is met once, and nothing that was never there.
    #[test]
    fn a_walk_meets_what_stays_once(stay in 0u32..3000, n in 1usize..200, changes in prop::collection::vec((any::<bool>(), 1u32..400), 0..40)) {
        let mut r = Register::default();
        let stays = |n: u32| format!("recS{n}");
        (0..stay).for_each(|n| { r.insert(&stays(n)); });
        r.insert("recAnIdThatIsLongerThanUsual");
        let (mut met, mut from, mut other) = (Vec::new(), Some(START), 0u32);
        let mut changes = changes.into_iter();
        while let Some(at) = from {
            let (ids, next) = r.part(at, n);
            prop_assert!(ids.len() < n + 200);
            met.extend(ids.into_iter().map(String::from));
            from = next;
            if let Some((comes, by)) = changes.next() {
                for _ in 0..by {
                    if comes {
                        other += 1;
                        r.insert(&format!("recO{other}"));
                    } else if other > 0 {
                        r.remove(&format!("recO{other}"));
                        other -= 1;
                    }
                }
            }
        }
        met.retain(|id| !id.starts_with("recO"));
        met.sort();
        let mut expected: Vec<String> = (0..stay).map(stays).chain([String::from("recAnIdThatIsLongerThanUsual")]).collect();
        expected.sort();
        prop_assert_eq!(met, expected);
    }
}
