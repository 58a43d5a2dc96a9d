//! Computed answers: what an application builds from records, thrown away exactly when something it was built from changes
//! (docs/promises.md, section 8).
//!
//! **Pushed, not pulled.** A change finds the answers that used the thing; a hit looks at its own slot only. What an answer
//! used is kept *flat*: an answer made of answers holds what those used as well. So there is no chain to follow when
//! something changes, a cycle is harmless, and an answer stays correct though those it was made of were evicted since.
//!
//! Reading order: [`thing`] (what can be used), [`uses`] (what a computation used), [`index`] (from things to answers; its
//! parts `insert`, `nodes`, `postings`, `packed`, [`cut`], `suspend`, [`pending`], `work`, `sweep`), [`changes`] (what changed while somebody computes), [`lease`] (who computes, who waits),
//! [`answers`] (all of them under one roof: what the server calls), [`answer`] and [`early`] (what a read gets),
//! [`resource`] (the spec), [`stored`] (the stored form).

pub mod answer;
pub mod answers;
pub mod changes;
pub mod cut;
pub mod early;
pub mod index;
mod insert;
pub mod lease;
mod nodes;
mod packed;
pub mod pending;
mod postings;
pub mod resource;
pub mod stored;
mod suspend;
mod sweep;
#[cfg(test)]
mod tests;
pub mod thing;
pub mod uses;
mod work;
