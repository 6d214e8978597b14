//! Changes of routes: from lines of text to what the service's table is told, and from its answers back to
//! the lines.
//!
//! The lines are those of a routes file, read by the same code, against the names and subnets of the ports that
//! the service runs: what the configuration would refuse is refused here in the same words.

use super::protocol::{Change, Changed, MAX_CHANGES, Refusal, RefusedChange};
use super::provider::{Provider, RouteChange};
use crate::config::model::{Port, Table};
use crate::config::names::Names;
use crate::config::problem::Problem;
use crate::config::routes::{Links, NextHops};
use crate::config::routes_file;

/// Makes `changes`, in order; each that cannot be made is in the answer.
pub fn change(changes: &[Change], provider: &mut dyn Provider) -> Result<Changed, Refusal> {
    if changes.len() > MAX_CHANGES {
        return Err(Refusal::new(format!("{} changes in one request", changes.len()))
            .help(format!("{MAX_CHANGES} are the most: send the rest in another request")));
    }
    let mut changed = Changed::default();
    let (mut accepted, mut places) = (Vec::new(), Vec::new());
    for (index, read) in
        read(changes, provider.config_ports(), provider.config_tables()).into_iter().enumerate()
    {
        match read {
            Ok(change) => {
                accepted.push(change);
                places.push(index);
            }
            Err((offset, why)) => changed.refused.push(RefusedChange { index, offset, why }),
        }
    }
    let results = provider.change_routes(&accepted);
    for (at, index) in places.into_iter().enumerate() {
        match results.get(at) {
            Some(Ok(())) => changed.done += 1,
            Some(Err(why)) => {
                changed.refused.push(RefusedChange { index, offset: None, why: why.clone() });
            }
            None => {
                let why = Refusal::new("the service did not say what became of this change");
                changed.refused.push(RefusedChange { index, offset: None, why });
            }
        }
    }
    changed.refused.sort_by_key(|refused| refused.index);
    Ok(changed)
}

type Fault = (Option<usize>, Refusal);

/// What the changes mean on `ports` and in `tables`; or where in the line the fault is, and which.
fn read(changes: &[Change], ports: &[Port], tables: &[Table]) -> Vec<Result<RouteChange, Fault>> {
    let names = Names::of(ports).with_tables(tables);
    let (links, mut shared) = (Links::new(ports, true), NextHops::default());
    let mut route = |text: &str| routes_file::read_one(text, &names, &links, &mut shared).map_err(fault);
    changes
        .iter()
        .map(|change| match change {
            Change::Add(text) => route(text).map(RouteChange::Add),
            Change::Replace(text) => route(text).map(RouteChange::Replace),
            Change::Del(text) => routes_file::read_name(text, &names)
                .map(|(prefix, metric, table)| RouteChange::Remove { prefix, metric, table })
                .map_err(fault),
        })
        .collect()
}

fn fault(problem: Option<Problem>) -> Fault {
    match problem {
        Some(Problem { message, at, help, .. }) => (Some(at.span().start), Refusal { message, help }),
        None => (None, Refusal::new("the line is empty").help("it begins with a prefix")),
    }
}
