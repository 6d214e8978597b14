//! `[sockets]`, `[tcp]`, `[udp]`: the data plane's own host. Everybody may leave them out. The defaults are in
//! `model/transport.rs`, the bounds in `bounds.rs`, and what each key means in `config/flumen.toml`.

use super::bounds;
use super::model::{Buffer, Congestion, Ecn, MtuProbing, Sockets, SynCookies, Tcp, Udp};
use super::ports::{size, size32};
use super::problem::Problem;
use super::read::{Section, Value};
use super::schema;
use core::ops::RangeInclusive;
use core::time::Duration;
use flumen_stack::tcp::secret::Secret;

/// Reads `[sockets]`.
pub fn read_sockets(section: &Section<'_>) -> Sockets {
    let default = Sockets::default();
    let number = |key, range, default: usize| size(section.integer(key, range, default as i64));
    Sockets {
        connections: number("connections", bounds::CONNECTIONS, default.connections),
        listeners: number("listeners", bounds::LISTENERS, default.listeners),
        requests: number("requests", bounds::REQUESTS, default.requests),
        time_wait: number("time_wait", bounds::TIME_WAIT, default.time_wait),
        udp: number("udp", bounds::UDP_SOCKETS, default.udp),
        raw: number("raw", bounds::RAW_SOCKETS, default.raw),
        memory: number("memory", bounds::SOCKET_MEMORY, default.memory >> 20) << 20,
        local_ports: read_local_ports(section).unwrap_or(default.local_ports),
    }
}

/// Two port numbers: the first and the last.
fn read_local_ports(section: &Section<'_>) -> Option<(u16, u16)> {
    let value = section.value("local_ports")?;
    let both = value.list(2, "[32768, 60999]")?;
    let [first, last] = both.as_slice() else {
        value.wrong("`local_ports` needs two port numbers", "the first and the last, as in [32768, 60999]");
        return None;
    };
    let port = |value: &super::read::Value<'_>| Some(value.integer(bounds::LOCAL_PORT)? as u16);
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        value.wrong(format!("{first} comes after {last}"), "write the lower one first");
        return None;
    }
    Some((first, last))
}

/// Reads `[udp]`.
pub fn read_udp(section: &Section<'_>) -> Udp {
    let default = Udp::default().receive_buffer as i64;
    Udp { receive_buffer: size(section.integer("receive_buffer", bounds::UDP_RECEIVE_BUFFER, default)) }
}

/// Reads `[tcp]`.
pub fn read_tcp(section: &Section<'_>) -> Tcp {
    let default = Tcp::default();
    let number = |key, range, default: u16| section.integer(key, range, i64::from(default)) as u16;
    let small = |key, range, default: u8| section.integer(key, range, i64::from(default)) as u8;
    let truth = |key, default| section.boolean(key, default);
    let tcp = Tcp {
        congestion: section.word(
            "congestion",
            &[("cubic", Congestion::Cubic), ("reno", Congestion::Reno), ("bbr", Congestion::Bbr)],
            default.congestion,
        ),
        initial_window: number("initial_window", bounds::INITIAL_WINDOW, default.initial_window),
        rto_min: time(section, "rto_min", bounds::RTO, default.rto_min),
        rto_max: time(section, "rto_max", bounds::RTO, default.rto_max),
        rto_initial: time(section, "rto_initial", bounds::RTO, default.rto_initial),
        syn_linear_timeouts: small("syn_linear_timeouts", bounds::RETRIES, default.syn_linear_timeouts),
        slow_start_after_idle: truth("slow_start_after_idle", default.slow_start_after_idle),
        frto: truth("frto", default.frto),
        tail_loss_probe: truth("tail_loss_probe", default.tail_loss_probe),
        reordering: number("reordering", bounds::REORDERING, default.reordering),
        max_reordering: number("max_reordering", bounds::REORDERING, default.max_reordering),
        pacing_ss_ratio: number("pacing_ss_ratio", bounds::PACING_RATIO, default.pacing_ss_ratio),
        pacing_ca_ratio: number("pacing_ca_ratio", bounds::PACING_RATIO, default.pacing_ca_ratio),
        receive_buffer: read_buffer(section, "receive_buffer", default.receive_buffer),
        send_buffer: read_buffer(section, "send_buffer", default.send_buffer),
        max_window: size32(section.integer("max_window", bounds::WINDOW, i64::from(default.max_window))),
        window_scaling: truth("window_scaling", default.window_scaling),
        timestamps: truth("timestamps", default.timestamps),
        sack: truth("sack", default.sack),
        dsack: truth("dsack", default.dsack),
        ecn: section.word(
            "ecn",
            &[("off", Ecn::Off), ("on", Ecn::On), ("passive", Ecn::Passive)],
            default.ecn,
        ),
        moderate_rcvbuf: truth("moderate_rcvbuf", default.moderate_rcvbuf),
        syn_retries: small("syn_retries", bounds::RETRIES, default.syn_retries),
        synack_retries: small("synack_retries", bounds::RETRIES, default.synack_retries),
        retries1: small("retries1", bounds::RETRIES, default.retries1),
        retries2: small("retries2", bounds::RETRIES, default.retries2),
        orphan_retries: small("orphan_retries", bounds::RETRIES, default.orphan_retries),
        fin_timeout: time(section, "fin_timeout", bounds::FIN_TIMEOUT, default.fin_timeout),
        keepalive_time: time(section, "keepalive_time", bounds::KEEPALIVE, default.keepalive_time),
        keepalive_interval: time(
            section,
            "keepalive_interval",
            bounds::KEEPALIVE,
            default.keepalive_interval,
        ),
        keepalive_probes: small("keepalive_probes", bounds::KEEPALIVE_PROBES, default.keepalive_probes),
        invalid_ratelimit: time(
            section,
            "invalid_ratelimit",
            bounds::INVALID_RATELIMIT,
            default.invalid_ratelimit,
        ),
        mtu_probing: section.word(
            "mtu_probing",
            &[("off", MtuProbing::Off), ("black-hole", MtuProbing::BlackHole), ("on", MtuProbing::On)],
            default.mtu_probing,
        ),
        base_mss: number("base_mss", bounds::MSS, default.base_mss),
        min_snd_mss: number("min_snd_mss", bounds::MSS, default.min_snd_mss),
        notsent_lowat: section
            .value("notsent_lowat")
            .and_then(|value| value.integer(bounds::NOTSENT_LOWAT))
            .map(size32),
        path_mtu_discovery: truth("path_mtu_discovery", default.path_mtu_discovery),
        syncookies: section.word(
            "syncookies",
            &[("off", SynCookies::Off), ("on", SynCookies::On), ("always", SynCookies::Always)],
            default.syncookies,
        ),
        fast_open_all: section.word("fast_open", &[("asked", false), ("all", true)], default.fast_open_all),
        fast_open_key: section.value("fast_open_key").and_then(|value| read_key(&value)),
        abort_on_overflow: truth("abort_on_overflow", default.abort_on_overflow),
        rfc1337: truth("rfc1337", default.rfc1337),
        tw_reuse: truth("tw_reuse", default.tw_reuse),
        challenge_ack_limit: section
            .value("challenge_ack_limit")
            .and_then(|value| value.integer(bounds::CHALLENGE_ACKS))
            .map(size32),
        save_ssthresh: truth("save_ssthresh", default.save_ssthresh),
        metrics: size(section.integer("metrics", bounds::METRICS, default.metrics as i64)),
    };
    check_order(section, &tcp);
    tcp
}

/// A key as Linux writes that of its fast open cookies.
fn read_key(value: &Value<'_>) -> Option<Secret> {
    let example = "00112233-44556677-8899aabb-ccddeeff";
    let key = Secret::parse(value.string(example)?);
    if key.is_none() {
        value.wrong(
            "a key is four groups of up to eight hexadecimal digits".to_string(),
            format!("write something like \"{example}\""),
        );
    }
    key
}

/// Settings of which one must not be above another.
fn check_order(section: &Section<'_>, tcp: &Tcp) {
    for (low, high, wrong) in [
        ("rto_min", "rto_max", tcp.rto_min > tcp.rto_max),
        ("rto_initial", "rto_max", tcp.rto_initial > tcp.rto_max),
        ("reordering", "max_reordering", tcp.reordering > tcp.max_reordering),
        ("retries1", "retries2", tcp.retries1 > tcp.retries2),
        ("min_snd_mss", "base_mss", tcp.min_snd_mss > tcp.base_mss),
    ] {
        if wrong && let Some(value) = section.value(low).or_else(|| section.value(high)) {
            value.wrong(
                format!("`{low}` is more than `{high}`"),
                format!("lower `{low}`, or raise `{high}`, which may be the default"),
            );
        }
    }
}

fn time(section: &Section<'_>, key: &str, range: RangeInclusive<Duration>, default: Duration) -> Duration {
    section.value(key).and_then(|value| value.duration(range)).unwrap_or(default)
}

/// `{ min = …, initial = …, max = … }`, of which each may be left out.
fn read_buffer(section: &Section<'_>, key: &str, default: Buffer) -> Buffer {
    let example = "{ min = 4096, initial = 65536, max = 4194304 }";
    let Some(table) = section.value(key).and_then(|value| value.table(&schema::BUFFER, example)) else {
        return default;
    };
    let bytes = |key, default| size32(table.integer(key, bounds::BUFFER, i64::from(default)));
    let buffer = Buffer {
        min: bytes("min", default.min),
        initial: bytes("initial", default.initial),
        max: bytes("max", default.max),
    };
    if !(buffer.min <= buffer.initial && buffer.initial <= buffer.max) {
        let Buffer { min, initial, max } = buffer;
        table.reader().report(
            Problem::error(
                table.at,
                format!("`min` {min}, `initial` {initial}, `max` {max} are not in order"),
            )
            .help("what is left out has its default, which may be the one to change"),
        );
    }
    buffer
}
