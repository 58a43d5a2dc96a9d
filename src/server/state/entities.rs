//! What the module knows in memory, under the server's lock: entities, their generations, doubts, and which keys are there.

use crate::server::state::answers::Answers;
use crate::server::state::feeds::Follower;
use crate::server::state::grave::Grave;
use crate::server::state::history::{History, How};
use crate::server::state::hot::Hot;
use crate::server::state::landing::Landing;
use crate::server::state::questions::Questions;
use crate::server::state::resources::Resources;
use crate::server::state::schemas;
use crate::server::state::sorted::Views;
use crate::server::state::standing::{Departed, Standing};
use crate::server::state::waiting::Op;
use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};
use podium_core::automation::same_name;
use podium_core::before::Before;
use podium_core::discover::{Found, LinkTo};
use podium_core::doubt::Doubts;
use podium_core::entry::Header;
use podium_core::feed::View as FeedView;
use podium_core::known::Table;
use podium_core::question::{self, Column};
use podium_core::register::{Register, Remains};
use podium_core::spec::{Kind, Spec};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

/// Number of an entity, never used twice while the module is loaded.
pub(crate) type EntityIx = u32;

/// What is known of the lookup through which a link field is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Trust {
    #[default]
    Unproven,
    Proven,
    /// The base lacks it, or it disagreed with its own link cell.
    Broken,
    /// The same, of a field that is not declared to be a link, whose own column shows ids to formulas.
    Shown,
    /// The same, and its own column does not show them.
    Hidden,
}

/// Link cells of a record whose copy was dropped: what its next cells are compared with.
pub(crate) type LinkCells = Vec<(u16, Vec<CompactString>)>;

/// An entity's counters.
#[derive(Default, Clone)]
pub(crate) struct Figures {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) stale_hits: u64,
    pub(crate) negative_hits: u64,
    pub(crate) bypasses: u64,
    pub(crate) collapsed: u64,
    pub(crate) schema_violations: u64,
    pub(crate) stale_sets_prevented: u64,
    /// Sorted answers for which nothing was sorted.
    pub(crate) sorted_hits: u64,
}

impl Figures {
    pub(crate) fn add(&mut self, o: &Figures) {
        self.hits += o.hits;
        self.misses += o.misses;
        self.stale_hits += o.stale_hits;
        self.negative_hits += o.negative_hits;
        self.bypasses += o.bypasses;
        self.collapsed += o.collapsed;
        self.schema_violations += o.schema_violations;
        self.stale_sets_prevented += o.stale_sets_prevented;
        self.sorted_hits += o.sorted_hits;
    }
}

/// One entity.
pub(crate) struct Entity {
    pub(crate) ix: EntityIx,
    pub(crate) name: Arc<str>,
    pub(crate) spec: Arc<Spec>,
    /// Stored in every record: a new one makes all older records misses, in constant time.
    pub(crate) generation: u64,
    /// The same for index sets.
    pub(crate) sets_generation: u64,
    pub(crate) doubts: Doubts,
    /// Until when records that are not cached any more were known.
    pub(crate) before: Before,
    /// Ids of the records whose keys exist, and which of them were told, not fetched: Airtable may list those only later.
    pub(crate) records: Register,
    /// Ids of the tombstones whose keys exist.
    pub(crate) tombs: Register,
    /// `<field>:<value>` (or `*`) of the index sets whose keys exist.
    pub(crate) sets: HashSet<Box<[u8]>>,
    /// Some of them in the order of a field.
    pub(crate) sorted: Views,
    /// Those under construction, and which construction it is.
    pub(crate) building: HashMap<Box<[u8]>, u64>,
    /// Those whose construction was given up: what is left of one says not whose it is, and is ours all the same.
    pub(crate) given_up: HashSet<Box<[u8]>>,
    /// How many constructions were begun.
    pub(crate) builds: u64,
    /// Computed answers used something of it: doubt about its records matters to them.
    pub(crate) answers_use_it: bool,
    /// How often a member joined or left a set that was complete.
    pub(crate) moves: Cell<u64>,
    /// How many index sets were lost: what is completed in steps looks whether one was in between.
    pub(crate) sets_lost: u64,
    pub(crate) trust: HashMap<u16, Trust>,
    /// The table, as its entity's spec names it, to which the links of a column were seen to lead.
    pub(crate) seen_links: HashMap<String, Arc<str>>,
    /// What discovery found in its base's schema.
    pub(crate) found: Option<Arc<Found>>,
    /// What is known of its table from its base's schema.
    pub(crate) table: Option<Arc<Table>>,
    /// Its spec was not compared with the base's schema since it is in force.
    pub(crate) unchecked: bool,
    /// Of the records in doubt, those that may not be of this entity at all, with the links that led to them.
    pub(crate) strays: HashMap<CompactString, Vec<schemas::Through>>,
    pub(crate) old_links: HashMap<CompactString, LinkCells>,
    /// Records about to be stored whose other ends are put in doubt ahead.
    pub(crate) landing: HashMap<CompactString, Arc<Landing>>,
    /// The whole table was read under this number and no index set was lost since: values without a set are empty.
    pub(crate) complete: Option<Complete>,
    /// Index questions under way: doubt matters to them too.
    pub(crate) questions: Questions,
    pub(crate) figures: Figures,
    /// What the change feed of its base says.
    pub(crate) feed: FeedView,
    /// When it was last read, unix ms.
    pub(crate) read_ms: Cell<u64>,
    /// In a cluster: what this node is to it.
    pub(crate) standing: Standing,
    /// Keys of it may be here that came before its spec and are not in the registers yet.
    pub(crate) unregistered: bool,
    /// The generation that went to another node with the spec.
    pub(crate) given: u64,
    /// Records and tombstones whose keys went to another node, by id.
    pub(crate) departed: Departed,
    /// Records of which something was told while their keys were coming from another node, and with those that are gone
    /// the header of their tombstone: what comes of them is older.
    pub(crate) amid: HashMap<CompactString, Option<Header>>,
}

/// The whole table was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Complete {
    pub(crate) seq: u64,
    pub(crate) asked_ms: u64,
    pub(crate) fresh_until: u64,
}

/// Link cells remembered for dropped records, at most per entity.
const MOST_OLD_LINKS: usize = 10_000;
/// Constructions given up that are remembered.
const MOST_GIVEN_UP: usize = 10_000;

impl Entity {
    pub(crate) fn new(
        ix: EntityIx,
        name: &str,
        spec: Spec,
        generation: u64,
        sets_generation: u64,
    ) -> Entity {
        Entity {
            ix,
            name: name.into(),
            spec: Arc::new(spec),
            generation,
            sets_generation,
            doubts: Doubts::default(),
            before: Before::default(),
            records: Register::default(),
            tombs: Register::default(),
            sets: HashSet::new(),
            sorted: Views::default(),
            building: HashMap::new(),
            given_up: HashSet::new(),
            builds: 0,
            moves: Cell::new(0),
            sets_lost: 0,
            answers_use_it: false,
            trust: HashMap::new(),
            seen_links: HashMap::new(),
            found: None,
            table: None,
            unchecked: true,
            strays: HashMap::new(),
            old_links: HashMap::new(),
            landing: HashMap::new(),
            complete: None,
            questions: Questions::default(),
            figures: Figures::default(),
            feed: FeedView::OFF,
            read_ms: Cell::new(0),
            standing: Standing::default(),
            unregistered: false,
            given: 0,
            departed: Departed::default(),
            amid: HashMap::new(),
        }
    }
    /// An index set is there no more, whoever took it away: values without a set need not be empty. False: there was none.
    pub(crate) fn lose_set(&mut self, suffix: &[u8]) -> bool {
        let was = self.sets.remove(suffix);
        self.sorted.lose(suffix);
        if was {
            if self.building.remove(suffix).is_some() {
                self.give_up(suffix.into());
            }
            self.complete = None;
            self.sets_lost += 1;
        }
        was
    }
    fn give_up(&mut self, suffix: Box<[u8]>) {
        if self.given_up.len() >= MOST_GIVEN_UP {
            self.given_up.clear();
        }
        self.given_up.insert(suffix);
    }
    /// All of them are.
    pub(crate) fn lose_sets(&mut self) -> HashSet<Box<[u8]>> {
        for (suffix, _) in std::mem::take(&mut self.building) {
            self.give_up(suffix);
        }
        self.complete = None;
        self.sets_lost += 1;
        self.sorted.clear();
        std::mem::take(&mut self.sets)
    }
    /// Does doubt matter to anything that is there?
    pub(crate) fn has_sets(&self) -> bool {
        !self.sets.is_empty() || self.questions.any() || self.complete.is_some()
    }
    pub(crate) fn remember_links(&mut self, id: &str, cells: LinkCells) {
        if cells.iter().all(|(_, ids)| ids.is_empty()) || self.old_links.len() >= MOST_OLD_LINKS {
            return;
        }
        self.old_links
            .entry(CompactString::new(id))
            .or_insert(cells);
    }
    /// Is this what its Airtable table is called, whatever the case?
    pub(crate) fn is_table(&self, name: &str) -> bool {
        same_name(self.spec.table(), name)
            || self.found.as_ref().is_some_and(|f| f.is_table(name))
            || self
                .table
                .as_ref()
                .is_some_and(|t| same_name(&t.id, name) || same_name(&t.name, name))
    }
    /// Does the base's schema say that the lookup by which a link field is asked holds the ids of its records?
    pub(crate) fn found_proves(&self, field: u16) -> bool {
        let field = self.spec.get(field);
        let lookup = field.and_then(|f| Some((&f.airtable, question::lookup(f)?)));
        let found = self.found.as_ref().zip(lookup);
        found.is_some_and(|(found, (column, lookup))| found.proves(column, &lookup))
    }
    /// What the base's schema says of the column that a field is asked by.
    pub(crate) fn column(&self, field: u16) -> Column {
        let Some((f, found)) = self.spec.get(field).zip(self.found.as_ref()) else {
            return Column::Unknown;
        };
        match found.column(&f.airtable) {
            Column::Link => Column::Link,
            // Another column is asked in its place.
            _ if f.lookup.is_some() && f.kind != Kind::Any => Column::Unknown,
            own => own,
        }
    }
    pub(crate) fn base(&self) -> String {
        self.spec.base().map_or_else(
            || crate::server::valkey::settings::BASE.get(),
            str::to_string,
        )
    }
}

/// Everything known.
#[derive(Default)]
pub(crate) struct State {
    pub(super) hot: Vec<Hot>,
    names: HashMap<Arc<str>, EntityIx>,
    pub(super) entities: HashMap<EntityIx, Entity>,
    next_ix: EntityIx,
    pub(crate) graves: VecDeque<Grave>,
    pub(crate) loading: bool,
    /// As of when what is being told was so, unix ms; none: as of now.
    pub(crate) telling_ms: Option<u64>,
    /// By whose word what is being told is known.
    pub(crate) teller: How,
    /// What became of things lately.
    pub(crate) history: History,
    pub(crate) replica: bool,
    /// Specs of `podium.spec-file`, to be in force once the data are loaded.
    pub(crate) from_file: Vec<(String, Spec)>,
    /// Figures of entities that are gone.
    pub(crate) past: Figures,
    pub(crate) sweep_last_removed: u64,
    /// What is known of bases' schemas beside what their entities keep of it.
    pub(crate) schemas: HashMap<Arc<str>, schemas::OfBase>,
    /// Reads that waited for the schema of a base that is gone: let go in the next round.
    pub(crate) released: Vec<Arc<Op>>,
    /// The change feeds that are followed, by base.
    pub(crate) feeds: HashMap<Arc<str>, Follower>,
    /// Large registers that were given up: taken apart by the upkeep thread, which holds up nobody.
    pub(crate) discarded: Vec<Remains>,
    /// The named kinds of computed answers.
    pub(crate) resources: Resources,
    pub(crate) answers: Answers,
    /// Tags of which something was told while their keys were coming from another node.
    pub(crate) told_amid: HashSet<String>,
}

impl State {
    #[inline]
    pub(crate) fn by_name(&self, name: &str) -> Option<&Entity> {
        self.entities.get(self.names.get(name)?)
    }
    #[inline]
    pub(crate) fn by_name_mut(&mut self, name: &str) -> Option<&mut Entity> {
        self.entities.get_mut(self.names.get(name)?)
    }
    pub(crate) fn get(&self, ix: EntityIx) -> Option<&Entity> {
        self.entities.get(&ix)
    }
    pub(crate) fn get_mut(&mut self, ix: EntityIx) -> Option<&mut Entity> {
        self.entities.get_mut(&ix)
    }
    pub(crate) fn entities(&self) -> impl Iterator<Item = &Entity> {
        self.entities.values()
    }
    pub(crate) fn entities_mut(&mut self) -> impl Iterator<Item = &mut Entity> {
        self.entities.values_mut()
    }
    pub(crate) fn len(&self) -> usize {
        self.entities.len()
    }
    pub(crate) fn sorted_names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = self.names.keys().cloned().collect();
        names.sort();
        names
    }
    /// Runs `f`, which notes what is known by this one's word.
    pub(crate) fn by_word_of<R>(&mut self, how: How, f: impl FnOnce(&mut State) -> R) -> R {
        let before = std::mem::replace(&mut self.teller, how);
        let r = f(self);
        self.teller = before;
        r
    }
    /// Adds an entity that is not there yet.
    pub(crate) fn add(
        &mut self,
        name: &str,
        spec: Spec,
        generation: u64,
        sets_generation: u64,
    ) -> EntityIx {
        self.next_ix += 1;
        let e = Entity::new(self.next_ix, name, spec, generation, sets_generation);
        self.names.insert(e.name.clone(), e.ix);
        self.entities.insert(e.ix, e);
        self.next_ix
    }
    /// Takes an entity out; its keys become a grave.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Entity> {
        self.cool();
        let ix = self.names.remove(name)?;
        let mut e = self.entities.remove(&ix)?;
        self.past.add(&e.figures);
        self.bury(&mut e);
        schemas::entity_left(self, &e);
        Some(e)
    }
    /// Where a link field leads, as the base's schema says: the entity, and what is known of the link.
    pub(crate) fn link_found(&self, ix: EntityIx, field: u16) -> Option<(EntityIx, &LinkTo)> {
        let e = self.get(ix)?;
        let to = e.found.as_ref()?.link(&e.spec.get(field)?.airtable)?;
        Some((self.by_name(&to.entity)?.ix, to))
    }
    /// Entities of a base.
    pub(crate) fn of_base(&self, base: &str) -> Vec<EntityIx> {
        // Asked for each link that changed: the setting is read once.
        let by_default = crate::server::valkey::settings::BASE.get() == base;
        self.entities
            .values()
            .filter(|e| e.spec.base().map_or(by_default, |b| b == base))
            .map(|e| e.ix)
            .collect()
    }
    pub(crate) fn figures(&self) -> Figures {
        let mut f = self.past.clone();
        for e in self.entities.values() {
            f.add(&e.figures);
        }
        f
    }
}
