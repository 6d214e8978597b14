//! The command line of a scenario: every key of the file is an option of the same meaning, and counts more. Shared by
//! `flumen-pktgen` and by the tests of `flumen-bench` that send.

use super::rate::Rate;
use super::scenario::{End, Order, PortName, Protocol, Scenario, Span, Speed};
use super::size::Sizes;
use super::values::{Addresses, Bytes, Macs, Ports, Vlans};
use af_xdp::Mode;
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::PathBuf;

/// How fields are written, for the end of `--help`.
pub const HELP: &str = "\
Fields take one value, a range (10.0.0.1..10.0.0.99, 1024..2048/2), a prefix, chance (random 1024..65535) or a list \
(80,443). Sizes count the check sequence: 64 is the shortest frame. Rates: 100 kpps, 2.5 Gbit/s, 50 %, full.

  flumen-pktgen --tx veth0 --rx veth1 --source 10.0.0.1 --destination 10.0.0.2 --rate '100 kpps' --duration 10s
  flumen-pktgen config/pktgen.toml --size imix --json";

/// A scenario and what is changed of it.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// A scenario (TOML); options count more than what it says
    scenario: Option<PathBuf>,
    /// Port that sends: an interface, pcap:FILE, memory, or null
    #[arg(long, value_name = "PORT")]
    tx: Option<PortName>,
    /// Port that receives: an interface, pcap:FILE, or memory
    #[arg(long, value_name = "PORT")]
    rx: Option<PortName>,
    /// Queues of the sending port
    #[arg(long, value_name = "N")]
    tx_queues: Option<u16>,
    /// Queues of the receiving port
    #[arg(long, value_name = "N")]
    rx_queues: Option<u16>,
    /// Processors of the senders
    #[arg(long, value_name = "CPU,...", value_delimiter = ',')]
    tx_cpus: Vec<usize>,
    /// Processors of the receivers
    #[arg(long, value_name = "CPU,...", value_delimiter = ',')]
    rx_cpus: Vec<usize>,
    /// AF_XDP on both ports: auto, zero-copy, native or generic
    #[arg(long)]
    mode: Option<Mode>,
    /// Answer ARP and ND for this at the sending port
    #[arg(long, value_name = "ADDRESS/LEN")]
    tx_address: Vec<IpNet>,
    /// Answer ARP and ND for this at the receiving port
    #[arg(long, value_name = "ADDRESS/LEN")]
    rx_address: Vec<IpNet>,
    /// Speed of the sender's line, where the interface does not say
    #[arg(long, value_name = "BIT/S")]
    line_rate: Option<Rate>,
    /// udp, tcp-syn, icmp, or numbers of raw protocols
    #[arg(long)]
    protocol: Option<Protocol>,
    /// Frame sizes, or imix
    #[arg(long)]
    size: Option<Sizes>,
    /// How fast
    #[arg(long)]
    rate: Option<Rate>,
    /// Frames in all
    #[arg(long)]
    count: Option<u64>,
    /// How long: 10s, 2 min
    #[arg(long)]
    duration: Option<Span>,
    /// Flows drawn ahead
    #[arg(long)]
    flows: Option<usize>,
    /// Frames of a flow in a row
    #[arg(long)]
    flow_length: Option<u64>,
    /// What a sequence runs through: worker or flow
    #[arg(long)]
    sequence: Option<Order>,
    /// Ethernet source
    #[arg(long, value_name = "MAC")]
    source_mac: Option<Macs>,
    /// Ethernet destination; otherwise the next hop is asked
    #[arg(long, value_name = "MAC")]
    destination_mac: Option<Macs>,
    /// Who is asked for the Ethernet destination
    #[arg(long, value_name = "ADDRESS")]
    next_hop: Option<IpAddr>,
    /// VLAN
    #[arg(long)]
    vlan: Option<Vlans>,
    /// Priority in the VLAN tag
    #[arg(long)]
    vlan_priority: Option<u8>,
    /// IP source
    #[arg(long, value_name = "ADDRESS")]
    source: Option<Addresses>,
    /// IP destination
    #[arg(long, value_name = "ADDRESS")]
    destination: Option<Addresses>,
    /// UDP or TCP source port
    #[arg(long, value_name = "PORT")]
    source_port: Option<Ports>,
    /// UDP or TCP destination port
    #[arg(long, value_name = "PORT")]
    destination_port: Option<Ports>,
    /// TTL or hop limit
    #[arg(long)]
    ttl: Option<Bytes>,
    /// TOS or traffic class
    #[arg(long)]
    tos: Option<Bytes>,
    /// Send UDP over IPv4 without checksum
    #[arg(long)]
    no_checksum: bool,
    /// Send without marks: no loss, order or latency
    #[arg(long)]
    no_mark: bool,
    /// Send the frames of a capture
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Speed of a replay: recorded, 2x, or rate
    #[arg(long)]
    speed: Option<Speed>,
    /// Rounds of a replay; 0: without end
    #[arg(long, value_name = "N")]
    repeat: Option<u64>,
    /// Frames worked on together, at most
    #[arg(long, value_name = "N")]
    burst: Option<usize>,
    /// How long to wait for the last frames
    #[arg(long, value_name = "TIME")]
    wait: Option<Span>,
    /// The same seed, the same chance
    #[arg(long)]
    seed: Option<u64>,
}

impl Flags {
    /// The scenario that file and options come to.
    ///
    /// # Errors
    /// One line about the file.
    pub fn scenario(self) -> Result<Scenario, String> {
        let mut scenario = match &self.scenario {
            Some(path) => Scenario::open(path)?,
            None => Scenario::default(),
        };
        self.over(&mut scenario);
        Ok(scenario)
    }

    /// Lays the options over what the file says.
    fn over(self, scenario: &mut Scenario) {
        fn put<T>(to: &mut Option<T>, from: Option<T>) {
            if from.is_some() {
                *to = from;
            }
        }
        fn set<T>(to: &mut T, from: Option<T>) {
            if let Some(from) = from {
                *to = from;
            }
        }
        let ends = [
            (&mut scenario.tx, self.tx, self.tx_queues, self.tx_cpus, self.tx_address, self.line_rate),
            (&mut scenario.rx, self.rx, self.rx_queues, self.rx_cpus, self.rx_address, None),
        ];
        for (end, port, queues, cpus, addresses, line_rate) in ends {
            let said = port.is_some() || queues.is_some() || !cpus.is_empty() || !addresses.is_empty();
            if !said && line_rate.is_none() && (end.is_none() || self.mode.is_none()) {
                continue;
            }
            let end = end.get_or_insert_with(End::default);
            put(&mut end.port, port);
            put(&mut end.queues, queues);
            let is_interface = matches!(end.port, Some(PortName::Interface(_)));
            put(&mut end.mode, self.mode.filter(|_| is_interface));
            put(&mut end.line_rate, line_rate);
            if !cpus.is_empty() {
                end.cpus = cpus;
            }
            if !addresses.is_empty() {
                end.addresses = addresses;
            }
        }
        let traffic = &mut scenario.traffic;
        put(&mut traffic.protocol, self.protocol);
        put(&mut traffic.size, self.size);
        put(&mut traffic.rate, self.rate);
        put(&mut traffic.count, self.count);
        put(&mut traffic.duration, self.duration);
        set(&mut traffic.flows, self.flows);
        set(&mut traffic.flow_length, self.flow_length);
        put(&mut traffic.sequence, self.sequence);
        put(&mut traffic.source_mac, self.source_mac);
        // One replaces the other: they say the same thing.
        if self.destination_mac.is_some() {
            traffic.next_hop = None;
        } else if self.next_hop.is_some() {
            traffic.destination_mac = None;
        }
        put(&mut traffic.destination_mac, self.destination_mac);
        put(&mut traffic.next_hop, self.next_hop);
        put(&mut traffic.vlan, self.vlan);
        set(&mut traffic.vlan_priority, self.vlan_priority);
        put(&mut traffic.source, self.source);
        put(&mut traffic.destination, self.destination);
        put(&mut traffic.source_port, self.source_port);
        put(&mut traffic.destination_port, self.destination_port);
        put(&mut traffic.ttl, self.ttl);
        put(&mut traffic.tos, self.tos);
        traffic.checksum &= !self.no_checksum;
        traffic.mark &= !self.no_mark;
        put(&mut traffic.replay, self.replay);
        put(&mut traffic.speed, self.speed);
        set(&mut traffic.repeat, self.repeat);
        set(&mut traffic.burst, self.burst);
        put(&mut traffic.wait, self.wait);
        set(&mut traffic.seed, self.seed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        flags: Flags,
    }

    fn scenario(arguments: &[&str]) -> Scenario {
        let all = ["pktgen"].iter().chain(arguments);
        Cli::try_parse_from(all).unwrap().flags.scenario().unwrap()
    }

    #[test]
    fn options_count_more_than_the_file_and_leave_the_rest_of_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[tx]\nport = \"a\"\ncpus = [1]\n[traffic]\nsize = 128\nttl = 9\n")
            .unwrap();
        let path = file.path().to_str().unwrap();
        let scenario = scenario(&[path, "--size", "imix", "--rx", "memory", "--tx-queues", "2", "--no-mark"]);
        let tx = scenario.tx.unwrap();
        assert_eq!(
            (tx.port, tx.queues, tx.cpus),
            (Some(PortName::Interface("a".to_owned())), Some(2), vec![1])
        );
        assert_eq!(scenario.rx.unwrap().port, Some(PortName::Memory));
        assert_eq!(scenario.traffic.size, Some("imix".parse().unwrap()));
        assert_eq!(scenario.traffic.ttl, Some("9".parse().unwrap()));
        assert!(!scenario.traffic.mark && scenario.traffic.checksum);
    }

    #[test]
    fn a_mode_is_for_interfaces_and_a_destination_replaces_the_next_hop() {
        let one = scenario(&[
            "--tx",
            "a",
            "--rx",
            "pcap:x",
            "--mode",
            "native",
            "--destination-mac",
            "02:00:00:00:00:01",
        ]);
        assert_eq!(one.tx.unwrap().mode, Some(Mode::NativeCopy));
        assert_eq!(one.rx.unwrap().mode, None);
        assert!(one.traffic.destination_mac.is_some() && one.traffic.next_hop.is_none());
    }

    #[test]
    fn a_value_that_is_none_is_refused_with_the_name_of_its_option() {
        let wrong = Cli::try_parse_from(["pktgen", "--ttl", "300"]).unwrap_err().to_string();
        let first = wrong.lines().next().unwrap();
        assert!(first.contains("--ttl") && first.contains("300 is more than 255"), "{first}");
    }
}
