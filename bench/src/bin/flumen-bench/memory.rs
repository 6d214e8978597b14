//! What a data plane takes of memory: two ports, a full table, and the frames of one core, in this process.

use flumen_bench::machine::Machine;
use flumen_bench::router::{self, Error};
use flumen_bench::table::{Prefixes, ROUTES_IPV4, ROUTES_IPV6};
use flumen_bench::traffic::udp4;

/// MiB that the project allows itself.
const TARGET: u64 = 400;

/// Options of `flumen-bench memory`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// IPv6 routes besides the million of IPv4.
    #[arg(long, default_value_t = ROUTES_IPV6)]
    routes_ipv6: usize,
}

pub fn execute(args: &Args, machine: &Machine, json: bool) -> Result<(), Error> {
    let start = resident()?;
    let mut rib = flumen::service::routes::table(
        flumen_stack::limits::MAX_ROUTES_IPV4,
        flumen_stack::limits::MAX_ROUTES_IPV6,
    )?;
    router::install_connected(&mut rib)?;
    // The list of prefixes is the benchmark's, not the data plane's: it is gone before the end.
    let destination = {
        let prefixes = Prefixes::new(ROUTES_IPV4, args.routes_ipv6);
        prefixes.install(&mut rib, router::port_out());
        prefixes.v4[0].network()
    };
    let tables = resident()?;
    let mut worker = router::worker(&rib, &[udp4(destination)], router::ROUTE_CACHE)?;
    router::route(&mut worker, 1 << 16)?;
    let whole = resident()?;
    if json {
        let document = serde_json::json!({
            "machine": machine, "routes": [ROUTES_IPV4, args.routes_ipv6], "frames": router::FRAMES,
            "mib": { "start": start, "tables": tables, "whole": whole, "target": TARGET },
        });
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        println!("{machine}");
        println!("resident memory in MiB, two ports, one core with {} frames of 2048 bytes", router::FRAMES);
        println!("  at start                                  {start:5}");
        println!("  with {ROUTES_IPV4} + {} routes              {tables:5}", args.routes_ipv6);
        println!("  with a worker that forwarded              {whole:5}   (target: less than {TARGET})");
    }
    Ok(())
}

/// MiB of this process that are resident.
pub fn resident() -> Result<u64, Error> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS line")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib >> 10)
}
