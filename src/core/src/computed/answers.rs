//! Index, leases and changes under one roof: for everything that happens there is one call, and the parts stay in step.
//!
//! Numbers (`seq`, `as_of`) are of the order of sends and changes ([`crate::token`]) and come ascending.

use super::changes::Changes;
use super::cut::{Cut, News};
use super::index::{Check, Doubtful, Index, Outdated, Place};
use super::lease::{Ask, Client, Handed, Leases, Token};
use super::pending::Ticket;
use super::thing::{Content, Dep, EntityIx, EntityUse, Kind, Thing, ABSENT, UNKNOWN};
use super::uses::{OneUse, Used, Uses};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

/// A thing as it was just seen or told.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub thing: Thing,
    /// What it is like; [`super::thing::ABSENT`]: it is known not to exist.
    pub content: Content,
    /// What the copy was like that this replaces; [`UNKNOWN`] if there was none.
    pub before: Content,
    /// Somebody said that it changed (a client, a write, the feed, or it was in doubt): if nothing is known of it, it did.
    pub told: bool,
    pub entity: EntityIx,
    /// What was sent or told under this number shows it so: doubt raised up to then is settled.
    pub as_of: u64,
    /// The number of this change: reads under a lower one have not seen it.
    pub seq: u64,
}

/// An answer as it is to be stored.
pub struct Fill<'a> {
    pub key: &'a [u8],
    /// The key's own hash, and the content of the value.
    pub thing: Thing,
    pub content: Content,
    /// What the client names (USED, TAGS), with what the cache knows of it now.
    pub named: Vec<Named>,
    /// Unix ms.
    pub now_ms: u64,
    /// The number of this fill.
    pub seq: u64,
}

/// What a client can name, or read FOR a token.
#[derive(Clone, Debug)]
pub enum Named {
    /// A record, a set (its members are named beside it), a whole entity, a tag.
    Thing(Used),
    /// The same, read as it was under a number that is later than the read's beginning: what it waited for itself had come by
    /// then.
    AsOf(Used, u64),
    /// A computed answer: by its key, and where it is (`None`: it is not there).
    Answer { own: Dep, at: Option<Place> },
}

/// Why an answer was not stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The lease is over, or another key's.
    Over,
    /// Something that it used changed since.
    Changed,
}

/// An answer that may be stored: with this place in its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Filled {
    pub place: Place,
    /// How long the computation took, ms; 0 without a lease.
    pub took_ms: u64,
}

/// Everything about computed answers that is kept in memory.
pub struct Answers<W> {
    index: Index,
    changes: Changes,
    leases: Leases<W>,
    /// Answers are coming that are learned later: what changes from this number on is remembered.
    watching: Option<u64>,
}

impl<W> Default for Answers<W> {
    fn default() -> Self {
        Answers {
            index: Index::default(),
            changes: Changes::default(),
            leases: Leases::default(),
            watching: None,
        }
    }
}

impl<W> Answers<W> {
    /// What a copy is worth, by the place in its stored value.
    #[inline]
    pub fn check(&mut self, at: Place) -> Check {
        self.index.check(at)
    }
    /// To be asked, not to be changed.
    pub fn index(&self) -> &Index {
        &self.index
    }
    /// To be asked, not to be changed.
    pub fn leases(&self) -> &Leases<W> {
        &self.leases
    }
    /// Does somebody compute? Then changes of what no answer used are told as well.
    pub fn computing(&self) -> bool {
        self.oldest().is_some()
    }
    /// The number from which on changes are remembered.
    fn oldest(&self) -> Option<u64> {
        let leased = self.leases.oldest();
        leased.map_or(self.watching, |l| {
            Some(self.watching.map_or(l, |w| w.min(l)))
        })
    }
    /// From this number on stored answers are coming here that are learned later ([`load_since`](Self::load_since)): what changes
    /// meanwhile is remembered. Watched already: since then.
    pub fn watch(&mut self, seq: u64) {
        self.watching.get_or_insert(seq);
    }
    /// They were learned.
    pub fn unwatch(&mut self) {
        self.watching = None;
        self.forget();
    }
    pub fn is_watching(&self) -> bool {
        self.watching.is_some()
    }
    /// Is the change of a thing anybody's concern? What is not need not be told. (Of a record ask for its groups as well: one that
    /// joins a set was used by nobody.)
    pub fn concerns(&self, thing: Thing) -> bool {
        self.computing() || self.index.is_used(thing)
    }

    /// A record, its absence or a whole index set was seen or told. `groups`: of a record, the sets that hold it now or held it,
    /// as far as known, and the whole entity; they change only if the record did, or nothing was known of it.
    pub fn seen(&mut self, seen: &Seen, groups: impl IntoIterator<Item = Thing>) -> News {
        let computing = self.computing();
        let before = match seen.before {
            UNKNOWN => self.changes.content(seen.thing),
            known => known,
        };
        let news = self.index.seen(seen.thing, seen.content, before, seen.told);
        self.index.settle(seen.thing, seen.as_of);
        if computing {
            self.changes.seen(seen.thing, seen.content, seen.seq);
        }
        if computing && news == News::Changed {
            self.changes.thing(seen.thing, seen.seq);
            if seen.before == UNKNOWN {
                self.changes.blind(seen.entity, seen.seq);
            }
        }
        // (That there is none of what nothing was known of is no loss to anybody.)
        if news == News::None || news == News::Learned && seen.content == ABSENT {
            return news;
        }
        for group in groups {
            if news == News::Changed {
                self.changed(group, seen.seq);
                continue;
            }
            self.index.changed(group);
            if computing {
                self.changes.learned(group, seen.seq);
                self.changes.seen(group, UNKNOWN, seen.seq);
            }
        }
        news
    }
    /// A copy is about to leave the cache by expiry or eviction: no change, but what comes next is compared with it.
    pub fn leaving(&mut self, thing: Thing, content: Content, seq: u64) {
        if self.computing() {
            self.changes.read(thing, content, seq);
        }
    }
    /// A thing changed, into what is not known: a set that lost a member, a whole entity.
    pub fn changed(&mut self, thing: Thing, seq: u64) {
        self.index.changed(thing);
        if self.computing() {
            self.changes.thing(thing, seq);
            self.changes.seen(thing, UNKNOWN, seq);
        }
    }
    /// A record or set came into doubt: answers that used it are suspended.
    pub fn doubt(&mut self, doubt: Doubtful) {
        let (entity, seq) = (doubt.entity, doubt.seq);
        let computing = self.computing();
        if self.index.doubt(doubt, computing) && computing {
            self.changes.entity(entity, seq);
        }
    }
    /// Number of the latest doubt about any record of an entity, 0 if there is none any more.
    pub fn entity_doubt(&mut self, entity: EntityIx, latest: u64) {
        self.index.entity_doubt(entity, latest);
    }
    /// Drops what is named, and ends the leases on it. The ticket is finished when all were counted
    /// ([`take_finished`](Self::take_finished)); from now on none of it is taken for valid.
    pub fn cut(&mut self, cuts: &[Cut], seq: u64) -> Ticket {
        let computing = self.computing();
        for cut in cuts {
            match *cut {
                Cut::Thing(thing) => {
                    // Leases whose key has an answer with the tag.
                    let uses = |key: &&Arc<[u8]>| self.index.uses(key, thing);
                    let keys = self.leases.keys().filter(uses);
                    for key in keys.cloned().collect::<Vec<_>>() {
                        self.leases.invalidated(&key);
                    }
                    if computing {
                        self.changes.thing(thing, seq);
                    }
                }
                Cut::Key { key, thing } => {
                    self.leases.invalidated(key);
                    if computing {
                        self.changes.thing(thing, seq);
                    }
                }
                Cut::Prefix(prefix) => {
                    self.leases.invalidated_prefix(prefix);
                    if computing {
                        self.changes.prefix(prefix, seq);
                    }
                }
                Cut::Entity(entity) => {
                    if computing {
                        self.changes.entity(entity, seq);
                    }
                }
                Cut::All => {
                    self.leases.invalidated_prefix(b"");
                    self.changes.everything(seq);
                }
            }
        }
        let ticket = self.index.cut(cuts.iter().copied());
        self.forget();
        ticket
    }
    /// A resource is no more, or (an empty prefix) this node computes nothing any more: who waits is told, and its answers go.
    pub fn end(&mut self, prefix: &[u8], seq: u64) -> Ticket {
        self.leases.ended(prefix);
        self.cut(&[Cut::Prefix(prefix)], seq)
    }

    /// Gives a lease ([`Leases::take`]).
    pub fn take(&mut self, key: &[u8], ask: &Ask) -> Token {
        self.leases.take(key, ask)
    }
    /// Waits for a key that is taken ([`Leases::wait`]).
    pub fn wait(&mut self, key: &[u8], waiter: W, ask: &Ask, wait_ms: u64) -> u64 {
        self.leases.wait(key, waiter, ask, wait_ms)
    }
    /// What a read FOR a token answered was used, as of the number under which the read began (or that of the answer's last
    /// settled doubt). A token that is over: nothing happens, false.
    pub fn used(&mut self, token: Token, named: Vec<Named>, as_of: u64, now_ms: u64) -> bool {
        if self.leases.lease(token, now_ms).is_none() {
            return false;
        }
        let Some(uses) = self.leases.uses(token, now_ms) else {
            return false;
        };
        for one in named {
            match one {
                Named::Thing(used) => {
                    let (thing, content) = (used.dep.thing, used.dep.content);
                    let seen = self.changes.read_as_of(thing, content, as_of);
                    if content != UNKNOWN {
                        self.changes.read(thing, content, as_of);
                    }
                    uses.add_read(used, as_of, seen);
                }
                Named::AsOf(used, seen) => {
                    let (thing, content) = (used.dep.thing, used.dep.content);
                    if content != UNKNOWN {
                        self.changes.read(thing, content, seen);
                    }
                    uses.add_read(used, as_of, seen.max(as_of));
                }
                answer @ Named::Answer { .. } => add(&self.index, uses, vec![answer], as_of, true),
            }
        }
        true
    }
    /// Did anything that the computation used itself come into doubt since, and is so still? What is `named` was used as of the
    /// lease. (Doubt about other records of an index's entity is looked at when the answer is asked for.)
    pub fn in_doubt(&self, token: Token, named: &[Named], now_ms: u64) -> bool {
        let Some(lease) = self.leases.lease(token, now_ms) else {
            return false;
        };
        let read = |u: OneUse| self.index.doubted_since(u.dep.thing, u.as_of);
        let named_too = |n: &Named| match n {
            Named::Thing(u) | Named::AsOf(u, _) => self.index.doubted_since(u.dep.thing, lease.seq),
            Named::Answer { .. } => false,
        };
        lease.uses.things().any(read) || named.iter().any(named_too)
    }
    /// An answer was computed for a lease. It is stored unless the lease is over or something it used changed; who waits gets it, or
    /// a lease. `whole` names the thing that stands for all of an entity.
    ///
    /// # Errors
    /// Why it is not to be stored.
    pub fn fill(
        &mut self,
        token: Token,
        fill: Fill,
        whole: impl Fn(EntityIx) -> Thing,
    ) -> Result<Filled, Refused> {
        let key = fill.key;
        let lease = self.leases.end(token, key, fill.now_ms);
        let Some(mut lease) = lease else {
            return Err(Refused::Over);
        };
        add(&self.index, &mut lease.uses, fill.named, lease.seq, false);
        lease.uses.close(whole);
        lease.uses.without(fill.thing);
        let stored = if self.changes.outdate(&lease.uses, lease.seq) {
            Err(Refused::Changed)
        } else {
            let (deps, uses) = lease.uses.into_parts();
            let place = self.index.insert(key, &deps, &uses);
            place.map_err(|Outdated(_)| Refused::Changed)
        };
        match stored {
            Ok(_) => {
                self.value_is(fill.thing, fill.content, fill.seq);
                self.leases.filled(key, lease.seq);
            }
            Err(_) => self.leases.pass(key),
        }
        self.forget();
        let took_ms = fill.now_ms.saturating_sub(lease.started_ms);
        stored.map(|place| Filled { place, took_ms })
    }
    /// An answer is stored without a lease, as a write-through would: every lease on the key is over, and who waits gets it.
    /// What it names is used as it is now.
    pub fn put(
        &mut self,
        fill: Fill,
        whole: impl Fn(EntityIx) -> Thing,
    ) -> Result<Filled, Refused> {
        let mut uses = Uses::default();
        add(&self.index, &mut uses, fill.named, fill.seq, false);
        uses.close(whole);
        uses.without(fill.thing);
        let (deps, uses) = uses.into_parts();
        let place = self.index.insert(fill.key, &deps, &uses);
        let place = place.map_err(|Outdated(_)| Refused::Changed)?;
        self.value_is(fill.thing, fill.content, fill.seq);
        self.leases.filled(fill.key, u64::MAX);
        self.forget();
        Ok(Filled { place, took_ms: 0 })
    }
    /// The value under a key is this one now: answers made of another are dropped.
    fn value_is(&mut self, thing: Thing, content: Content, seq: u64) {
        let before = self.changes.content(thing);
        // (A part that was not there and is filled while the whole is computed is no change to the whole.)
        let news = self.index.seen(thing, content, before, false);
        if self.computing() {
            self.changes.seen(thing, content, seq);
            if news == News::Changed {
                self.changes.thing(thing, seq);
            }
        }
    }
    /// A stored answer was loaded (a restart, a replica, a slot that came here), with what was saved of it ([`Index::export`]).
    ///
    /// # Errors
    /// It is outdated: another answer knows something it used to be otherwise.
    pub fn load(
        &mut self,
        key: &[u8],
        deps: &[Dep],
        uses: &[EntityUse],
    ) -> Result<Place, Outdated> {
        self.index.insert(key, deps, uses)
    }
    /// The same of one that came while it was [watched](Self::watch): `own` is its own thing, with its key. `None`: nothing was
    /// watched, so nobody knows what changed since.
    ///
    /// # Errors
    /// Something it used changed since, or it was thrown away itself.
    pub fn load_since(
        &mut self,
        own: Dep,
        deps: Vec<Dep>,
        of: &[EntityUse],
    ) -> Option<Result<Place, Outdated>> {
        let since = self.watching?;
        let key = own.name.clone()?;
        let thing = own.thing;
        let mut uses = Uses::default();
        uses.add_answer(own, deps.clone(), of, since, true);
        if self.changes.outdate(&uses, since) {
            return Some(Err(Outdated(thing)));
        }
        Some(self.index.insert(&key, &deps, of))
    }
    /// A key is not there any more ([`Index::remove`]).
    pub fn remove(&mut self, at: Place) {
        self.index.remove(at);
    }
    /// The computation failed ([`Leases::release`]).
    pub fn release(&mut self, token: Token, key: &[u8], now_ms: u64, old: bool) -> bool {
        let released = self.leases.release(token, key, now_ms, old);
        self.forget();
        released
    }
    /// Nobody computes keys that start so any more: who waits is told. Stored answers stay ([`Leases::ended`]).
    pub fn end_leases(&mut self, prefix: &[u8]) {
        self.leases.ended(prefix);
        self.forget();
    }
    /// The same of one key.
    pub fn end_leases_of(&mut self, key: &[u8]) {
        self.leases.ended_key(key);
        self.forget();
    }
    /// A connection is closed ([`Leases::closed`]).
    pub fn closed(&mut self, client: Client) {
        self.leases.closed(client);
        self.forget();
    }
    /// One waits no more ([`Leases::give_up`]).
    pub fn give_up(&mut self, id: u64) {
        self.leases.give_up(id);
    }
    /// Time has passed ([`Leases::tick`]).
    pub fn tick(&mut self, now_ms: u64, most: usize) -> Vec<Arc<[u8]>> {
        let timeouts = self.leases.tick(now_ms, most);
        self.forget();
        timeouts
    }
    /// Answers some who waited ([`Leases::hand_out`]).
    pub fn hand_out(
        &mut self,
        n: usize,
        now_ms: u64,
        seq: u64,
        chance: impl FnMut(&[u8]) -> u64,
    ) -> Vec<Handed<W>> {
        self.leases.hand_out(n, now_ms, seq, chance)
    }
    /// Is marking left to be done?
    pub fn has_work(&self) -> bool {
        self.index.has_work()
    }
    /// Are answers still to be dropped? (What they are worth is known already.)
    pub fn drops(&self) -> bool {
        self.index.drops()
    }
    /// Does some of it ([`Index::work`]); true: there is more.
    pub fn work(&mut self, budget: usize) -> bool {
        self.index.work(budget)
    }
    /// Tickets that are finished, with the number of answers dropped for each.
    pub fn take_finished(&mut self) -> Vec<(Ticket, u64)> {
        self.index.take_finished()
    }
    /// Dropped answers whose keys are to be deleted ([`Index::take_gone`]).
    pub fn take_gone(&mut self, n: usize) -> Vec<super::index::Gone> {
        self.index.take_gone(n)
    }
    /// What nobody who computes can have used is not remembered.
    fn forget(&mut self) {
        let oldest = self.oldest();
        self.changes.forget(oldest);
        if oldest.is_none() {
            self.index.forget_unused_doubts();
        }
    }
}

fn add(index: &Index, uses: &mut Uses, named: Vec<Named>, as_of: u64, read: bool) {
    for one in named {
        match one {
            Named::Thing(used) | Named::AsOf(used, _) => uses.add(used, as_of, read),
            Named::Answer { own, at } => {
                let (deps, of) = at.and_then(|at| index.export(at)).unwrap_or_default();
                debug_assert!(own.kind == Kind::Computed);
                uses.add_answer(own, deps, &of, as_of, read);
            }
        }
    }
}
