//! `flumen show core` for people.

use crate::cli::table::{Table, per_cent, yes};
use crate::control::snapshot::Cores;

/// What each worker does, then where its frames are.
pub fn text(cores: &Cores) -> String {
    let mut work = Table::new([
        "cpu",
        "polls",
        "idle",
        "sleeps",
        "handed over",
        "taken over",
        "neighbours",
        "connections",
        "program sockets",
        "socket memory",
        "cpu use",
    ]);
    let mut frames = Table::new(["cpu", "frames", "free", "in rings", "held", "quarantined", "balanced"]);
    let mut warnings = String::new();
    for core in &cores.cores {
        work.row([
            core.cpu.to_string(),
            core.queues.join(" "),
            core.idle.clone(),
            core.sleeps.to_string(),
            core.handed_over.to_string(),
            core.taken_over.to_string(),
            core.neighbours.to_string(),
            core.connections.to_string(),
            core.program_sockets.to_string(),
            core.socket_memory.to_string(),
            core.cpu_time_ns.map(|time| per_cent(time, cores.uptime_ns)).unwrap_or_default(),
        ]);
        let f = &core.frames;
        let numbers = [f.size, f.free, f.in_rings, f.held, f.quarantined].map(|number| number.to_string());
        let cells = [core.cpu.to_string()].into_iter().chain(numbers).chain([yes(f.balanced).to_owned()]);
        frames.row(cells);
        if !f.balanced {
            warnings += &format!(
                "\nwarning: the frames of cpu {} did not add up at some time: frames were lost or counted twice, \
                 which is a bug worth reporting\n",
                core.cpu
            );
        }
    }
    format!("{}\n{}{warnings}", work.take_text(), frames.take_text())
}
