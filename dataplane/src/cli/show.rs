//! `flumen show …`: what a running service says about itself, as tables or as JSON.

use super::service::{Failed, Service, code, fail, out, out_json, unexpected};
use crate::control::protocol::{NeighbourQuery, PortQuery, SocketQuery};
use crate::control::snapshot::Runtime;
use crate::control::{Answer, Request, Show};
use std::process::ExitCode;
use std::time::Duration;

pub mod core;
pub mod multicast;
pub mod neighbour;
pub mod policy;
pub mod port;
pub mod reassembly;
pub mod route;
pub mod runtime;
pub mod sockets;
pub mod status;
pub mod tally;

/// Arguments of `flumen show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to show.
    #[command(subcommand)]
    pub what: What,
    /// Which service.
    #[command(flatten)]
    pub service: Service,
    /// Print JSON, for scripts
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to show.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// The service: version, process, uptime, configuration
    Status,
    /// Ports: modes, links, packets, and what the kernel counts for each queue
    Port {
        /// Only this port
        name: Option<String>,
    },
    /// Workers: what they poll, where their frames are
    Core,
    /// Routes; with an address, the one that packets to it follow
    Route(route::Args),
    /// Route tables: the main one, and those that policy rules lead to
    Tables,
    /// Policy rules, in the order in which they are tried
    Rules,
    /// Multicast routing: who asks on each link, who listens, where groups go
    Multicast,
    /// Datagrams that wait for their fragments
    Reassembly,
    /// Neighbours: link-layer addresses and states
    Neighbour {
        /// Only those behind this port
        #[arg(long)]
        port: Option<String>,
        /// Only those inside this prefix, or this address
        #[arg(value_name = "PREFIX")]
        within: Option<route::Destination>,
        /// At most so many, up to 4096
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: u16,
    },
    /// Sockets: those of programs and of the built-in services
    Sockets {
        /// Only those of this protocol: tcp, udp, udplite, raw, ping
        #[arg(long, value_parser = ["tcp", "udp", "udplite", "raw", "ping"])]
        protocol: Option<String>,
        /// At most so many, up to 4096
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: u16,
    },
    /// TCP sockets: listeners and connections
    Tcp {
        /// At most so many, up to 4096
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: u16,
    },
    /// Programs that have their sockets here
    Programs,
    /// Packets that ended here, by reason
    Drops(tally::Args),
    /// Events
    Counters(tally::Args),
    /// How the workers spend their time: packets, bursts, cycles for each packet and stage
    Runtime {
        /// Look twice, so many seconds apart, and show what happened between
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
        interval: Option<u32>,
    },
}

/// Shows.
pub fn execute(args: &Args) -> ExitCode {
    code(show(args))
}

fn show(args: &Args) -> Result<(), Failed> {
    let ask = |show| args.service.ask(&Request::Show(show));
    let shown = match &args.what {
        What::Status => match args.service.ask(&Request::Status)? {
            Answer::Status(status) if args.json => out_json(&status),
            Answer::Status(status) => out(&status::text(&status)),
            _ => Err(unexpected()),
        },
        What::Port { name } => match ask(Show::Port(PortQuery { name: name.clone() }))? {
            Answer::Ports(ports) if args.json => out_json(&ports),
            Answer::Ports(ports) => out(&port::text(&ports)),
            _ => Err(unexpected()),
        },
        What::Core => match ask(Show::Core)? {
            Answer::Cores(cores) if args.json => out_json(&cores),
            Answer::Cores(cores) => out(&core::text(&cores)),
            _ => Err(unexpected()),
        },
        What::Route(route) => return route::show(route, &args.service, args.json),
        What::Tables => match ask(Show::Tables)? {
            Answer::Tables(tables) if args.json => out_json(&tables),
            Answer::Tables(tables) => out(&policy::tables(&tables)),
            _ => Err(unexpected()),
        },
        What::Rules => match ask(Show::Rules)? {
            Answer::Rules(rules) if args.json => out_json(&rules),
            Answer::Rules(rules) => out(&policy::rules(&rules)),
            _ => Err(unexpected()),
        },
        What::Multicast => match ask(Show::Multicast)? {
            Answer::Groups(groups) if args.json => out_json(&groups),
            Answer::Groups(groups) => out(&multicast::text(&groups)),
            _ => Err(unexpected()),
        },
        What::Reassembly => match ask(Show::Reassembly)? {
            Answer::Reassembly(waits) if args.json => out_json(&waits),
            Answer::Reassembly(waits) => out(&reassembly::text(&waits)),
            _ => Err(unexpected()),
        },
        What::Neighbour { port, within, limit } => {
            let within = within.map(|within| within.net());
            let query = NeighbourQuery { port: port.clone(), within, limit: Some(usize::from(*limit)) };
            match ask(Show::Neighbour(query))? {
                Answer::Neighbours(neighbours) if args.json => out_json(&neighbours),
                Answer::Neighbours(neighbours) => out(&neighbour::text(&neighbours)),
                _ => Err(unexpected()),
            }
        }
        What::Sockets { protocol, limit } => show_sockets(args, protocol.clone(), *limit),
        What::Tcp { limit } => show_sockets(args, Some("tcp".to_owned()), *limit),
        What::Programs => match ask(Show::Programs)? {
            Answer::Programs(programs) if args.json => out_json(&programs),
            Answer::Programs(programs) => out(&sockets::programs(&programs)),
            _ => Err(unexpected()),
        },
        What::Drops(which) => match ask(Show::Drops)? {
            Answer::Drops(drops) if args.json => out_json(&drops),
            Answer::Drops(drops) => out(&tally::text(&drops, which, "reason")),
            _ => Err(unexpected()),
        },
        What::Counters(which) => match ask(Show::Counters)? {
            Answer::Counters(counters) if args.json => out_json(&counters),
            Answer::Counters(counters) => out(&tally::text(&counters, which, "event")),
            _ => Err(unexpected()),
        },
        What::Runtime { interval } => {
            let sample = || match ask(Show::Runtime)? {
                Answer::Runtime(runtime) => Ok(runtime),
                _ => Err(unexpected()),
            };
            let runtime: Runtime = match interval {
                None => sample()?,
                Some(seconds) => {
                    let before = sample()?;
                    std::thread::sleep(Duration::from_secs(u64::from(*seconds)));
                    runtime::between(&before, &sample()?)
                        .ok_or_else(|| fail("the service was started anew meanwhile", Some("ask again")))?
                }
            };
            if args.json { out_json(&runtime) } else { out(&runtime::text(&runtime, interval.is_some())) }
        }
    };
    shown.map(|_| ())
}

fn show_sockets(args: &Args, protocol: Option<String>, limit: u16) -> Result<bool, Failed> {
    let query = SocketQuery { protocol, limit: Some(usize::from(limit)) };
    match args.service.ask(&Request::Show(Show::Socket(query)))? {
        Answer::Sockets(sockets) if args.json => out_json(&sockets),
        Answer::Sockets(sockets) => out(&sockets::text(&sockets)),
        _ => Err(unexpected()),
    }
}
