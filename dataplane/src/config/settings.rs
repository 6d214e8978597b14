//! `[limits]`, `[icmp]`, `[control]`, `[log]`: the tables that everybody may leave out. Their defaults are
//! here, each with its reason in `config/flumen.toml`.

use super::bounds;
use super::model::{Control, Icmp, Limits, Log, LogLevel};
use super::ports::{size, size32};
use super::read::{Section, Value};
use std::path::PathBuf;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            routes_ipv4: 1_200_000,
            routes_ipv6: 300_000,
            route_cache: 16_384,
            neighbours: 4096,
            pending_per_neighbour: 64,
            pending: 512,
            handoff: 1024,
            reassembly_memory: 4 << 20,
            reassembly_seconds_ipv4: flumen_stack::limits::REASSEMBLY_SECONDS_IPV4,
            reassembly_seconds_ipv6: flumen_stack::limits::REASSEMBLY_SECONDS_IPV6,
        }
    }
}

impl Default for Icmp {
    fn default() -> Icmp {
        Icmp {
            error_rate: 1000,
            error_burst: 50,
            class_rate: 750,
            class_burst: 38,
            echo_rate: 10_000,
            echo_burst: 500,
        }
    }
}

impl Default for Control {
    fn default() -> Control {
        Control { socket: PathBuf::from("/run/flumen/control.sock"), mode: 0o660 }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log { level: LogLevel::Info, martians: false }
    }
}

/// Reads `[limits]`.
pub fn read_limits(section: &Section<'_>) -> Limits {
    let default = Limits::default();
    let number = |key, range, default: usize| size(section.integer(key, range, default as i64));
    let limits = Limits {
        routes_ipv4: number("routes_ipv4", bounds::ROUTES_IPV4, default.routes_ipv4),
        routes_ipv6: number("routes_ipv6", bounds::ROUTES_IPV6, default.routes_ipv6),
        route_cache: size(section.power_of_two(
            "route_cache",
            bounds::ROUTE_CACHE,
            default.route_cache as i64,
        )),
        neighbours: number("neighbours", bounds::NEIGHBOURS, default.neighbours),
        pending_per_neighbour: number(
            "pending_per_neighbour",
            bounds::PENDING_PER_NEIGHBOUR,
            default.pending_per_neighbour,
        ),
        pending: number("pending", bounds::PENDING, default.pending),
        handoff: size(section.power_of_two("handoff", bounds::HANDOFF, default.handoff as i64)),
        reassembly_memory: number("reassembly_memory", bounds::REASSEMBLY_MEMORY, default.reassembly_memory),
        reassembly_seconds_ipv4: number(
            "reassembly_seconds_ipv4",
            bounds::REASSEMBLY_SECONDS,
            default.reassembly_seconds_ipv4 as usize,
        ) as u64,
        reassembly_seconds_ipv6: number(
            "reassembly_seconds_ipv6",
            bounds::REASSEMBLY_SECONDS,
            default.reassembly_seconds_ipv6 as usize,
        ) as u64,
    };
    if limits.pending_per_neighbour > limits.pending
        && let Some(value) = section.value("pending_per_neighbour").or_else(|| section.value("pending"))
    {
        value.wrong(
            format!(
                "`pending_per_neighbour` ({}) is more than `pending` ({})",
                limits.pending_per_neighbour, limits.pending
            ),
            "`pending` counts the packets that wait for all neighbours together",
        );
    }
    limits
}

/// Reads `[icmp]`.
pub fn read_icmp(section: &Section<'_>) -> Icmp {
    let default = Icmp::default();
    let number = |key, default: u32| size32(section.integer(key, bounds::ICMP_RATE, i64::from(default)));
    let icmp = Icmp {
        error_rate: number("error_rate", default.error_rate),
        error_burst: number("error_burst", default.error_burst),
        class_rate: number("class_rate", default.class_rate),
        class_burst: number("class_burst", default.class_burst),
        echo_rate: number("echo_rate", default.echo_rate),
        echo_burst: number("echo_burst", default.echo_burst),
    };
    for (rate_key, rate, burst_key, burst) in [
        ("error_rate", icmp.error_rate, "error_burst", icmp.error_burst),
        ("class_rate", icmp.class_rate, "class_burst", icmp.class_burst),
        ("echo_rate", icmp.echo_rate, "echo_burst", icmp.echo_burst),
    ] {
        if rate > 0
            && burst == 0
            && let Some(value) = section.value(burst_key)
        {
            value.wrong(
                format!("with `{burst_key}` 0 none is ever sent, whatever `{rate_key}` says"),
                format!("give it at least 1, or say `{rate_key} = 0` if none is meant"),
            );
        }
    }
    icmp
}

/// Reads `[control]`.
pub fn read_control(section: &Section<'_>) -> Control {
    let default = Control::default();
    let socket =
        section.value("socket").and_then(|value| read_socket(&value, "the path of the control socket"));
    let mode = section.value("mode").and_then(|value| read_mode(&value));
    Control { socket: socket.unwrap_or(default.socket), mode: mode.unwrap_or(default.mode) }
}

/// The path of a unix socket, which a problem calls `what`.
pub fn read_socket(value: &Value<'_>, what: &str) -> Option<PathBuf> {
    let path = PathBuf::from(value.name("/run/flumen/control.sock")?);
    if !path.is_absolute() {
        value.wrong(format!("{what} must be absolute"), "begin it with a slash: tools look for it");
    }
    // sun_path of sockaddr_un has 108 bytes, the last of which is zero.
    if path.as_os_str().len() > 107 {
        value.wrong(format!("{what} is too long"), "Linux allows 107 bytes");
    }
    Some(path)
}

/// Permission bits, in octal.
pub fn read_mode(value: &Value<'_>) -> Option<u32> {
    let text = value.string("0660")?;
    let octal = text.len() <= 4 && !text.is_empty() && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777);
    if mode.is_none() {
        value.wrong(format!("\"{text}\" is not a set of permissions"), "write them in octal, as in \"0660\"");
    }
    mode
}

/// Reads `[log]`.
pub fn read_log(section: &Section<'_>) -> Log {
    let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
    let words = levels.map(|level| (level.name(), level));
    let martians = section.boolean("martians", Log::default().martians);
    Log { level: section.word("level", &words, Log::default().level), martians }
}
