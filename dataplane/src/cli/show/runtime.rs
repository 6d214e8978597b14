//! `flumen show runtime` for people, and the difference of two snapshots.

use crate::cli::table::{Table, per_cent, ratio};
use crate::control::snapshot::{CoreRuntime, Count, Runtime};

/// What happened between two snapshots: every counter is the difference, `uptime_ns` the time between.
/// `None`: they are not of one run of one service.
pub fn between(before: &Runtime, after: &Runtime) -> Option<Runtime> {
    let same = before.cores.len() == after.cores.len();
    let pairs = before.cores.iter().zip(&after.cores);
    let cores = pairs.map(|(before, after)| core_between(before, after)).collect::<Option<Vec<_>>>()?;
    let uptime_ns = after.uptime_ns.checked_sub(before.uptime_ns)?;
    same.then_some(Runtime { uptime_ns, cycles_per_second: after.cycles_per_second, cores })
}

fn core_between(before: &CoreRuntime, after: &CoreRuntime) -> Option<CoreRuntime> {
    // Whole, so that a new counter cannot be forgotten.
    let CoreRuntime {
        cpu,
        turns,
        busy_turns,
        bursts,
        packets,
        transmitted,
        handed_over,
        taken_over,
        sleeps,
        busy_cycles,
        cpu_time_ns,
        stages,
    } = after;
    if *cpu != before.cpu || stages.len() != before.stages.len() {
        return None;
    }
    let stages = stages
        .iter()
        .zip(&before.stages)
        .map(|(after, before)| Some(Count::new(after.name.clone(), after.value.checked_sub(before.value)?)));
    Some(CoreRuntime {
        cpu: *cpu,
        turns: turns.checked_sub(before.turns)?,
        busy_turns: busy_turns.checked_sub(before.busy_turns)?,
        bursts: bursts.checked_sub(before.bursts)?,
        packets: packets.checked_sub(before.packets)?,
        transmitted: transmitted.checked_sub(before.transmitted)?,
        handed_over: handed_over.checked_sub(before.handed_over)?,
        taken_over: taken_over.checked_sub(before.taken_over)?,
        sleeps: sleeps.checked_sub(before.sleeps)?,
        busy_cycles: busy_cycles.checked_sub(before.busy_cycles)?,
        cpu_time_ns: cpu_time_ns
            .zip(before.cpu_time_ns)
            .and_then(|(after, before)| after.checked_sub(before)),
        stages: stages.collect::<Option<Vec<_>>>()?,
    })
}

/// Each worker's work, as counts since the start or, with `rates`, as numbers a second; then cycles for each
/// packet by stage.
pub fn text(runtime: &Runtime, rates: bool) -> String {
    let seconds = runtime.uptime_ns as f64 / 1e9;
    let number = |count: u64| match rates {
        true if seconds > 0.0 => format!("{:.0}", count as f64 / seconds),
        _ => count.to_string(),
    };
    let mut work = Table::new([
        "cpu",
        "packets",
        "transmitted",
        "bursts",
        "packets/burst",
        "cycles/packet",
        "turns",
        "busy",
        "sleeps",
        "handed over",
        "taken over",
        "cpu use",
    ]);
    for core in &runtime.cores {
        work.row([
            core.cpu.to_string(),
            number(core.packets),
            number(core.transmitted),
            number(core.bursts),
            ratio(core.packets, core.bursts),
            ratio(core.busy_cycles, worked_on(core)),
            number(core.turns),
            per_cent(core.busy_turns, core.turns),
            number(core.sleeps),
            number(core.handed_over),
            number(core.taken_over),
            core.cpu_time_ns.map(|time| per_cent(time, runtime.uptime_ns)).unwrap_or_default(),
        ]);
    }
    let unit = if rates { ", each second" } else { "" };
    let mut text = format!("{} over {seconds:.1} s{unit}\n{}", "workers", work.take_text());
    let names = runtime.cores.first().map(|core| core.stages.iter().map(|stage| stage.name.clone()));
    let Some(names) = names.filter(|names| names.len() > 0) else { return text };
    let mut stages = Table::new(["cpu".to_owned()].into_iter().chain(names));
    for core in &runtime.cores {
        let cells = core.stages.iter().map(|stage| ratio(stage.value, worked_on(core)));
        stages.row([core.cpu.to_string()].into_iter().chain(cells));
    }
    text += &format!("\ncycles for each packet, by stage\n{}", stages.take_text());
    if let Some(hertz) = runtime.cycles_per_second {
        text += &format!("\n{:.0} MHz: a cycle is {:.2} ns\n", hertz as f64 / 1e6, 1e9 / hertz as f64);
    }
    text
}

/// Packets that the worker did something with: those that it received and those that others handed to it.
fn worked_on(core: &CoreRuntime) -> u64 {
    core.packets.saturating_add(core.taken_over)
}
