//! From a scenario to what is done: defaults, and what must hold between values. Everything that cannot work is
//! refused here, before a port is touched; an option that would mean nothing beside another one is refused too.

use super::generator::Generator;
use super::limits::{MAX_FLOWS, MAX_HOSTS, MAX_QUEUES, MAX_STREAMS};
use super::rate::{Budget, Rate};
use super::scenario::{End, Order, PortName, Protocol, Scenario, Span, Speed, Traffic};
use super::size::{FCS, Sizes};
use super::template::{Fields, Template};
use super::values::{Addresses, mac_number};
use af_xdp::Mode;
use af_xdp::nic::Interface;
use flumen::port::pcap::Replay;
use flumen_stack::MacAddr;
use flumen_stack::limits::BURST;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The station address of a side without an interface.
const NO_INTERFACE: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])];

/// The MTU of a side without an interface.
const ANY_MTU: u32 = flumen_stack::limits::MAX_MTU as u32;

/// How long to wait for the last frames, unless said: RFC 2544 section 23 says two seconds.
const WAIT: Duration = Duration::from_secs(2);

/// How long an interface may take to find its carrier.
const CARRIER: Duration = Duration::from_secs(3);

/// One side, as it will be opened.
#[derive(Debug, Clone)]
pub struct Side {
    /// What it is.
    pub port: PortName,
    /// How AF_XDP is to run.
    pub mode: Mode,
    /// Queues from 0.
    pub queues: u16,
    /// Processors of the workers; none: one worker, not pinned.
    pub cpus: Vec<usize>,
    /// What it answers for.
    pub addresses: Vec<IpNet>,
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// Its MTU.
    pub mtu: u32,
    /// Bits a second of its line, where that is known.
    pub line: Option<u64>,
}

/// What is sent. A run changes rate, sizes and time of one and the same load.
#[derive(Debug, Clone)]
pub struct Load {
    /// What headers are drawn from.
    pub fields: Fields,
    /// Of frames, with the check sequence.
    pub sizes: Generator,
    /// How fast.
    pub rate: Rate,
    /// Frames in all.
    pub count: Option<u64>,
    /// How long.
    pub duration: Option<Duration>,
    /// Flows drawn ahead.
    pub flows: usize,
    /// Frames of one in a row.
    pub flow_length: u64,
    /// What a sequence runs through.
    pub order: Order,
    /// Frames are marked.
    pub mark: bool,
    /// Frames of a capture instead, its speed, and how often (0: again and again).
    pub replay: Option<(Arc<Replay>, Speed, u64)>,
    /// What is written over the destination of replayed frames.
    pub rewrite: Option<MacAddr>,
    /// Who must be asked for the destination's Ethernet address.
    pub next_hop: Option<IpAddr>,
    /// Frames worked on together at most.
    pub burst: usize,
    /// How long to wait for the last frames.
    pub wait: Duration,
    /// For chance.
    pub seed: u64,
    /// Bits a second of the sender's line.
    pub line: Option<u64>,
}

impl Load {
    /// What the pacer of one of `senders` adds up; `None` where nothing is paced by rate.
    ///
    /// # Errors
    /// A rate that cannot be.
    pub fn budget(&self, senders: usize) -> Result<Option<Budget>, String> {
        let mean = match &self.replay {
            Some((_, Speed::Recorded(_), _)) => return Ok(None),
            Some((replay, Speed::Rate, _)) => {
                let lengths = (0..replay.len()).filter_map(|index| replay.packet(index));
                let sum: usize = lengths.map(|(_, packet)| packet.len() + FCS).sum();
                sum as f64 / replay.len().max(1) as f64
            }
            None => self.sizes.mean(),
        };
        self.rate.budget(self.line, mean, senders)
    }
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The sending side.
    pub tx: Option<Side>,
    /// The receiving side.
    pub rx: Option<Side>,
    /// What is sent.
    pub load: Load,
}

/// Looks at the interfaces of this namespace, and lays the scenario over them.
///
/// # Errors
/// One line that says what cannot work and what to change.
pub fn plan(scenario: &Scenario) -> Result<Plan, String> {
    let Scenario { tx, rx, traffic } = scenario;
    if tx.is_none() && rx.is_none() {
        return Err(
            "nothing to do: name a port that sends (`tx`), one that receives (`rx`), or both".to_owned()
        );
    }
    let tx = tx.as_ref().map(|end| side("tx", end, NO_INTERFACE[0])).transpose()?;
    let rx = rx.as_ref().map(|end| side("rx", end, NO_INTERFACE[1])).transpose()?;
    wires(tx.as_ref(), rx.as_ref())?;
    meaningless(traffic, tx.is_some())?;
    let load = load(traffic, tx.as_ref())?;
    Ok(Plan { tx, rx, load })
}

fn side(name: &str, end: &End, mac: MacAddr) -> Result<Side, String> {
    let Some(port) = end.port.clone() else {
        return Err(format!("[{name}] has no `port`: an interface, `pcap:FILE`, `memory` or `null`"));
    };
    let queues = end.queues.unwrap_or(1);
    if queues == 0 || queues > MAX_QUEUES {
        return Err(format!("[{name}] queues is a number from 1 to {MAX_QUEUES}, not {queues}"));
    }
    if end.addresses.len() > MAX_HOSTS {
        return Err(format!(
            "[{name}] has more than {MAX_HOSTS} addresses; a prefix stands for all its hosts"
        ));
    }
    let mut side = Side {
        mode: end.mode.unwrap_or(Mode::Auto),
        queues,
        cpus: end.cpus.clone(),
        addresses: end.addresses.clone(),
        mac,
        mtu: ANY_MTU,
        line: match end.line_rate {
            None => None,
            Some(Rate::Bits(rate)) => Some(rate),
            Some(other) => return Err(format!("[{name}] line_rate is in bit/s, not {other}")),
        },
        port,
    };
    if let PortName::Interface(interface) = &side.port {
        let nic = Interface::open(interface).map_err(|error| error.to_string())?;
        if !link_is_up(&nic)? {
            return Err(format!("{interface} is down, or has no carrier: `ip link set {interface} up`"));
        }
        let has = nic.queues().map_err(|error| error.to_string())?;
        if u32::from(queues) > has {
            return Err(format!(
                "{interface} has {has} queues, and {queues} are asked for: `ethtool -L` adds some"
            ));
        }
        (side.mac, side.mtu) = (MacAddr(nic.mac), nic.mtu);
        side.line = side.line.or_else(|| speed(interface));
    } else if queues != 1 || end.mode.is_some() {
        return Err(format!(
            "[{name}] `queues` and `mode` mean something for interfaces alone, not for {}",
            side.port
        ));
    }
    Ok(side)
}

/// Waits a little for a carrier: one that was just switched on has it later.
pub(crate) fn link_is_up(nic: &Interface) -> Result<bool, String> {
    let deadline = Instant::now() + CARRIER;
    loop {
        let up = nic.is_up().map_err(|error| error.to_string())?;
        if up || Instant::now() >= deadline {
            return Ok(up);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Bits a second that an interface says it runs at; virtual ones say nothing, or something that means nothing.
fn speed(interface: &str) -> Option<u64> {
    let virtual_one = std::fs::canonicalize(format!("/sys/class/net/{interface}")).ok()?;
    if virtual_one.starts_with("/sys/devices/virtual") {
        return None;
    }
    let text = std::fs::read_to_string(format!("/sys/class/net/{interface}/speed")).ok()?;
    let megabits: u64 = text.trim().parse().ok().filter(|speed| *speed > 0)?;
    Some(megabits * 1_000_000)
}

fn wires(tx: Option<&Side>, rx: Option<&Side>) -> Result<(), String> {
    let is_memory = |side: Option<&Side>| side.is_some_and(|side| side.port == PortName::Memory);
    if is_memory(tx) != is_memory(rx) {
        return Err("`memory` is a wire with two ends: it must be the port of [tx] and of [rx]".to_owned());
    }
    if rx.is_some_and(|side| side.port == PortName::Null) {
        return Err("nothing ever arrives at `null`: it can send only".to_owned());
    }
    if let (Some(tx), Some(rx)) = (tx, rx)
        && tx.port == rx.port
        && matches!(tx.port, PortName::Interface(_))
        && (tx.queues != rx.queues || tx.mode != rx.mode || (!rx.cpus.is_empty() && rx.cpus != tx.cpus))
    {
        return Err(format!("{} sends and receives: queues, mode and cpus are those of [tx]", tx.port));
    }
    Ok(())
}

/// What was said and would be ignored.
fn meaningless(traffic: &Traffic, sends: bool) -> Result<(), String> {
    let made = [
        ("protocol", traffic.protocol.is_some()),
        ("size", traffic.size.is_some()),
        ("flows", traffic.flows > 0),
        ("sequence", traffic.sequence.is_some()),
        ("source_mac", traffic.source_mac.is_some()),
        ("next_hop", traffic.next_hop.is_some()),
        ("vlan", traffic.vlan.is_some()),
        ("source", traffic.source.is_some()),
        ("destination", traffic.destination.is_some()),
        ("source_port", traffic.source_port.is_some()),
        ("destination_port", traffic.destination_port.is_some()),
        ("ttl", traffic.ttl.is_some()),
        ("tos", traffic.tos.is_some()),
        ("checksum", !traffic.checksum),
    ];
    let sent = [
        ("replay", traffic.replay.is_some()),
        ("rate", traffic.rate.is_some()),
        ("destination_mac", traffic.destination_mac.is_some()),
    ];
    let said = |list: &[(&'static str, bool)]| list.iter().find(|(_, said)| *said).map(|(name, _)| *name);
    if !sends && let Some(name) = said(&made).or(said(&sent)) {
        return Err(format!("`{name}` is about what is sent, and no port sends: give `tx`"));
    }
    if traffic.replay.is_some() {
        if let Some(name) = said(&made) {
            return Err(format!(
                "`{name}` is about frames that are made, and those of a replay are sent as they are"
            ));
        }
        if traffic.rate.is_some() && matches!(traffic.speed, Some(Speed::Recorded(_))) {
            return Err("a replay goes as recorded or at a `rate`, not both".to_owned());
        }
    } else if traffic.speed.is_some() || traffic.repeat != 1 {
        return Err("`speed` and `repeat` are about a `replay`".to_owned());
    }
    if traffic.flow_length != 1 && traffic.flows == 0 {
        return Err("`flow_length` is about `flows`, of which there are none".to_owned());
    }
    if traffic.vlan_priority != 0 && traffic.vlan.is_none() {
        return Err("`vlan_priority` is about a `vlan`".to_owned());
    }
    if traffic.next_hop.is_some() && traffic.destination_mac.is_some() {
        return Err(
            "`next_hop` is asked for the Ethernet address that `destination_mac` gives already".to_owned()
        );
    }
    Ok(())
}

fn load(traffic: &Traffic, tx: Option<&Side>) -> Result<Load, String> {
    for (name, value, least, most) in [
        ("burst", traffic.burst as u64, 1, BURST as u64),
        ("vlan_priority", traffic.vlan_priority.into(), 0, 7),
        ("flows", traffic.flows as u64, 0, MAX_FLOWS as u64),
        ("flow_length", traffic.flow_length, 1, u64::MAX),
        ("count", traffic.count.unwrap_or(1), 1, u64::MAX),
    ] {
        if value < least || value > most {
            return Err(format!("`{name}` is a number from {least} to {most}, not {value}"));
        }
    }
    let sizes = traffic.size.clone().unwrap_or(Sizes(Generator::Fixed(64))).0;
    let replay = match &traffic.replay {
        None => None,
        Some(path) => {
            let replay = Replay::open(path, false).map_err(|error| error.to_string())?;
            let usual = if traffic.rate.is_some() { Speed::Rate } else { Speed::Recorded(1.0) };
            Some((Arc::new(replay), traffic.speed.unwrap_or(usual), traffic.repeat))
        }
    };
    let mut load = Load {
        fields: unused_fields(),
        sizes,
        rate: traffic.rate.unwrap_or_default(),
        count: traffic.count,
        duration: traffic.duration.map(|Span(duration)| duration),
        flows: traffic.flows,
        flow_length: traffic.flow_length,
        order: traffic.sequence.unwrap_or(Order::Worker),
        mark: traffic.mark && replay.is_none(),
        rewrite: None,
        next_hop: None,
        replay,
        burst: traffic.burst,
        wait: traffic.wait.map_or(WAIT, |Span(wait)| wait),
        seed: traffic.seed,
        line: tx.and_then(|tx| tx.line),
    };
    let Some(tx) = tx else { return Ok(load) };
    if load.replay.is_some() {
        if let Some(macs) = &traffic.destination_mac {
            let Some(mac) = macs.0.fixed() else {
                return Err("a replay takes one `destination_mac`, not several".to_owned());
            };
            let [_, _, octets @ ..] = (mac as u64).to_be_bytes();
            load.rewrite = Some(MacAddr(octets));
        }
        load.budget(tx.queues.into())?;
        return Ok(load);
    }
    load.fields = fields(traffic, tx)?;
    load.next_hop = next_hop(traffic, tx)?;
    frames_fit(&load, tx)?;
    let queues = usize::from(tx.queues);
    if load.order == Order::Flow && (load.flows == 0 || load.flows * queues > MAX_STREAMS) {
        return Err(format!(
            "`sequence = \"flow\"` follows each of 1 to {MAX_STREAMS} `flows` (over all queues), not {}",
            load.flows * queues
        ));
    }
    // Impossible rates are found before anything is opened.
    load.budget(queues)?;
    Ok(load)
}

/// Stands where nothing is made.
fn unused_fields() -> Fields {
    let zero = Generator::Fixed(0);
    Fields {
        protocol: Protocol::Udp,
        v6: false,
        source_mac: zero.clone(),
        destination_mac: zero.clone(),
        vlan: None,
        source: zero.clone(),
        destination: zero.clone(),
        source_port: zero.clone(),
        destination_port: zero.clone(),
        ttl: zero.clone(),
        tos: zero,
        checksum: true,
    }
}

fn fields(traffic: &Traffic, tx: &Side) -> Result<Fields, String> {
    let protocol = traffic.protocol.clone().unwrap_or(Protocol::Udp);
    let Some(destination) = traffic.destination.clone() else {
        return Err("give a `destination`: to whom are the packets?".to_owned());
    };
    let source = match traffic.source.clone() {
        Some(source) => source,
        None => own_address(tx, destination.v6)?,
    };
    if source.v6 != destination.v6 {
        return Err("`source` and `destination` are of different families".to_owned());
    }
    let has_ports = matches!(protocol, Protocol::Udp | Protocol::TcpSyn);
    if !has_ports && (traffic.source_port.is_some() || traffic.destination_port.is_some()) {
        return Err("ports are UDP's and TCP's: this `protocol` has none".to_owned());
    }
    if !traffic.checksum && (protocol != Protocol::Udp || destination.v6) {
        return Err("only UDP over IPv4 can do without a `checksum`".to_owned());
    }
    if let Protocol::Raw(numbers) = &protocol
        && let Some(name) = [(1, "icmp"), (6, "tcp-syn"), (17, "udp"), (58, "icmp")]
            .into_iter()
            .find_map(|(number, name)| numbers.0.can_give(number).then_some(name))
    {
        return Err(format!(
            "a raw `protocol` would be taken for broken {name}: say `{name}`, or other numbers"
        ));
    }
    let number = |value: &Option<super::values::Number<65535>>, default| {
        value.as_ref().map_or(Generator::Fixed(default), |number| number.0.clone())
    };
    let byte = |value: &Option<super::values::Bytes>, default| {
        value.as_ref().map_or(Generator::Fixed(default), |number| number.0.clone())
    };
    Ok(Fields {
        protocol,
        v6: destination.v6,
        source_mac: traffic
            .source_mac
            .as_ref()
            .map_or(Generator::Fixed(mac_number(tx.mac)), |macs| macs.0.clone()),
        destination_mac: traffic
            .destination_mac
            .as_ref()
            .map_or(Generator::Fixed(mac_number(NO_INTERFACE[1])), |macs| macs.0.clone()),
        vlan: traffic.vlan.as_ref().map(|vlans| (vlans.0.clone(), traffic.vlan_priority)),
        source: source.generator,
        destination: destination.generator,
        source_port: number(&traffic.source_port, 1000),
        destination_port: number(&traffic.destination_port, 9),
        ttl: byte(&traffic.ttl, 64),
        tos: byte(&traffic.tos, 0),
        checksum: traffic.checksum,
    })
}

fn own_address(tx: &Side, v6: bool) -> Result<Addresses, String> {
    let own = tx.addresses.iter().map(IpNet::addr).find(|address| address.is_ipv6() == v6);
    let own = own.ok_or("give a `source`: [tx] has no address of the destination's family")?;
    Ok(Addresses { generator: Generator::Fixed(super::values::address_number(own)), v6 })
}

/// Whose Ethernet address is needed and not given.
fn next_hop(traffic: &Traffic, tx: &Side) -> Result<Option<IpAddr>, String> {
    // Without an interface there is nobody to ask: the other end of the wire takes anything.
    if traffic.destination_mac.is_some() || !matches!(tx.port, PortName::Interface(_)) {
        return Ok(None);
    }
    let hop = traffic.next_hop.or_else(|| traffic.destination.as_ref().and_then(Addresses::fixed));
    let Some(hop) = hop else {
        return Err("whose Ethernet address? Give `next_hop`, or `destination_mac`".to_owned());
    };
    Ok(Some(hop))
}

/// The shortest frame has room for what is in it, and the longest for the MTU.
fn frames_fit(load: &Load, tx: &Side) -> Result<(), String> {
    let template = Template::new(&load.fields, 0, 1, 1);
    let (least, most) = (load.sizes.least() as usize, load.sizes.most() as usize);
    let shortest = template.shortest(load.mark);
    if least < shortest {
        let mark = if load.mark { " with a mark (`mark = false` does without)" } else { "" };
        return Err(format!("{least} bytes are too short for these headers{mark}: at least {shortest}"));
    }
    let longest = tx.mtu as usize + 14 + FCS + if load.fields.vlan.is_some() { 4 } else { 0 };
    if most > longest {
        return Err(format!(
            "{most} bytes are too long for {}: its MTU of {} takes {longest}",
            tx.port, tx.mtu
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(text: &str) -> Result<Plan, String> {
        plan(&Scenario::read(text).unwrap())
    }

    fn wrong(text: &str) -> String {
        let why = planned(text).unwrap_err();
        assert_eq!(why.lines().count(), 1, "{why}");
        why
    }

    /// Memory to memory with this traffic.
    fn traffic(text: &str) -> String {
        format!(
            "[tx]\nport = \"memory\"\naddresses = [\"10.0.0.1/32\"]\n[rx]\nport = \"memory\"\n[traffic]\n{text}"
        )
    }

    #[test]
    fn a_destination_is_enough() {
        let plan = planned(&traffic("destination = \"10.0.0.2\"")).unwrap();
        assert_eq!(plan.load.sizes.fixed(), Some(64));
        assert_eq!(plan.load.fields.source.fixed(), Some(0x0a00_0001), "the first address of [tx]");
        assert_eq!((plan.load.rate, plan.load.mark, plan.load.next_hop), (Rate::Full, true, None));
    }

    #[test]
    fn what_cannot_work_is_said_in_one_line() {
        assert!(wrong("").contains("nothing to do"));
        assert!(wrong("[tx]\n").contains("[tx] has no `port`"));
        assert!(
            wrong("[tx]\nport = \"nosuch0\"\n[traffic]\ndestination = \"10.0.0.1\"")
                .contains("no interface `nosuch0`")
        );
        assert!(wrong("[tx]\nport = \"memory\"").contains("a wire with two ends"));
        assert!(wrong("[rx]\nport = \"null\"").contains("it can send only"));
        assert!(wrong(&traffic("")).contains("give a `destination`"));
        assert!(
            wrong(&traffic("destination = \"fd00::1\"")).contains("no address of the destination's family")
        );
        assert!(
            wrong(&traffic("destination = \"10.0.0.2\"\nsource = \"fd00::1\""))
                .contains("different families")
        );
        let to = "destination = \"10.0.0.2\"\n";
        assert!(wrong(&traffic(&format!("{to}protocol = \"tcp-syn\""))).contains("at least 74"));
        assert!(planned(&traffic(&format!("{to}protocol = \"tcp-syn\"\nmark = false"))).is_ok());
        assert!(wrong(&traffic(&format!("{to}protocol = \"10..20\"\nsize = 100"))).contains("say `udp`"));
        assert!(
            wrong(&traffic(&format!("{to}replay = \"/nonexistent.pcap\"")))
                .contains("`destination` is about frames")
        );
        assert!(
            wrong(&traffic("replay = \"/nonexistent.pcap\"")).starts_with("/nonexistent.pcap: No such file")
        );
        assert!(wrong("[tx]\nport = \"null\"\nline_rate = \"1 Gbit/s\"\n[traffic]\ndestination = \"10.0.0.2\"\nsource = \"10.0.0.1\"\nrate = \"2 Gbit/s\"").contains("is impossible"));
        assert!(wrong(&traffic(&format!("{to}rate = \"50 %\""))).contains("line_rate"));
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        let to = "destination = \"10.0.0.2\"\n";
        for (line, word) in [
            ("flow_length = 2", "of which there are none"),
            ("vlan_priority = 1", "is about a `vlan`"),
            ("speed = \"2x\"", "about a `replay`"),
            ("repeat = 2", "about a `replay`"),
            ("protocol = \"icmp\"\nsource_port = 1", "has none"),
            ("protocol = \"icmp\"\nchecksum = false", "only UDP"),
            ("next_hop = \"10.0.0.9\"\ndestination_mac = \"02:00:00:00:00:07\"", "gives already"),
        ] {
            let why = wrong(&traffic(&format!("{to}{line}")));
            assert!(why.contains(word), "{line}: {why}");
        }
        let receive = "[rx]\nport = \"pcap:x\"\n[traffic]\n";
        assert!(wrong(&format!("{receive}size = 64")).contains("no port sends"));
        assert!(wrong(&format!("{receive}rate = \"1 pps\"")).contains("no port sends"));
        assert!(
            wrong("[tx]\nport = \"memory\"\nqueues = 2\n[rx]\nport = \"memory\"")
                .contains("for interfaces alone")
        );
    }

    #[test]
    fn numbers_may_be_as_large_as_their_limits_and_no_larger() {
        let to = "destination = \"10.0.0.2\"\n";
        let edge = |name: &str, ok: u64| {
            assert!(planned(&traffic(&format!("{to}{name} = {ok}"))).is_ok(), "{name} = {ok}");
            let why = wrong(&traffic(&format!("{to}{name} = {}", ok + 1)));
            assert!(why.contains(&format!("`{name}` is a number from")), "{why}");
        };
        edge("burst", BURST as u64);
        edge("flows", MAX_FLOWS as u64);
        assert!(wrong(&traffic(&format!("{to}count = 0"))).contains("`count`"));
        let flows = |count| traffic(&format!("{to}sequence = \"flow\"\nflows = {count}"));
        assert!(planned(&flows(MAX_STREAMS)).is_ok());
        assert!(wrong(&flows(MAX_STREAMS + 1)).contains("1 to 4096"));
        assert!(wrong(&flows(0)).contains("not 0"));
        let queues = |count: u16| format!("[tx]\nport = \"null\"\nqueues = {count}");
        assert!(wrong(&queues(MAX_QUEUES)).contains("for interfaces alone"), "the number itself is possible");
        assert!(wrong(&queues(MAX_QUEUES + 1)).contains("1 to 64"));
        let hosts = |count: usize| {
            let list = vec!["\"10.0.0.1/32\""; count].join(",");
            format!("[tx]\nport = \"null\"\naddresses = [{list}]\n[traffic]\ndestination = \"10.0.0.2\"")
        };
        assert!(planned(&hosts(MAX_HOSTS)).is_ok());
        assert!(wrong(&hosts(MAX_HOSTS + 1)).contains("more than 64"));
    }
}
