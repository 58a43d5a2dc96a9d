//! Records asked for by id that did not come: are they gone?
//!
//! Airtable has no word for "not there". A record that was asked for by id and did not come is gone only if the answer can
//! be believed to be all of one to that question: its last page has come, with nothing in it that was not asked for, and
//! nothing that does not say which record it is. Whatever else it may be, it is no reason for a tombstone.

use compact_str::CompactString;
use hashbrown::HashMap;

/// What is to be believed of the ids that did not come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing<W = Why> {
    /// All came.
    None,
    /// They are not in the table.
    Gone,
    /// They may be on a page that was not read: it is worth asking on.
    Unread,
    /// Nothing; why not.
    Unknown(W),
}

/// Why an answer says nothing of the ids that it lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Something came that does not say which record it is: it may be any of them.
    Nameless,
    /// Records came that were not asked for: whatever was answered, it was not this question.
    NotAskedFor,
    /// More is promised, and what came brought nothing that was still wanted: it may go on like that for ever.
    NoProgress,
}

impl<W> Missing<W> {
    /// The reason in other words.
    pub fn map<V>(self, words: impl FnOnce(W) -> V) -> Missing<V> {
        match self {
            Missing::None => Missing::None,
            Missing::Gone => Missing::Gone,
            Missing::Unread => Missing::Unread,
            Missing::Unknown(why) => Missing::Unknown(words(why)),
        }
    }
}

/// One question for records by id, from its first page on.
pub struct Asked {
    ids: HashMap<CompactString, Id>,
    nameless: bool,
}

#[derive(Clone, Copy)]
struct Id {
    /// Is it asked for again if it does not come? Those that only fill the page are not.
    wanted: bool,
    came: bool,
}

impl Asked {
    /// All of `ids` are wanted.
    pub fn all<S: AsRef<str>>(ids: impl IntoIterator<Item = S>) -> Asked {
        Asked::of(ids.into_iter().map(|id| (id, true)))
    }

    /// Ids, and whether each is wanted: the others came along to fill the page, and what is brought of them is no progress.
    pub fn of<S: AsRef<str>>(ids: impl IntoIterator<Item = (S, bool)>) -> Asked {
        let fresh = |wanted| Id {
            wanted,
            came: false,
        };
        let ids = ids.into_iter();
        Asked {
            ids: ids
                .map(|(id, wanted)| (CompactString::new(id), fresh(wanted)))
                .collect(),
            nameless: false,
        }
    }

    /// A page of the answer came. `came`: the ids of its records, of those that cannot be read too; `nameless`: it holds
    /// something that does not say which record it is; `more`: it is not the last.
    pub fn page<'a>(
        &mut self,
        came: impl IntoIterator<Item = &'a str>,
        nameless: bool,
        more: bool,
    ) -> Missing {
        self.nameless |= nameless;
        let (mut strange, mut progress) = (false, false);
        for id in came {
            match self.ids.get_mut(id) {
                Some(id) => {
                    progress |= id.wanted && !id.came;
                    id.came = true;
                }
                None => strange = true,
            }
        }
        if self.ids.values().all(|id| id.came) {
            return Missing::None;
        }
        match more {
            false if self.nameless => Missing::Unknown(Why::Nameless),
            _ if strange => Missing::Unknown(Why::NotAskedFor),
            false => Missing::Gone,
            true if progress => Missing::Unread,
            true => Missing::Unknown(Why::NoProgress),
        }
    }
}

#[cfg(test)]
mod tests;
