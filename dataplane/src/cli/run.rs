//! `flumen run CONFIG`: the data plane, until it is told to stop.

use crate::config::{self, Host, Missing};
use crate::control::server::{ControlServer, TOKENS};
use crate::service::links::Links;
use crate::service::provider::{Round, View};
use crate::service::{Service, WorkerHandle};
use flumen_stack::ip::martian::Martian;
use flumen_stack::{Counter, DropReason};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often links are looked at.
const LINK_INTERVAL: Duration = Duration::from_millis(200);

/// What the control thread waits for.
const SIGNALS: Token = Token(0);
const CONTROL: Token = Token(1);

/// How often workers that were asked for a report are looked at.
const ANSWER_INTERVAL: Duration = Duration::from_millis(1);

/// Arguments of `flumen run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration.
    #[command(flatten)]
    pub config: super::ConfigFile,
}

/// Runs the data plane.
pub fn execute(args: &Args) -> ExitCode {
    let (config, layout) = match prepare(args) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    super::start_log(config.log.level);
    match run(config, layout, &args.config.path.display().to_string()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the configuration and lays it over this machine; says what is wrong with it.
fn prepare(args: &Args) -> Result<(config::Config, config::Layout), ExitCode> {
    let fail = |message: String| {
        eprintln!("error: {message}");
        ExitCode::FAILURE
    };
    let loaded = config::load(&args.config.path).map_err(|error| fail(error.to_string()))?;
    let host = Host::here().map_err(|error| fail(format!("cannot read what this machine has: {error}")))?;
    let mut problems = loaded.problems;
    let layout =
        loaded.config.as_ref().and_then(|config| config::plan(config, &host, Missing::Refuse, &mut problems));
    let rendered = loaded.sources.render_all(&problems, super::colour_on_stderr());
    if !rendered.is_empty() {
        eprintln!("{}", rendered.trim_end());
    }
    match (loaded.config, layout) {
        (Some(config), Some(layout)) => Ok((config, layout)),
        _ => Err(ExitCode::FAILURE),
    }
}

fn run(config: config::Config, layout: config::Layout, name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut poll = Poll::new()?;
    // Signals first: one that comes while we start must still end us in order.
    let mut signals = signal_pipe()?;
    poll.registry().register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE)?;
    let control = &config.control;
    // The control socket before the ports: a second service with the same socket must not touch them.
    let mut server = ControlServer::bind(&control.socket, control.mode, poll.registry(), CONTROL)?;
    let mut links = Links::new(config.ports.len());
    let mut round = Round::default();
    let mut service = Service::start(config, layout)?;
    let door = service.door.take().zip(service.config.programs.as_ref());
    let behind = Token(CONTROL.0 + TOKENS);
    let mut programs =
        door.map(|(door, programs)| door.open(programs, poll.registry(), behind)).transpose()?;
    announce(&service);
    let mut events = Events::with_capacity(64);
    let mut next_look = Instant::now();
    let mut partial_seen = 0;
    let stopped = 'running: loop {
        let now = Instant::now();
        if now >= next_look {
            links.watch(&mut service);
            service.autoconfigure();
            warn_of_partial_checksums(&service, &mut partial_seen);
            log_martians(&mut service);
            if let Some(programs) = &mut programs {
                programs.housekeeping(now);
            }
            next_look = now + LINK_INTERVAL;
        }
        if !service.is_healthy() {
            break 'running Err("a worker ended by itself; see the log".into());
        }
        round.collect(&mut service, &links, &mut server);
        let until = if round.is_open() { now + ANSWER_INTERVAL } else { next_look };
        let until = server.deadline().map_or(until, |deadline| deadline.min(until));
        match poll.poll(&mut events, Some(until.saturating_duration_since(now))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if event.token() == SIGNALS && drained(&mut signals) {
                break 'running Ok(());
            }
            if server.owns(event.token()) {
                let mut view = View { service: &mut service, links: &links, round: &mut round, config: name };
                server.on_event(event.token(), Instant::now(), &mut view);
            }
            if let Some(programs) = programs.as_mut().filter(|programs| programs.owns(event.token()))
                && programs.on_event(event.token())
            {
                service.workers.iter().for_each(WorkerHandle::wake);
            }
        }
        server.expire(Instant::now());
    };
    service.stop();
    print_totals(&service);
    stopped
}

/// A pipe that becomes readable when SIGINT or SIGTERM arrives.
fn signal_pipe() -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    write.set_nonblocking(true)?;
    for signal in [SIGINT, SIGTERM] {
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    Ok(read)
}

fn drained(signals: &mut UnixStream) -> bool {
    let mut buffer = [0u8; 64];
    matches!(signals.read(&mut buffer), Ok(count) if count > 0)
}

/// Says what every port got, and why nothing better.
fn announce(service: &Service) {
    for worker in &service.workers {
        for (port, grant) in &worker.grants {
            let name = service.config.port(*port).map_or("", |port| port.name.as_str());
            tracing::info!(
                port = name,
                queue = grant.queue,
                cpu = worker.cpu,
                driver = grant.driver,
                requested = %grant.requested,
                got = %grant.got,
                multi_buffer = grant.multi_buffer,
                tx_checksum = grant.tx_checksum,
                tx_budget = grant.tx_budget,
                transmit = grant.transmit.name(),
                "AF_XDP socket is open"
            );
            for (mode, why) in &grant.refused {
                tracing::info!(port = name, queue = grant.queue, refused = %mode, why, "a better mode is not to be had");
            }
            if let Some(why) = &grant.no_busy_poll {
                tracing::warn!(port = name, queue = grant.queue, why, "`busy_poll` has no effect");
            }
            if let Some(why) = &grant.no_bulk {
                tracing::info!(port = name, queue = grant.queue, why, "bursts go by the ring");
            }
        }
    }
    tracing::info!(workers = service.workers.len(), ports = service.config.ports.len(), "running");
}

/// Tells the operator, once for each time that more are seen, that a peer leaves checksums to hardware that
/// is not there.
fn warn_of_partial_checksums(service: &Service, seen_before: &mut u64) {
    let seen = service.workers.iter().map(|worker| worker.metrics.event(Counter::PartialChecksumsSeen)).sum();
    if *seen_before == 0 && seen > 0 {
        tracing::warn!(
            "packets arrive with checksums that their sender left to hardware: receivers behind us will drop \
             them. At the peer: `ethtool -K INTERFACE tx off`; or say `checksum = \"repair\"` for the port"
        );
    }
    *seen_before = seen;
}

/// Writes down the packets that cannot be, as far as workers took notes of them.
fn log_martians(service: &mut Service) {
    let Service { config, workers, .. } = service;
    for worker in workers {
        while let Some(Martian { port, source, destination, reason, unnoted }) = worker.martian() {
            let port = config.port(port).map_or("", |port| port.name.as_str());
            let reason = reason.name();
            tracing::warn!(port, %source, %destination, reason, unnoted, "martian packet");
        }
    }
}

/// What was done in all, on standard output.
fn print_totals(service: &Service) {
    let mut text = String::from("totals\n");
    for interface in &service.interfaces {
        let mut total = flumen_stack::counters::PortCounters::default();
        for worker in &service.workers {
            let one = worker.metrics.port(interface.id);
            total.rx_packets += one.rx_packets;
            total.rx_bytes += one.rx_bytes;
            total.tx_packets += one.tx_packets;
            total.tx_bytes += one.tx_bytes;
            total.drops += one.drops;
            total.tx_drops += one.tx_drops;
        }
        text += &format!(
            "  port {}: received {} packets ({} bytes), sent {} ({} bytes), ended here {}, not sent after all {}\n",
            interface.name,
            total.rx_packets,
            total.rx_bytes,
            total.tx_packets,
            total.tx_bytes,
            total.drops,
            total.tx_drops
        );
    }
    for reason in DropReason::ALL {
        let count: u64 = service.workers.iter().map(|worker| worker.metrics.dropped(*reason)).sum();
        if count > 0 {
            text += &format!("  {}: {count}\n", reason.name());
        }
    }
    for worker in &service.workers {
        let runtime = worker.metrics.runtime();
        let balance = if runtime.frames_unbalanced == 0 { "conserved" } else { "NOT CONSERVED" };
        text += &format!(
            "  cpu {}: {} packets in {} bursts, {} frames {balance}\n",
            worker.cpu, runtime.packets, runtime.bursts, runtime.frames
        );
    }
    print!("{text}");
}
