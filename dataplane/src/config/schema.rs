//! Every key that a configuration may have. What is not in here is an unknown key; a test checks that each
//! is read (a value of a wrong type is noticed) and that each is explained in `config/flumen.toml`.

/// A table of the file.
#[derive(Debug)]
pub struct Spec {
    /// How a person writes it: `[[port]]`.
    pub name: &'static str,
    /// Its keys.
    pub keys: &'static [&'static str],
}

/// The file itself.
pub const FILE: Spec = Spec {
    name: "the file",
    keys: &[
        "port",
        "core",
        "route",
        "table",
        "rule",
        "routing",
        "multicast",
        "multicast_route",
        "neighbour",
        "service",
        "routes_file",
        "limits",
        "icmp",
        "sockets",
        "tcp",
        "udp",
        "programs",
        "control",
        "log",
    ],
};

/// `[[port]]`, of every kind: [`kinds_of_key`] tells whose a key is.
pub const PORT: Spec = Spec {
    name: "[[port]]",
    keys: &[
        "name",
        "kind",
        "mtu",
        "mac",
        "addresses",
        "forwarding",
        "rp_filter",
        "checksum",
        "tx_queue",
        "distribute",
        "interface",
        "mode",
        "queues",
        "rings",
        "multi_buffer",
        "need_wakeup",
        "tx_checksum",
        "busy_poll",
        "napi_defer",
        "kick",
        "transmit",
        "claim",
        "never",
        "read",
        "repeat",
        "write",
        "peer",
        "ring",
        "parent",
        "vlan",
        "protocol",
        "priority",
        "accept_redirects",
        "send_redirects",
        "address_mask_replies",
        "dad",
        "arp_probe",
        "announce",
        "proxy_arp",
        "proxy_nd",
        "autoconf",
        "advertise",
    ],
};

/// The kinds of port that alone have this key; none: every port has it.
pub fn kinds_of_key(key: &str) -> &'static [&'static str] {
    match key {
        "interface" => &["af_xdp", "tap"],
        "parent" | "vlan" | "protocol" | "priority" => &["vlan"],
        "mode" | "queues" | "rings" | "multi_buffer" | "need_wakeup" | "tx_checksum" | "busy_poll"
        | "napi_defer" | "kick" | "transmit" | "claim" | "never" => &["af_xdp"],
        "read" | "repeat" | "write" => &["pcap"],
        "peer" | "ring" => &["memory"],
        _ => &[],
    }
}

/// `advertise` of a port.
pub const ADVERTISE: Spec = Spec {
    name: "advertise",
    keys: &["interval", "lifetime", "prefixes", "valid", "preferred", "mtu", "dns", "managed", "other"],
};
/// `rings` of a port.
pub const RINGS: Spec = Spec { name: "rings", keys: &["rx", "tx", "fill", "completion"] };
/// `busy_poll` of a port.
pub const BUSY_POLL: Spec = Spec { name: "busy_poll", keys: &["prefer", "budget", "duration"] };
/// `napi_defer` of a port.
pub const NAPI_DEFER: Spec = Spec { name: "napi_defer", keys: &["hard_irqs", "gro_flush_timeout"] };
/// One rule of `claim` or `never`.
pub const RULE: Spec = Spec { name: "a rule", keys: &["address", "protocol", "ports"] };
/// `[[core]]`.
pub const CORE: Spec = Spec {
    name: "[[core]]",
    keys: &["cpu", "ports", "idle", "max_latency", "frames", "chunk", "hugepages", "burst"],
};
/// A table in `ports` of a core.
pub const SERVES: Spec = Spec { name: "an entry of `ports`", keys: &["port", "queues"] };
/// `[[route]]`.
pub const ROUTE: Spec = Spec {
    name: "[[route]]",
    keys: &["to", "via", "port", "type", "metric", "table", "mtu", "advmss", "window", "initcwnd"],
};
/// `[[table]]`.
pub const TABLE: Spec = Spec { name: "[[table]]", keys: &["name", "routes_ipv4", "routes_ipv6"] };
/// `[[rule]]`.
pub const POLICY_RULE: Spec = Spec {
    name: "[[rule]]",
    keys: &["priority", "from", "to", "in", "protocol", "source_ports", "ports", "tos", "table", "action"],
};
/// `[multicast]`.
pub const MULTICAST: Spec = Spec {
    name: "[multicast]",
    keys: &[
        "downstream",
        "upstream",
        "igmp",
        "mld",
        "robustness",
        "query_interval",
        "response_interval",
        "last_member_interval",
    ],
};
/// `[[multicast_route]]`.
pub const MULTICAST_ROUTE: Spec =
    Spec { name: "[[multicast_route]]", keys: &["group", "source", "in", "out"] };
/// A table in `out` of a multicast route.
pub const MULTICAST_OUT: Spec = Spec { name: "a way out", keys: &["port", "threshold"] };
/// `[routing]`.
pub const ROUTING: Spec = Spec { name: "[routing]", keys: &["multipath_hash"] };
/// A table in `via` of a route.
pub const NEXT_HOP: Spec = Spec { name: "a next hop", keys: &["via", "port", "weight"] };
/// `[[neighbour]]`.
pub const NEIGHBOUR: Spec = Spec { name: "[[neighbour]]", keys: &["port", "address", "mac"] };
/// `[limits]`.
pub const LIMITS: Spec = Spec {
    name: "[limits]",
    keys: &[
        "routes_ipv4",
        "routes_ipv6",
        "route_cache",
        "neighbours",
        "pending_per_neighbour",
        "pending",
        "handoff",
        "reassembly_memory",
        "reassembly_seconds_ipv4",
        "reassembly_seconds_ipv6",
    ],
};
/// `[icmp]`.
pub const ICMP: Spec = Spec {
    name: "[icmp]",
    keys: &["error_rate", "error_burst", "class_rate", "class_burst", "echo_rate", "echo_burst"],
};
/// `[[service]]`; those of `http` alone: [`is_of_http`].
pub const SERVICE: Spec = Spec {
    name: "[[service]]",
    keys: &[
        "kind",
        "listen",
        "protocols",
        "backlog",
        "connections",
        "idle_timeout",
        "directory",
        "responses",
        "upload",
        "max_body",
    ],
};

/// True for keys of a service that only a web server has.
pub fn is_of_http(key: &str) -> bool {
    matches!(key, "directory" | "responses" | "upload" | "max_body")
}

/// A table in `responses` of a service.
pub const RESPONSE: Spec = Spec { name: "a response", keys: &["path", "bytes"] };
/// `[sockets]`.
pub const SOCKETS: Spec = Spec {
    name: "[sockets]",
    keys: &["connections", "listeners", "requests", "time_wait", "udp", "raw", "memory", "local_ports"],
};
/// `[tcp]`.
pub const TCP: Spec = Spec {
    name: "[tcp]",
    keys: &[
        "congestion",
        "initial_window",
        "rto_min",
        "rto_max",
        "rto_initial",
        "syn_linear_timeouts",
        "slow_start_after_idle",
        "frto",
        "tail_loss_probe",
        "reordering",
        "max_reordering",
        "pacing_ss_ratio",
        "pacing_ca_ratio",
        "receive_buffer",
        "send_buffer",
        "max_window",
        "window_scaling",
        "timestamps",
        "sack",
        "dsack",
        "ecn",
        "moderate_rcvbuf",
        "syn_retries",
        "synack_retries",
        "retries1",
        "retries2",
        "orphan_retries",
        "fin_timeout",
        "keepalive_time",
        "keepalive_interval",
        "keepalive_probes",
        "invalid_ratelimit",
        "mtu_probing",
        "base_mss",
        "min_snd_mss",
        "notsent_lowat",
        "path_mtu_discovery",
        "syncookies",
        "fast_open",
        "fast_open_key",
        "abort_on_overflow",
        "rfc1337",
        "tw_reuse",
        "challenge_ack_limit",
        "save_ssthresh",
        "metrics",
    ],
};
/// `receive_buffer` and `send_buffer` of `[tcp]`.
pub const BUFFER: Spec = Spec { name: "a buffer", keys: &["min", "initial", "max"] };
/// `[udp]`.
pub const UDP: Spec = Spec { name: "[udp]", keys: &["receive_buffer"] };
/// `[programs]`.
pub const PROGRAMS: Spec = Spec {
    name: "[programs]",
    keys: &[
        "socket",
        "mode",
        "user",
        "group",
        "programs",
        "programs_per_user",
        "sockets",
        "receive_ring",
        "send_ring",
        "claim",
        "never",
        "low_ports",
        "reserve",
    ],
};
/// One of `reserve`.
pub const RESERVATION: Spec =
    Spec { name: "a reservation", keys: &["address", "protocol", "ports", "users"] };
/// `[control]`.
pub const CONTROL: Spec = Spec { name: "[control]", keys: &["socket", "mode"] };
/// `[log]`.
pub const LOG: Spec = Spec { name: "[log]", keys: &["level", "martians"] };

/// Every table.
pub const ALL: &[&Spec] = &[
    &FILE,
    &PORT,
    &ADVERTISE,
    &RINGS,
    &BUSY_POLL,
    &NAPI_DEFER,
    &RULE,
    &CORE,
    &SERVES,
    &ROUTE,
    &NEXT_HOP,
    &TABLE,
    &POLICY_RULE,
    &ROUTING,
    &MULTICAST,
    &MULTICAST_ROUTE,
    &MULTICAST_OUT,
    &NEIGHBOUR,
    &LIMITS,
    &ICMP,
    &SERVICE,
    &RESPONSE,
    &SOCKETS,
    &TCP,
    &BUFFER,
    &UDP,
    &PROGRAMS,
    &RESERVATION,
    &CONTROL,
    &LOG,
];
