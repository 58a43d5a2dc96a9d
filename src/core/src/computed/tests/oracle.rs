//! Random sequences of everything that happens, with tiny slices of work, against the naive world.

use super::super::answers::{Answers, Fill, Named, Refused, Seen};
use super::super::cut::Cut;
use super::super::index::{Check, Doubtful, Place};
use super::super::lease::Ask;
use super::super::thing::{digest, known, Content, Dep, EntityIx, Kind, Thing, ABSENT, UNKNOWN};
use super::super::uses::Used;
use super::world::*;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use proptest::prelude::*;
use std::string::String;
use std::vec;

const KEYS: u8 = 8;

fn key(n: u8) -> String {
    // Some with a prefix of their own.
    format!("page:{}{}", ["", "a:"][usize::from(n % 2)], n % KEYS)
}

#[derive(Clone, Debug)]
enum Read {
    Record(u8),
    Set(u8, u8),
    Whole(u8),
    Answer(u8),
    Tag(u8),
}

#[derive(Clone, Debug)]
enum Op {
    Put(u8, Vec<Read>, u8),
    Lease(u8, bool),
    ReadFor(u8, Vec<Read>),
    Fill(u8, Vec<Read>, u8),
    Release(u8),
    Seen(u8, u8, bool, bool),
    SetSeen(u8, u8),
    Doubt(u8),
    Settle(u8, Vec<u8>),
    Evict(u8),
    CutTag(u8),
    CutKey(u8),
    CutPrefix(u8),
    CutEntity(u8),
    CutAll,
    Work(u8),
    Reload(u8),
}

fn read() -> impl Strategy<Value = Read> {
    prop_oneof![
        4 => (0..RECORDS).prop_map(Read::Record),
        3 => (0u8..2, 0u8..SETS as u8).prop_map(|(e, s)| Read::Set(e, s)),
        1 => (0u8..2).prop_map(Read::Whole),
        3 => (0..KEYS).prop_map(Read::Answer),
        1 => (0u8..3).prop_map(Read::Tag),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let reads = || proptest::collection::vec(read(), 0..4);
    prop_oneof![
        8 => (0..KEYS, reads(), 0u8..3).prop_map(|(k, r, c)| Op::Put(k, r, c)),
        4 => (0..KEYS, any::<bool>()).prop_map(|(k, n)| Op::Lease(k, n)),
        5 => (any::<u8>(), reads()).prop_map(|(t, r)| Op::ReadFor(t, r)),
        4 => (any::<u8>(), reads(), 0u8..3).prop_map(|(t, r, c)| Op::Fill(t, r, c)),
        1 => any::<u8>().prop_map(Op::Release),
        6 => (0..RECORDS, 0u8..5, any::<bool>(), any::<bool>()).prop_map(|(r, c, b, t)| Op::Seen(r, c, b, t)),
        2 => (0u8..2, 0u8..SETS as u8).prop_map(|(e, s)| Op::SetSeen(e, s)),
        3 => (0..RECORDS).prop_map(Op::Doubt),
        2 => (0u8..2, proptest::collection::vec(0u8..5, 4)).prop_map(|(e, c)| Op::Settle(e, c)),
        2 => (0..KEYS).prop_map(Op::Evict),
        1 => (0u8..3).prop_map(Op::CutTag),
        1 => (0..KEYS).prop_map(Op::CutKey),
        1 => (0u8..3).prop_map(Op::CutPrefix),
        1 => (0u8..2).prop_map(Op::CutEntity),
        1 => Just(Op::CutAll),
        8 => (1u8..12).prop_map(Op::Work),
        1 => (0..KEYS).prop_map(Op::Reload),
    ]
}

struct Run {
    a: Answers<u32>,
    w: World,
    seq: u64,
    /// What is stored under the keys: place and instance.
    stored: BTreeMap<String, (Place, usize)>,
    /// Places that were: nobody's, or another answer's under a later generation.
    former: Vec<Place>,
    /// Records whose content somebody knows, whether their copy is there or not.
    remembered: BTreeSet<u8>,
    /// Tickets, with what they should count, and whether evictions may have taken from it.
    tickets: BTreeMap<u64, (u64, bool)>,
}

fn content(n: u8) -> Content {
    match n {
        0 => ABSENT,
        n => known(100 + u64::from(n)),
    }
}

impl Run {
    fn new() -> Run {
        let mut run = Run {
            a: Answers::default(),
            w: World::default(),
            seq: 1,
            stored: BTreeMap::new(),
            former: Vec::new(),
            remembered: BTreeSet::new(),
            tickets: BTreeMap::new(),
        };
        run.hold();
        run
    }
    /// Somebody computes all the time: so that changes are remembered.
    fn hold(&mut self) {
        let ask = self.ask(u64::MAX / 2);
        self.a.take(b"hold:0", &ask);
    }
    fn ask(&mut self, chance: u64) -> Ask {
        self.seq += 1;
        Ask {
            client: 1,
            now_ms: 0,
            seq: self.seq,
            lease_ms: 1_000,
            chance,
        }
    }
    fn thing(thing: Thing, kind: Kind, content: Content, entity: Option<EntityIx>) -> Named {
        Named::Thing(Used {
            dep: Dep {
                thing,
                kind,
                content,
                name: None,
            },
            entity,
        })
    }
    /// What reads answer: as the server would name it, and as the world has it.
    fn reads(&mut self, reads: &[Read], as_of: u64) -> (Vec<Named>, Vec<(Use, u64)>) {
        let (mut named, mut uses) = (Vec::new(), Vec::new());
        let mut members = |w: &World, e: EntityIx, set: Option<u64>, thing, kind| {
            let of = w.members(e, set);
            let ids = digest(of.iter().map(|r| u64::from(*r)));
            let ids = if kind == Kind::Whole { UNKNOWN } else { ids };
            named.push(Self::thing(thing, kind, ids, Some(e)));
            uses.push((Use::Thing(thing), as_of));
            uses.push((Use::Entity(e, true), as_of));
            for r in of {
                let c = w.contents[r as usize];
                named.push(Self::thing(record(r), Kind::Record, c, Some(e)));
                uses.push((Use::Thing(record(r)), as_of));
            }
        };
        let mut answers = Vec::new();
        for one in reads {
            match one {
                Read::Set(e, s) => {
                    let (e, s) = (EntityIx::from(*e), u64::from(*s));
                    members(&self.w, e, Some(s), set(e, s), Kind::Set);
                }
                Read::Whole(e) => {
                    let e = EntityIx::from(*e);
                    members(&self.w, e, None, whole(e), Kind::Whole);
                }
                _ => answers.push(one.clone()),
            }
        }
        for one in answers {
            match one {
                Read::Record(r) => {
                    let (e, c) = (entity_of(r), self.w.contents[r as usize]);
                    named.push(Self::thing(record(r), Kind::Record, c, Some(e)));
                    uses.push((Use::Thing(record(r)), as_of));
                    uses.push((Use::Entity(e, false), as_of));
                }
                Read::Tag(t) => {
                    named.push(Self::thing(tag(t), Kind::Tag, UNKNOWN, None));
                    uses.push((Use::Thing(tag(t)), as_of));
                }
                Read::Answer(k) => {
                    let k = key(k);
                    // Only a hit can be read.
                    let hit = self
                        .stored
                        .get(&k)
                        .filter(|(_, i)| self.w.judge(*i) == Check::Hit);
                    let content = hit.map_or(ABSENT, |(_, i)| self.w.all[*i].content);
                    let Some((place, i)) = hit else { continue };
                    named.push(Named::Answer {
                        own: Dep {
                            thing: own(&k),
                            kind: Kind::Computed,
                            content,
                            name: Some(Arc::from(k.as_bytes())),
                        },
                        at: Some(*place),
                    });
                    uses.push((Use::Answer(*i), as_of));
                }
                _ => {}
            }
        }
        (named, uses)
    }
    fn fill<'a>(&self, key: &'a str, c: u8, named: Vec<Named>) -> Fill<'a> {
        Fill {
            key: key.as_bytes(),
            thing: own(key),
            content: known(500 + u64::from(c)),
            named,
            now_ms: 0,
            seq: self.seq,
        }
    }
    fn stored(&mut self, key: &str, c: u8, uses: Vec<(Use, u64)>, place: Place, taken: u64) {
        let content = known(500 + u64::from(c));
        let seq = self.seq;
        // What an answer was made of by way of itself is no use.
        self.w.all.push(Instance {
            key: key.into(),
            content,
            uses,
            dead: false,
        });
        let at = self.w.all.len() - 1;
        let last = self.w.all.pop().unwrap();
        self.w.refilled(key, content, seq);
        self.w.all.push(last);
        let former = self.stored.insert(key.into(), (place, at));
        self.former.extend(former.map(|(place, _)| place));
        for c in self.w.computations.iter_mut() {
            c.over |= c.key == key && c.seq <= taken;
        }
        self.touched();
    }
    fn touched(&mut self) {
        for (_, unsure) in self.tickets.values_mut() {
            *unsure = true;
        }
    }
    /// A record is seen to be so.
    fn seen(&mut self, r: u8, now: Content, copy: bool, as_of: u64, told: bool) {
        let was = self.w.contents[r as usize];
        let evicted = !copy && was > ABSENT && self.remembered.contains(&r);
        let e = entity_of(r);
        let mut groups: Vec<Thing> = set_of(now).map(|s| set(e, s)).into_iter().collect();
        if !evicted {
            groups.extend(set_of(was).map(|s| set(e, s)));
        }
        groups.push(whole(e));
        let before = if evicted { UNKNOWN } else { was };
        let seen = Seen {
            thing: record(r),
            content: now,
            before,
            told,
            entity: e,
            as_of,
            seq: self.seq,
        };
        self.a.seen(&seen, groups.iter().copied());
        self.remembered.insert(r);
        if was == now {
            return;
        }
        self.w.contents[r as usize] = now;
        let learned = was == UNKNOWN && !told;
        if learned && now == ABSENT {
            return;
        }
        let logged = self.w.log.len();
        let sets = [set_of(was), set_of(now)];
        for s in sets.into_iter().flatten() {
            self.w.change(Change::Thing(set(e, s)), self.seq);
        }
        self.w.change(Change::Thing(whole(e)), self.seq);
        if learned {
            self.w.learned.extend(logged..self.w.log.len());
            return;
        }
        self.w.change(Change::Thing(record(r)), self.seq);
        if before == UNKNOWN {
            self.w.blind.push((e, self.seq));
        }
    }
    fn cut(&mut self, cut: Cut, changes: Vec<Change>) {
        let mut expected = 0;
        for change in changes {
            let ended = self.w.change(change, self.seq);
            let under = |i: &&usize| self.stored.values().any(|(_, s)| s == *i);
            expected += ended.iter().filter(under).count() as u64;
        }
        let ticket = self.a.cut(&[cut], self.seq);
        self.tickets.insert(ticket, (expected, false));
    }
    fn end_leases(&mut self, is: impl Fn(&str) -> bool) {
        for c in self.w.computations.iter_mut() {
            c.over |= is(&c.key);
        }
    }
    fn step(&mut self, op: &Op) {
        self.seq += 1;
        match op {
            Op::Put(k, reads, c) => {
                let (k, seq) = (key(*k), self.seq);
                let reads: Vec<Read> = self.not_of(&k, reads);
                let (named, uses) = self.reads(&reads, seq);
                let fill = self.fill(&k, *c, named);
                let filled = self.a.put(fill, whole).unwrap();
                self.stored(&k, *c, uses, filled.place, u64::MAX);
            }
            Op::Lease(k, no_cache) => {
                let k = key(*k);
                let live = self.w.computations.iter().any(|c| c.key == k && !c.over);
                let unsure = self.w.computations.iter().any(|c| c.key == k && c.unsure);
                let taken = self.a.leases().is_taken(k.as_bytes());
                assert!(live == taken || unsure, "{k}: {live}");
                if taken && !no_cache {
                    return;
                }
                let ask = self.ask(self.seq * 1_000);
                let token = self.a.take(k.as_bytes(), &ask);
                self.w.computations.push(Computation {
                    token,
                    key: k,
                    seq: ask.seq,
                    uses: Vec::new(),
                    over: false,
                    unsure: false,
                });
            }
            Op::ReadFor(n, reads) => {
                let Some(at) = self.pick(*n) else { return };
                let c = self.w.computations[at].clone();
                let reads = self.not_of(&c.key, reads);
                // (A record that is read is fetched.)
                for one in &reads {
                    if let Read::Record(r) = one {
                        if self.w.contents[*r as usize] == UNKNOWN {
                            self.seen(*r, ABSENT, false, 0, false);
                        }
                    }
                }
                self.seq += 1;
                let (named, uses) = self.reads(&reads, self.seq);
                let ok = self.a.used(c.token, named, self.seq, 0);
                assert!(ok != c.over || c.unsure);
                if ok {
                    self.w.computations[at].uses.extend(uses);
                }
            }
            Op::Fill(n, reads, content) => {
                let Some(at) = self.pick(*n) else { return };
                let mut c = self.w.computations[at].clone();
                let reads = self.not_of(&c.key, reads);
                let (named, uses) = self.reads(&reads, c.seq);
                let fill = self.fill(&c.key, *content, named);
                let expected = match () {
                    () if c.over => Err(Refused::Over),
                    () if self.w.outdated(&c, &uses) => Err(Refused::Changed),
                    () => Ok(()),
                };
                let filled = self.a.fill(c.token, fill, whole);
                self.w.computations[at].over = true;
                if !(c.unsure && filled == Err(Refused::Over)) {
                    assert_eq!(filled.map(|_| ()), expected, "{c:?}");
                }
                if let Ok(filled) = filled {
                    c.uses.extend(uses);
                    self.stored(&c.key, *content, c.uses, filled.place, c.seq);
                }
            }
            Op::Release(n) => {
                let Some(at) = self.pick(*n) else { return };
                let c = self.w.computations[at].clone();
                let ok = self.a.release(c.token, c.key.as_bytes(), 0, false);
                assert!(ok != c.over || c.unsure);
                self.w.computations[at].over = true;
            }
            Op::Seen(r, c, copy, told) => self.seen(*r, content(*c), *copy, 0, *told),
            Op::SetSeen(e, s) => {
                let (e, s) = (EntityIx::from(*e), u64::from(*s));
                let of = self.w.members(e, Some(s));
                let now = digest(of.into_iter().map(u64::from));
                // Its copy was there all the time.
                let seen = Seen {
                    thing: set(e, s),
                    content: now,
                    before: now,
                    told: false,
                    entity: e,
                    as_of: self.seq,
                    seq: self.seq,
                };
                self.a.seen(&seen, []);
            }
            Op::Doubt(r) => {
                let entity = entity_of(*r);
                self.a.doubt(Doubtful {
                    thing: record(*r),
                    kind: Kind::Record,
                    entity,
                    key: "events:rec".into(),
                    seq: self.seq,
                });
                self.w.doubts.push((*r, self.seq));
                self.w.direct.push(*r);
                let latest = self.w.latest_doubt(entity);
                self.a.entity_doubt(entity, latest);
            }
            Op::Settle(e, contents) => {
                let e = EntityIx::from(*e);
                // Some of them, with the same cells or others.
                let of = |(r, _): &&(u8, u64)| entity_of(*r) == e;
                let some: Vec<u8> = self
                    .w
                    .doubts
                    .iter()
                    .filter(of)
                    .map(|d| d.0)
                    .take(2)
                    .collect();
                for (n, r) in some.into_iter().enumerate() {
                    self.w.doubts.retain(|(d, _)| *d != r);
                    self.w.direct.retain(|d| *d != r);
                    let same = self.w.contents[r as usize];
                    let now = match contents[n] {
                        0 | 1 if same != UNKNOWN => same,
                        c => content(c),
                    };
                    self.seen(r, now, false, self.seq, true);
                }
                let latest = self.w.latest_doubt(e);
                self.a.entity_doubt(e, latest);
            }
            Op::Evict(k) => {
                if let Some((place, _)) = self.stored.remove(&key(*k)) {
                    self.a.remove(place);
                    self.former.push(place);
                    self.touched();
                }
            }
            Op::CutTag(t) => {
                for c in self.w.computations.iter_mut() {
                    c.unsure |= self.w.all.iter().any(|i| i.key == c.key);
                }
                self.cut(Cut::Thing(tag(*t)), alloc::vec![Change::Thing(tag(*t))]);
            }
            Op::CutKey(k) => {
                let k = key(*k);
                // The key itself, by name, and what was made of it.
                for at in 0..self.w.all.len() {
                    if self.w.all[at].key == k && !self.w.all[at].dead {
                        let n = Change::Thing(own(&k));
                        self.w.all[at].uses.push((Use::Thing(own(&k)), 0));
                        let _ = n;
                    }
                }
                self.end_leases(|key| key == k);
                let cut = Cut::Key {
                    key: k.as_bytes(),
                    thing: own(&k),
                };
                self.cut(cut, alloc::vec![Change::Thing(own(&k))]);
            }
            Op::CutPrefix(n) => {
                let p = ["page:", "page:a:", "page:3"][usize::from(*n)];
                self.end_leases(|key| key.starts_with(p));
                self.cut(
                    Cut::Prefix(p.as_bytes()),
                    alloc::vec![Change::Prefix(p.into())],
                );
            }
            Op::CutEntity(e) => {
                let e = EntityIx::from(*e);
                self.w.direct.retain(|r| entity_of(*r) != e);
                self.cut(Cut::Entity(e), alloc::vec![Change::Entity(e)]);
            }
            Op::CutAll => {
                self.end_leases(|_| true);
                self.cut(Cut::All, alloc::vec![Change::All]);
                self.w.computations.clear();
                self.remembered.clear();
                self.w.values.clear();
                // Nobody computes: doubts about what no answer used are forgotten.
                self.w.direct.clear();
                for r in 0..RECORDS {
                    self.a.seen(
                        &Seen {
                            thing: record(r),
                            content: self.w.contents[r as usize],
                            before: self.w.contents[r as usize],
                            told: false,
                            entity: entity_of(r),
                            as_of: self.seq,
                            seq: self.seq,
                        },
                        [],
                    );
                }
                self.hold();
            }
            Op::Work(budget) => {
                self.a.work(usize::from(*budget));
            }
            Op::Reload(k) => {
                // As after a restart: what was saved with it is loaded again.
                let k = key(*k);
                let Some((place, i)) = self.stored.get(&k).copied() else {
                    return;
                };
                let exported = self.a.index().export(place);
                assert_eq!(exported.is_none(), self.w.all[i].dead);
                let Some((deps, uses)) = exported else { return };
                self.a.remove(place);
                let place = self.a.load(k.as_bytes(), &deps, &uses).unwrap();
                self.stored.insert(k, (place, i));
                self.touched();
            }
        }
    }
    fn pick(&self, n: u8) -> Option<usize> {
        let len = self.w.computations.len();
        (len > 0).then(|| usize::from(n) % len)
    }
    /// An answer made of itself is made of what it used before: the world has no such thing.
    fn not_of(&self, k: &str, reads: &[Read]) -> Vec<Read> {
        let other = |r: &&Read| !matches!(r, Read::Answer(n) if self.reaches(&key(*n), k));
        reads.iter().filter(other).cloned().collect()
    }
    fn reaches(&self, from: &str, to: &str) -> bool {
        let uses = |i: usize| -> bool { self.instance_reaches(i, to) };
        from == to || self.stored.get(from).is_some_and(|(_, i)| uses(*i))
    }
    fn instance_reaches(&self, i: usize, to: &str) -> bool {
        self.w.all[i].key == to
            || self.w.all[i]
                .uses
                .iter()
                .any(|(u, _)| matches!(u, Use::Answer(n) if self.instance_reaches(*n, to)))
    }
    fn settle_accounts(&mut self, drained: bool) {
        for (ticket, dropped) in self.a.take_finished() {
            let (expected, unsure) = self.tickets.remove(&ticket).unwrap();
            if unsure {
                assert!(dropped <= expected, "{dropped} of {expected}");
            } else {
                assert_eq!(dropped, expected);
            }
        }
        for gone in self.a.take_gone(3) {
            let key = String::from_utf8(gone.key.to_vec()).unwrap();
            if self
                .stored
                .get(&key)
                .is_some_and(|(place, _)| *place == gone.place)
            {
                let (_, i) = self.stored.remove(&key).unwrap();
                assert!(self.w.all[i].dead, "{key} was current");
            }
        }
        assert!(!drained || self.tickets.is_empty());
    }
    fn compare(&mut self) {
        for at in &self.former {
            assert_eq!(self.a.check(*at), Check::Dropped, "{at:?}");
        }
        for (key, (place, i)) in self.stored.clone() {
            let expected = self.w.judge(i);
            assert_eq!(self.a.index().peek(place), expected, "{key}");
            assert_eq!(self.a.check(place), expected, "{key}");
            if expected == Check::Suspended {
                let doubts = self.a.index().doubts(place);
                assert!(!doubts.things.is_empty() || !doubts.entities.is_empty());
            }
        }
    }
    fn drain(&mut self) {
        while self.a.has_work() {
            self.a.work(7);
        }
        loop {
            self.settle_accounts(true);
            if self.a.index().sizes().0 == usize::MAX || self.a.take_gone(1).is_empty() {
                break;
            }
        }
    }
}

proptest! {
    #[test]
    fn no_outdated_answer_is_served_and_no_current_one_is_dropped(ops in proptest::collection::vec(op(), 1..160)) {
        let mut run = Run::new();
        for op in &ops {
            run.step(op);
            run.compare();
            run.settle_accounts(false);
        }
        run.drain();
        run.compare();
        let (things, slots, postings) = run.a.index().sizes();
        let live = run.a.index().len();
        prop_assert!(live <= usize::from(KEYS));
        prop_assert!(postings <= live * 40 + 40, "{postings} postings of {live}");
        prop_assert!(things <= postings + 40 && slots <= postings + live + 40);
    }
}
