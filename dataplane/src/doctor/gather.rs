//! Gathers [`Facts`]: from procfs and sysfs, and from `ip` and `ethtool` where they are installed. Nothing is changed.

use super::facts::{Cpu, Facts, Nic, Xdp};
use crate::config::Host;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The facts of this machine, with those interfaces of `host` that are in `names`.
pub fn gather<'n>(host: &Host, names: impl Iterator<Item = &'n str>) -> Facts {
    let status = text("/proc/self/status").unwrap_or_default();
    let memory = text("/proc/meminfo").unwrap_or_default();
    let pages = Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB");
    let cpu_info = text("/proc/cpuinfo");
    Facts {
        release: text("/proc/sys/kernel/osrelease").unwrap_or_default(),
        has_af_xdp: text("/proc/net/protocols").map(|table| has_protocol(&table, "XDP")),
        bpf_jit: number("/proc/sys/net/core/bpf_jit_enable"),
        capabilities: field(&status, "CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok()),
        memlock: text("/proc/self/limits").and_then(|table| memlock(&table)),
        cpus: cpus(host),
        clock_source: text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        cpu_flags: cpu_info.and_then(|info| flags(&info)),
        memory_available: field(&memory, "MemAvailable:").and_then(kib),
        huge_pages_free: number(pages.join("free_hugepages")),
        huge_pages: number(pages.join("nr_hugepages")),
        interfaces: names
            .filter_map(|name| {
                let basics = host.interfaces.get(name)?.clone();
                let folder = Path::new("/sys/class/net").join(name);
                let nic = Nic {
                    basics,
                    napi_defer_hard_irqs: number(folder.join("napi_defer_hard_irqs")),
                    gro_flush_timeout: number(folder.join("gro_flush_timeout")),
                    xdp: output("ip", &["-j", "link", "show", "dev", name]).and_then(|json| xdp(&json)),
                    offloads: offloads_of(name),
                };
                Some((name.to_owned(), nic))
            })
            .collect(),
    }
}

/// The offloads of an interface: sysfs does not tell, so ethtool is asked where it is installed.
fn offloads_of(name: &str) -> Option<BTreeMap<String, bool>> {
    output("ethtool", &["-k", name]).map(|text| offloads(&text))
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn number(path: impl AsRef<Path>) -> Option<u64> {
    text(path)?.parse().ok()
}

/// What a program prints; `None` when it is not installed or fails.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    // Where Debian has them: they are not on the PATH of ordinary users.
    let places = ["", "/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"];
    let output = places.iter().find_map(|place| {
        let mut command = Command::new(format!("{place}{program}"));
        command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).output().ok()
    })?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The value of the line that begins with `key`.
fn field<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim)
}

/// `1234 kB` in bytes.
fn kib(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn has_protocol(table: &str, name: &str) -> bool {
    table.lines().any(|line| line.split_ascii_whitespace().next() == Some(name))
}

/// The soft limit of the line `Max locked memory  65536  65536  bytes`.
fn memlock(table: &str) -> Option<u64> {
    match field(table, "Max locked memory")?.split_ascii_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn flags(cpu_info: &str) -> Option<BTreeSet<String>> {
    let (_, flags) = cpu_info.lines().find(|line| line.starts_with("flags"))?.split_once(':')?;
    Some(flags.split_ascii_whitespace().map(str::to_owned).collect())
}

fn cpus(host: &Host) -> BTreeMap<usize, Cpu> {
    let folder = Path::new("/sys/devices/system/cpu");
    let list = |path: &Path| text(path).map(|text| cpu_list(&text)).unwrap_or_default();
    let isolated = list(&folder.join("isolated"));
    let online = list(&folder.join("online"));
    online
        .into_iter()
        .map(|id| {
            let own = folder.join(format!("cpu{id}"));
            let cpu = Cpu {
                allowed: host.cpus.contains(&id),
                isolated: isolated.contains(&id),
                siblings: list(&own.join("topology/thread_siblings_list")),
                governor: text(own.join("cpufreq/scaling_governor")),
            };
            (id, cpu)
        })
        .collect()
}

/// `0-2,5` is 0, 1, 2, 5. What makes no sense is left out.
fn cpu_list(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<usize>().ok()?, last.trim().parse::<usize>().ok()?);
        // No machine has more; a list that says so is not one.
        (last < 1 << 16).then_some(first..=last)
    };
    text.split(',').filter_map(range).flatten().collect()
}

/// The XDP program in what `ip -j link show` prints.
fn xdp(json: &str) -> Option<Xdp> {
    let links: serde_json::Value = serde_json::from_str(json).ok()?;
    let link = links.as_array()?.first()?;
    let Some(xdp) = link.get("xdp") else { return Some(Xdp::Free) };
    // Of an older ip: the program is in the list `attached`.
    let program = xdp.get("prog").or_else(|| xdp.get("attached")?.as_array()?.first()?.get("prog"));
    Some(Xdp::Program(program.and_then(|program| program.get("id")?.as_u64()).unwrap_or(0)))
}

/// `name: on [fixed]` a line, from `ethtool -k`.
fn offloads(text: &str) -> BTreeMap<String, bool> {
    let lines = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        match value.split_ascii_whitespace().next()? {
            "on" => Some((name.trim().to_owned(), true)),
            "off" => Some((name.trim().to_owned(), false)),
            _ => None,
        }
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_kernel_are_understood() {
        assert!(has_protocol("protocol  size\nXDP       1024\nUDP 1", "XDP"));
        assert!(!has_protocol("protocol  size\nXDPX      1024", "XDP"));
        assert_eq!(
            memlock("Limit  Soft\nMax locked memory         8388608   8388608   bytes"),
            Some(8_388_608)
        );
        assert_eq!(
            memlock("Max locked memory         unlimited            unlimited     bytes"),
            Some(u64::MAX)
        );
        assert_eq!(cpu_list("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(cpu_list(""), [0usize; 0]);
        assert_eq!(cpu_list("3-1,x,0-99999999999"), [0usize; 0]);
        assert_eq!(field("a: 1\nMemAvailable:  12 kB\n", "MemAvailable:").and_then(kib), Some(12_288));
        assert!(flags("flags\t\t: fpu tsc constant_tsc\n").unwrap().contains("constant_tsc"));
    }

    #[test]
    fn output_of_ip_and_ethtool_is_understood() {
        assert_eq!(xdp("[{\"ifname\":\"a\"}]"), Some(Xdp::Free));
        assert_eq!(xdp("[{\"xdp\":{\"mode\":1,\"prog\":{\"id\":42}}}]"), Some(Xdp::Program(42)));
        assert_eq!(
            xdp("[{\"xdp\":{\"mode\":4,\"attached\":[{\"prog\":{\"id\":7}}]}}]"),
            Some(Xdp::Program(7))
        );
        assert_eq!(xdp("nonsense"), None);
        let found = offloads("Features for a:\nrx-checksumming: on\n\ttx-checksum-ip-generic: off [fixed]\n");
        assert_eq!(
            found,
            BTreeMap::from([("rx-checksumming".into(), true), ("tx-checksum-ip-generic".into(), false)])
        );
    }
}
