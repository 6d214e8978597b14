//! From `[sockets]` and `[tcp]` to what the stack calls them. Every key of both ends in one of the three values here;
//! the one of `[udp]` in the sockets of the services.

use crate::config::model::{Buffer, Config, Congestion, Ecn, MtuProbing, SynCookies, Tcp};
use flumen_stack::SocketLimits;
use flumen_stack::socket::blocks::BLOCK;
use flumen_stack::tcp::congestion::Algorithm;
use flumen_stack::tcp::listen::{CookiePolicy, ListenSettings};
use flumen_stack::tcp::ports::PortRange;
use flumen_stack::tcp::recovery::SenderSettings;
use flumen_stack::tcp::settings::{self, BufferLimits, EcnPolicy, TcpSettings};
use flumen_stack::tcp::sockets::TcpConfig;
use flumen_stack::tcp::time_wait::TimeWaitSettings;

/// The least ranges of sent data, and of data received out of order, over all connections: a few busy connections
/// may need thousands each.
const MIN_RANGES: usize = 16_384;

/// Bounds of sockets.
pub fn socket_limits(config: &Config) -> SocketLimits {
    let sockets = &config.sockets;
    SocketLimits {
        udp: sockets.udp,
        raw: sockets.raw,
        blocks: sockets.memory / BLOCK,
        ephemeral: local_ports(config),
    }
}

/// The ports of sockets that name none. (The configuration was checked: the range is one.)
fn local_ports(config: &Config) -> PortRange {
    let (first, last) = config.sockets.local_ports;
    PortRange::new(first, last).unwrap_or_default()
}

/// Bounds and defaults of TCP.
pub fn tcp_config(config: &Config) -> TcpConfig {
    let (sockets, tcp) = (&config.sockets, &config.tcp);
    TcpConfig {
        connections: sockets.connections,
        listeners: sockets.listeners,
        requests: sockets.requests,
        time_waits: sockets.time_wait,
        // Connections that have nothing on the way hold none.
        runs: sockets.connections.max(MIN_RANGES),
        ranges: (sockets.connections / 4).max(MIN_RANGES),
        metrics: tcp.metrics,
        keep_ssthresh: tcp.save_ssthresh,
        challenge_acks: tcp.challenge_ack_limit,
        ephemeral: local_ports(config),
        time_wait: TimeWaitSettings {
            ignore_resets: tcp.rfc1337,
            reuse: tcp.tw_reuse,
            answer_interval: tcp.invalid_ratelimit,
        },
        settings: tcp_settings(tcp),
        fast_open_key: tcp.fast_open_key,
    }
}

fn tcp_settings(tcp: &Tcp) -> TcpSettings {
    let buffer = |Buffer { min, initial, max }| BufferLimits { min, initial, max };
    TcpSettings {
        sender: SenderSettings {
            algorithm: match tcp.congestion {
                Congestion::Cubic => Algorithm::Cubic,
                Congestion::Reno => Algorithm::NewReno,
                Congestion::Bbr => Algorithm::Bbr,
            },
            initial_window: tcp.initial_window,
            rto_min: tcp.rto_min,
            rto_max: tcp.rto_max,
            rto_initial: tcp.rto_initial,
            syn_linear_timeouts: tcp.syn_linear_timeouts,
            slow_start_after_idle: tcp.slow_start_after_idle,
            frto: tcp.frto,
            tail_loss_probe: tcp.tail_loss_probe,
            reordering: tcp.reordering,
            max_reordering: tcp.max_reordering,
            pacing_slow_start_percent: tcp.pacing_ss_ratio,
            pacing_percent: tcp.pacing_ca_ratio,
        },
        receive: buffer(tcp.receive_buffer),
        send: buffer(tcp.send_buffer),
        window_max: tcp.max_window,
        window_scaling: tcp.window_scaling,
        timestamps: tcp.timestamps,
        sack: tcp.sack,
        dsack: tcp.dsack,
        ecn: match tcp.ecn {
            Ecn::Off => EcnPolicy::Off,
            Ecn::On => EcnPolicy::On,
            Ecn::Passive => EcnPolicy::Passive,
        },
        autotune: tcp.moderate_rcvbuf,
        syn_retries: tcp.syn_retries,
        synack_retries: tcp.synack_retries,
        retries1: tcp.retries1,
        retries2: tcp.retries2,
        orphan_retries: tcp.orphan_retries,
        fin_timeout: tcp.fin_timeout,
        keepalive_time: tcp.keepalive_time,
        keepalive_interval: tcp.keepalive_interval,
        keepalive_probes: tcp.keepalive_probes,
        invalid_ratelimit: tcp.invalid_ratelimit,
        mtu_probing: match tcp.mtu_probing {
            MtuProbing::Off => settings::MtuProbing::Off,
            MtuProbing::BlackHole => settings::MtuProbing::BlackHole,
            MtuProbing::On => settings::MtuProbing::On,
        },
        base_mss: tcp.base_mss,
        min_snd_mss: tcp.min_snd_mss,
        notsent_lowat: tcp.notsent_lowat.unwrap_or(u32::MAX),
        path_mtu_discovery: tcp.path_mtu_discovery,
    }
}

/// What a listener does with SYNs.
pub fn listen_settings(tcp: &Tcp, backlog: u32) -> ListenSettings {
    ListenSettings {
        backlog: backlog as usize,
        cookies: match tcp.syncookies {
            SynCookies::Off => CookiePolicy::Never,
            SynCookies::On => CookiePolicy::UnderPressure,
            SynCookies::Always => CookiePolicy::Always,
        },
        synack_retries: tcp.synack_retries,
        fast_open: if tcp.fast_open_all { usize::MAX } else { 0 },
        abort_on_overflow: tcp.abort_on_overflow,
        window_scaling: tcp.window_scaling,
        timestamps: tcp.timestamps,
        sack: tcp.sack,
        ecn: tcp.ecn != Ecn::Off,
        invalid_ratelimit: tcp.invalid_ratelimit,
        max_window: tcp.max_window,
        receive_buffer: tcp.receive_buffer.initial,
        ..ListenSettings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_the_configuration_are_those_of_the_stack() {
        let tcp = Tcp::default();
        assert_eq!(tcp_settings(&tcp), TcpSettings::default());
        let listen = ListenSettings { backlog: 4096, ..ListenSettings::default() };
        assert_eq!(listen_settings(&tcp, 4096), listen);
    }

    #[test]
    fn listeners_that_open_fast_are_all_or_those_that_ask() {
        let fast_opens =
            |fast_open_all| listen_settings(&Tcp { fast_open_all, ..Tcp::default() }, 16).fast_open;
        assert_eq!([fast_opens(false), fast_opens(true)], [0, usize::MAX]);
    }
}
