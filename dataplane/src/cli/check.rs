//! `flumen check CONFIG`: everything that is wrong with a configuration, or the layout that it gives.

use crate::config::layout::{CoreLayout, Layout};
use crate::config::model::{Config, Idle, PortKind};
use crate::config::read::show_duration;
use crate::config::{self, Host, Missing, Sources};
use std::fmt::Write;
use std::process::ExitCode;

/// Arguments of `flumen check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration.
    #[command(flatten)]
    pub config: super::ConfigFile,
    /// Take a missing interface or processor for an error: the file is for this machine
    #[arg(long)]
    pub here: bool,
}

/// Checks, and says what came out: problems on standard error, the layout on standard output.
pub fn execute(args: &Args) -> ExitCode {
    let loaded = match config::load(&args.config.path) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let host = match Host::here() {
        Ok(host) => host,
        Err(error) => {
            eprintln!("error: cannot read what this machine has: {error}");
            return ExitCode::FAILURE;
        }
    };
    let missing = if args.here { Missing::Refuse } else { Missing::Warn };
    let mut problems = loaded.problems;
    let layout =
        loaded.config.as_ref().and_then(|config| config::plan(config, &host, missing, &mut problems));
    if !problems.is_empty() {
        eprintln!("{}\n", loaded.sources.render_all(&problems, super::colour_on_stderr()));
    }
    let name = args.config.path.display();
    match (&loaded.config, layout) {
        (Some(config), Some(layout)) => {
            print!("{}", summary(config, &layout, &loaded.sources));
            let warnings = count(problems.warnings(), "warning");
            let with = if problems.warnings() == 0 { String::new() } else { format!(", with {warnings}") };
            println!("\n{name}: OK{with}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!(
                "{name}: {}, {}",
                count(problems.errors(), "error"),
                count(problems.warnings(), "warning")
            );
            ExitCode::FAILURE
        }
    }
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The layout for a person: ports, then who polls what, then what the frames are for.
pub fn summary(config: &Config, layout: &Layout, sources: &Sources) -> String {
    let mut out = String::new();
    let mut rows = vec![["port", "kind", "queues", "mtu", "address", ""].map(str::to_owned)];
    for (port, planned) in config.ports.iter().zip(&layout.ports) {
        let kind = match &port.kind {
            PortKind::AfXdp(af_xdp) => format!("af_xdp {}", af_xdp.interface),
            PortKind::Tap(tap) => format!("tap {}", tap.interface),
            PortKind::Vlan(vlan) => {
                let parent = config.port(vlan.parent).map_or("?", |port| port.name.as_str());
                format!("vlan {} of {parent}", vlan.id)
            }
            PortKind::Pcap(_) | PortKind::Memory(_) => port.kind.name().to_owned(),
        };
        let addresses = port.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        rows.push([
            port.name.clone(),
            kind,
            config::assign::show_queues(&planned.queues),
            planned.mtu.to_string(),
            if addresses.is_empty() { "-".to_owned() } else { addresses },
            if planned.present { String::new() } else { "(not here: queues and MTU assumed)".to_owned() },
        ]);
    }
    table(&mut out, &rows);
    out.push('\n');
    let mut rows = vec![["cpu", "polls", "idle", "frames", "memory"].map(str::to_owned)];
    for (core, planned) in config.cores.iter().zip(&layout.cores) {
        let polls: Vec<String> = planned
            .queues
            .iter()
            .map(|queue| {
                let name = config.port(queue.port).map_or("?", |port| port.name.as_str());
                format!("{name}:{}", queue.queue)
            })
            .collect();
        rows.push([
            planned.cpu.to_string(),
            polls.join(" "),
            match core.idle {
                Idle::Spin => "spin".to_owned(),
                Idle::Adaptive { max_latency } => format!("adaptive {}", show_duration(max_latency)),
            },
            format!("{} x {}", planned.frames, planned.chunk),
            format!("{:.1} MiB", (planned.frames * planned.chunk) as f64 / f64::from(1 << 20)),
        ]);
    }
    table(&mut out, &rows);
    for core in &layout.cores {
        frame_uses(&mut out, core);
    }
    let files = match sources.0.len() {
        0 | 1 => String::new(),
        number => format!(" ({} read)", count(number - 1, "routes file")),
    };
    let _ = writeln!(
        out,
        "\n{}{files}, {}",
        count(config.routes.len(), "static route"),
        count(config.neighbours.len(), "static neighbour")
    );
    out
}

fn frame_uses(out: &mut String, core: &CoreLayout) {
    let _ = writeln!(out, "\nframes of cpu {}", core.cpu);
    let _ = writeln!(out, "{}", config::layout::show_uses(&core.uses));
    let needed = core.needed();
    if core.frames > needed {
        let _ = writeln!(out, "{:>8}  spare", core.frames - needed);
    }
    let _ = writeln!(out, "{:>8}  in all", core.frames);
}

/// Columns as wide as their longest cell, two spaces between.
fn table<const N: usize>(out: &mut String, rows: &[[String; N]]) {
    let mut widths = [0usize; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}
