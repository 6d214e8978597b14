//! The kernel, our rights, processors, memory, time.

use super::Finding;
use super::facts::Facts;
use crate::config::layout::Layout;
use crate::config::model::{AfXdp, Config, Idle, Kick, PortKind};
use std::collections::BTreeSet;

const HUGE_PAGE: u64 = 2 << 20;

/// Bits of the capability sets (include/uapi/linux/capability.h).
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

/// Judges all of it.
pub fn examine(config: &Config, layout: &Layout, facts: &Facts, findings: &mut Vec<Finding>) {
    let ports: Vec<&AfXdp> = config
        .ports
        .iter()
        .filter_map(|port| match &port.kind {
            PortKind::AfXdp(af_xdp) => Some(af_xdp),
            _ => None,
        })
        .collect();
    if !ports.is_empty() {
        kernel(&ports, layout, facts, findings);
        rights(layout, facts, findings);
    }
    processors(config, &ports, facts, findings);
    memory(config, layout, facts, findings);
    time(facts, findings);
}

fn kernel(ports: &[&AfXdp], layout: &Layout, facts: &Facts, findings: &mut Vec<Finding>) {
    let release = format!("Linux {}", facts.release);
    // BPF links for XDP (5.9) take the program away when we die; since 5.10 sockets of several interfaces share
    // one area of frames.
    findings.push(match facts.is_at_least(5, 10) {
        Some(true) => Finding::ok("kernel", format!("{release}: BPF links for XDP, frames shared by all ports")),
        Some(false) => Finding::error(
            "kernel",
            release,
            "AF_XDP sockets of several interfaces cannot share frames before Linux 5.10, and XDP programs would stay \
             behind before 5.9",
        ),
        None => Finding::warning("kernel", format!("release \"{}\"", facts.release), "it says nothing about features"),
    });
    match facts.has_af_xdp {
        Some(true) => findings.push(Finding::ok("kernel", "AF_XDP")),
        Some(false) => findings.push(Finding::error(
            "kernel",
            "no AF_XDP",
            "no port of kind af_xdp can work: the kernel was built without CONFIG_XDP_SOCKETS",
        )),
        None => findings.push(Finding::warning(
            "kernel",
            "/proc/net/protocols cannot be read",
            "AF_XDP may be missing",
        )),
    }
    let wants = [
        (
            (6, 17),
            true,
            "XDP_MAX_TX_SKB_BUDGET",
            "in copy mode one system call sends at most 32 packets, so larger bursts cost more of them",
            false,
        ),
        (
            (6, 8),
            true,
            "transmit checksum offload (TX metadata)",
            "checksums of what we originate are computed by us",
            false,
        ),
        (
            (6, 6),
            layout.ports.iter().any(|port| port.multi_buffer && port.mtu > 1500),
            "multi-buffer packets (XDP_USE_SG)",
            "packets longer than a frame cannot be received or sent: the MTU must fit into one",
            true,
        ),
        (
            (5, 11),
            ports.iter().any(|port| port.busy_poll.is_some()),
            "preferred busy polling",
            "`busy_poll` cannot be had",
            true,
        ),
    ];
    for ((major, minor), is_wanted, feature, means, is_needed) in wants {
        if !is_wanted {
            continue;
        }
        findings.push(match facts.is_at_least(major, minor) {
            Some(true) => Finding::ok("kernel", feature),
            Some(false) if is_needed => {
                Finding::error("kernel", format!("no {feature} before Linux {major}.{minor}"), means)
            }
            Some(false) => {
                Finding::warning("kernel", format!("no {feature} before Linux {major}.{minor}"), means)
            }
            None => Finding::warning("kernel", format!("{feature}: unknown"), means),
        });
    }
    if facts.bpf_jit == Some(0) {
        findings.push(
            Finding::warning(
                "kernel",
                "the BPF compiler is off",
                "the XDP program is interpreted for every packet",
            )
            .command("sysctl -w net.core.bpf_jit_enable=1"),
        );
    }
}

fn rights(layout: &Layout, facts: &Facts, findings: &mut Vec<Finding>) {
    let setcap = "setcap cap_net_admin,cap_net_raw,cap_bpf,cap_ipc_lock+ep \"$(command -v flumen)\"";
    let Some(bits) = facts.capabilities else {
        findings.push(Finding::warning("rights", "capabilities: unknown", "starting may fail: run as root"));
        return;
    };
    let has = |capability: u32| bits >> capability & 1 == 1;
    let bpf = has(CAP_BPF) || has(CAP_SYS_ADMIN);
    for (is, name, means) in [
        (has(CAP_NET_ADMIN), "CAP_NET_ADMIN", "the XDP program cannot be attached"),
        (has(CAP_NET_RAW), "CAP_NET_RAW", "AF_XDP sockets cannot be opened"),
        (bpf, "CAP_BPF", "the XDP program cannot be loaded"),
    ] {
        findings.push(if is {
            Finding::ok("rights", name)
        } else {
            Finding::error(
                "rights",
                format!("no {name}"),
                format!("{means}: run as root, or give the right to the program"),
            )
            .command(setcap)
        });
    }
    // The kernel counts frames against the limit, unless CAP_IPC_LOCK lifts it.
    let needed = pools(layout);
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    findings.push(match (has(CAP_IPC_LOCK), facts.memlock) {
        (true, _) => Finding::ok("rights", "CAP_IPC_LOCK: frames may be locked in memory"),
        (false, Some(limit)) if limit >= needed => {
            Finding::ok("rights", format!("locked memory: {} of frames are allowed", mib(needed)))
        }
        (false, Some(limit)) => Finding::error(
            "rights",
            format!("no CAP_IPC_LOCK, and only {} may be locked", mib(limit)),
            format!("the frames of this configuration take {}", mib(needed)),
        )
        .command("ulimit -l unlimited"),
        (false, None) => Finding::warning(
            "rights",
            "no CAP_IPC_LOCK, and the limit of locked memory is unknown",
            format!("the frames of this configuration take {}", mib(needed)),
        )
        .command("ulimit -l unlimited"),
    });
}

/// Bytes of all pools.
fn pools(layout: &Layout) -> u64 {
    layout
        .cores
        .iter()
        .fold(0, |sum: u64, core| sum.saturating_add((core.frames as u64).saturating_mul(core.chunk as u64)))
}

fn processors(config: &Config, ports: &[&AfXdp], facts: &Facts, findings: &mut Vec<Finding>) {
    let ours: BTreeSet<usize> = config.cores.iter().map(|core| core.cpu).collect();
    for core in &config.cores {
        let about = format!("cpu {}", core.cpu);
        let Some(cpu) = facts.cpus.get(&core.cpu).filter(|cpu| cpu.allowed) else {
            findings.push(Finding::error(
                about,
                "not here, or not for us",
                "the worker cannot be pinned to it",
            ));
            continue;
        };
        findings.push(match (cpu.isolated, core.idle) {
            (true, _) => Finding::ok(&about, "isolated: nothing else runs there"),
            (false, Idle::Spin) => Finding::warning(
                &about,
                "not isolated",
                "other processes take turns with a worker that spins, and packets are dropped meanwhile",
            )
            .command(format!("add `isolcpus={0} nohz_full={0}` to the kernel's command line", core.cpu)),
            (false, Idle::Adaptive { .. }) => {
                Finding::ok(&about, "shared with other processes, as adaptive idling allows")
            }
        });
        let rivals: Vec<String> = cpu
            .siblings
            .iter()
            .filter(|other| **other != core.cpu && ours.contains(other))
            .map(usize::to_string)
            .collect();
        if !rivals.is_empty() {
            findings.push(Finding::warning(
                &about,
                format!("shares its core with cpu {}, which has a worker, too", rivals.join(", ")),
                "two hyper-threads of one core are together hardly faster than one: put the workers on different cores",
            ));
        }
        if let Some(governor) = cpu.governor.as_ref().filter(|governor| *governor != "performance") {
            findings.push(
                Finding::warning(
                    &about,
                    format!("frequency governor {governor}"),
                    "it slows down when it looks idle",
                )
                .command(format!(
                    "echo performance > /sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor",
                    core.cpu
                )),
            );
        }
    }
    let others = facts.cpus.iter().filter(|(id, cpu)| cpu.allowed && !ours.contains(id)).count();
    let spins = config.cores.iter().any(|core| core.idle == Idle::Spin);
    if others == 0 && spins {
        findings.push(Finding::warning(
            "cpus",
            "every processor has a worker",
            "nothing is left for the kernel and the rest of the system while they spin: leave one free",
        ));
    }
    if others == 0 && ports.iter().any(|port| port.kick == Kick::Sqpoll) {
        findings.push(Finding::warning(
            "cpus",
            "no processor is left for the kernel's thread of `kick = \"sqpoll\"`",
            "it takes turns with a worker: use `kick = \"syscall\"`, or leave a processor free",
        ));
    }
}

fn memory(config: &Config, layout: &Layout, facts: &Facts, findings: &mut Vec<Finding>) {
    let needed = pools(layout);
    let mib = |bytes: u64| bytes >> 20;
    if let Some(available) = facts.memory_available {
        let found = format!("{} MiB for frames, {} MiB available", mib(needed), mib(available));
        findings.push(if needed <= available {
            Finding::ok("memory", found)
        } else {
            Finding::error("memory", found, "the pools cannot be made: use fewer frames or smaller rings")
        });
    }
    let huge = config.cores.iter().zip(&layout.cores).filter(|(core, _)| core.hugepages);
    let pages: u64 = huge.map(|(_, core)| (core.frames as u64 * core.chunk as u64).div_ceil(HUGE_PAGE)).sum();
    if pages == 0 {
        return;
    }
    match facts.huge_pages_free {
        Some(free) if free >= pages => {
            findings
                .push(Finding::ok("memory", format!("{free} free huge pages of 2 MiB, {pages} are needed")));
        }
        Some(free) => {
            let total = facts.huge_pages.unwrap_or(0).saturating_add(pages - free);
            findings.push(
                Finding::error(
                    "memory",
                    format!("{free} free huge pages of 2 MiB, {pages} are needed"),
                    "the pools with `hugepages = true` cannot be made",
                )
                .command(format!("sysctl -w vm.nr_hugepages={total}")),
            );
        }
        None => findings.push(Finding::error(
            "memory",
            "no huge pages of 2 MiB",
            "the pools with `hugepages = true` cannot be made: leave the key out",
        )),
    }
}

fn time(facts: &Facts, findings: &mut Vec<Finding>) {
    match facts.clock_source.as_deref() {
        // kvm-clock is read from the time stamp counter, without a system call, too.
        Some(source @ ("tsc" | "kvm-clock" | "arch_sys_counter")) => {
            findings.push(Finding::ok("time", format!("clock source {source}")));
        }
        Some(source) => findings.push(
            Finding::warning(
                "time",
                format!("clock source {source}"),
                "reading the time may cost a system call each turn",
            )
            .command("echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource"),
        ),
        None => {
            findings.push(Finding::warning("time", "clock source: unknown", "reading the time may be slow"))
        }
    }
    if let Some(flags) = &facts.cpu_flags
        && !(flags.contains("constant_tsc") && flags.contains("nonstop_tsc"))
    {
        findings.push(Finding::warning(
            "time",
            "the time stamp counter changes its speed or stops (no constant_tsc and nonstop_tsc)",
            "the cycles in `flumen show runtime` cannot be compared",
        ));
    }
}
