//! `flumen show drops` and `flumen show counters` for people.

use crate::cli::table::Table;
use crate::control::snapshot::{Tallies, Tally};

/// What to show of them.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Args {
    /// A column for each core
    #[arg(long)]
    pub cores: bool,
    /// Those that never happened, too
    #[arg(long)]
    pub all: bool,
}

/// One line for each that happened, the most frequent first; `what` heads the names.
pub fn text(tallies: &Tallies, args: &Args, what: &str) -> String {
    let mut shown: Vec<&Tally> =
        tallies.tallies.iter().filter(|tally| args.all || tally.total() > 0).collect();
    if !args.all {
        shown.sort_by_key(|tally| std::cmp::Reverse(tally.total())); // stable: then in their own order
    }
    if shown.is_empty() {
        return "none\n".to_owned();
    }
    let describes = shown.iter().any(|tally| !tally.description.is_empty());
    let cpus = tallies.cpus.iter().filter(|_| args.cores);
    let heads = [what.to_owned(), "count".to_owned()].into_iter();
    let heads = heads.chain(cpus.map(|cpu| format!("cpu {cpu}")));
    let mut table = Table::new(heads.chain(describes.then(|| "meaning".to_owned())));
    for tally in shown {
        let per_core = tally.per_core.iter().filter(|_| args.cores).map(u64::to_string);
        let cells = [tally.name.clone(), tally.total().to_string()].into_iter().chain(per_core);
        table.row(cells.chain(describes.then(|| tally.description.trim().to_owned())));
    }
    table.take_text()
}
