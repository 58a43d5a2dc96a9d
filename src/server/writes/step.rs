//! The steps of a write, each one call to Airtable, and what comes after one that failed.

use crate::server::fetching::{columns, missing};
use crate::server::state::lane::Lane;
use crate::server::upstream::fault::Fault;
use crate::server::writes::{Answer, Cells, Place, Request, Shape};
use compact_str::CompactString;
use podium_airtable::{Ask, Failure, FailureKind, ListQuery, MAX_WRITE};
use podium_core::missing::Asked;
use podium_core::question;
use std::collections::VecDeque;

/// One call.
pub(super) enum Step {
    Create {
        lane: Lane,
        records: Vec<(Place, Cells)>,
        typecast: bool,
    },
    Update {
        lane: Lane,
        id: CompactString,
        cells: Cells,
        typecast: bool,
    },
    Delete {
        lane: Lane,
        ids: Vec<(Place, CompactString)>,
    },
    /// A delete was refused: which of them are there at all? Those that are `known` to be were seen on a page before.
    Confirm {
        lane: Lane,
        ids: Vec<(Place, CompactString)>,
        known: Vec<(Place, CompactString)>,
        refusal: Fault,
    },
}

impl Step {
    pub(super) fn lane(&self) -> &Lane {
        match self {
            Step::Create { lane, .. }
            | Step::Update { lane, .. }
            | Step::Delete { lane, .. }
            | Step::Confirm { lane, .. } => lane,
        }
    }
    pub(super) fn places(&self) -> Vec<Place> {
        match self {
            Step::Create { records, .. } => records.iter().map(|(at, _)| *at).collect(),
            Step::Update { .. } => vec![0],
            Step::Delete { ids, .. } => ids.iter().map(|(at, _)| *at).collect(),
            Step::Confirm { ids, known, .. } => {
                ids.iter().chain(known).map(|(at, _)| *at).collect()
            }
        }
    }
    pub(super) fn scope(&self) -> &'static str {
        match self {
            Step::Confirm { .. } => "data.records:read",
            _ => "data.records:write",
        }
    }
    pub(super) fn what(&self) -> &'static str {
        match self {
            Step::Create { .. } => "a create",
            Step::Update { .. } => "an update",
            Step::Delete { .. } => "a delete",
            Step::Confirm { .. } => "the question whether records are there",
        }
    }
}

/// What comes after a call that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum After {
    /// Nothing: it was not carried out.
    Over,
    /// It may have been carried out, or what it is about may be gone: whatever it would have changed is in doubt.
    Uncertain,
    /// One bad record fails the whole call: it is asked in halves, so that the others are written without it.
    Divided,
    /// A record that is gone fails the whole delete: it is asked which of them are there.
    Confirmed,
}

impl Step {
    /// `failure`: none where no call was made.
    pub(super) fn after(&self, failure: Option<&Failure>) -> After {
        if failure.is_some_and(|f| f.may_have_applied) {
            return match self {
                Step::Confirm { .. } => After::Over,
                _ => After::Uncertain,
            };
        }
        let Some(f) = failure.filter(|f| f.status.is_some()) else {
            return After::Over;
        };
        let refused = matches!(f.kind, FailureKind::Refused | FailureKind::UnknownField(_));
        // What may mean "it is not there" and may mean "you may not".
        let missing = f.status == Some(403)
            || f.kind == FailureKind::NotFound
            || f.error_type.as_deref() == Some("ROW_DOES_NOT_EXIST");
        match self {
            Step::Create { records, .. } if refused && records.len() > 1 => After::Divided,
            Step::Update { .. } if missing => After::Uncertain,
            Step::Delete { .. } if missing || refused => After::Confirmed,
            _ => After::Over,
        }
    }
}

/// How many calls a request takes if all goes well.
pub(crate) fn calls_of(request: &Request) -> usize {
    match request {
        Request::Create { records, .. } => records.len().div_ceil(MAX_WRITE),
        Request::Update { .. } => 1,
        Request::Delete(tables) => tables
            .iter()
            .map(|(_, ids)| ids.len().div_ceil(MAX_WRITE))
            .sum(),
    }
}

/// The steps in order, and the name of each place of the reply.
pub(super) fn plan(request: Request) -> (VecDeque<Step>, Vec<Vec<u8>>, Shape) {
    let mut steps = VecDeque::new();
    match request {
        Request::Create {
            lane,
            records,
            typecast,
        } => {
            let names = vec![lane.entity.as_bytes().to_vec(); records.len()];
            let mut rest = records.into_iter().enumerate().peekable();
            while rest.peek().is_some() {
                let records = rest.by_ref().take(MAX_WRITE).collect();
                steps.push_back(Step::Create {
                    lane: lane.clone(),
                    records,
                    typecast,
                });
            }
            (steps, names, Shape::List)
        }
        Request::Update {
            lane,
            id,
            cells,
            typecast,
        } => {
            let names = vec![podium_core::key::record(&lane.entity, &id)];
            steps.push_back(Step::Update {
                lane,
                id,
                cells,
                typecast,
            });
            (steps, names, Shape::One)
        }
        Request::Delete(tables) => {
            let mut names = Vec::new();
            for (lane, ids) in tables {
                let placed: Vec<(Place, CompactString)> = (names.len()..).zip(ids).collect();
                names.extend(
                    placed
                        .iter()
                        .map(|(_, id)| podium_core::key::record(&lane.entity, id)),
                );
                for part in placed.chunks(MAX_WRITE) {
                    steps.push_back(Step::Delete {
                        lane: lane.clone(),
                        ids: part.to_vec(),
                    });
                }
            }
            (steps, names, Shape::Count)
        }
    }
}

pub(super) fn send(
    client: &podium_airtable::Client,
    ask: &Ask,
    step: &Step,
) -> Result<Answer, Failure> {
    match step {
        Step::Create {
            records, typecast, ..
        } => {
            let cells: Vec<Cells> = records.iter().map(|(_, c)| c.clone()).collect();
            Ok(Answer {
                written: columns::written(
                    client,
                    ask,
                    step.lane(),
                    client.create(ask, &cells, *typecast)?,
                )?,
                ..Answer::default()
            })
        }
        Step::Update {
            id,
            cells,
            typecast,
            ..
        } => Ok(Answer {
            written: columns::written(
                client,
                ask,
                step.lane(),
                client.update(ask, &[(id.to_string(), cells.clone())], *typecast)?,
            )?,
            ..Answer::default()
        }),
        Step::Delete { ids, .. } => {
            let ids: Vec<&str> = ids.iter().map(|(_, id)| id.as_str()).collect();
            Ok(Answer {
                deleted: client.delete(ask, &ids)?,
                ..Answer::default()
            })
        }
        Step::Confirm { ids, .. } => {
            let ids: Vec<&str> = ids.iter().map(|(_, id)| id.as_str()).collect();
            let formula = question::ids_formula(&ids);
            let page = columns::list(
                client,
                ask,
                step.lane(),
                &ListQuery {
                    formula: Some(&formula),
                    page_size: 100,
                    ..ListQuery::default()
                },
            )?;
            Ok(Answer {
                missing: Some(missing(&mut Asked::all(&ids), &page)),
                there: page.ids().map(str::to_string).collect(),
                ..Answer::default()
            })
        }
    }
}

#[cfg(test)]
mod tests;
