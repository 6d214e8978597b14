//! A scenario: what to send, from where, to where, how fast and for how long. It is written in TOML, on the command
//! line, or both: what the command line says counts.
//!
//! Nothing is opened or measured here. What is wrong with one value is said with its line; what is wrong between values
//! is found by [`super::plan`].

use super::rate::Rate;
use super::size::Sizes;
use super::values::{Addresses, Bytes, Macs, Ports, Vlans};
use af_xdp::Mode;
use core::fmt;
use core::marker::PhantomData;
use core::str::FromStr;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// All of it. What is `None` was not said; [`super::plan`] knows the defaults.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Where frames leave; nothing is sent without it.
    pub tx: Option<End>,
    /// Where they are expected; without it nothing is counted but what is sent.
    pub rx: Option<End>,
    /// What is sent.
    pub traffic: Traffic,
}

/// One port of the generator.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct End {
    /// An interface, `pcap:FILE`, `memory` or `null`.
    pub port: Option<PortName>,
    /// How AF_XDP is to run.
    #[serde(deserialize_with = "text")]
    pub mode: Option<Mode>,
    /// Queues that are used, from 0.
    pub queues: Option<u16>,
    /// Processors of the workers; queues go round them.
    pub cpus: Vec<usize>,
    /// Addresses that it answers ARP and neighbour discovery for; prefixes stand for all their hosts.
    pub addresses: Vec<IpNet>,
    /// Bits a second of the line, where the interface does not say.
    #[serde(deserialize_with = "text")]
    pub line_rate: Option<Rate>,
}

/// What a port is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortName {
    /// A network interface, by AF_XDP.
    Interface(String),
    /// A capture: written by the sending side, read by the receiving side.
    Pcap(PathBuf),
    /// A wire in this process, from one side to the other.
    Memory,
    /// Frames are made and thrown away: what the generator itself can do.
    Null,
}

impl FromStr for PortName {
    type Err = String;
    fn from_str(text: &str) -> Result<PortName, String> {
        Ok(match text {
            "memory" => PortName::Memory,
            "null" => PortName::Null,
            "" => return Err("a port has a name".to_owned()),
            _ => match text.strip_prefix("pcap:") {
                Some("") => return Err("`pcap:` wants a file behind it".to_owned()),
                Some(file) => PortName::Pcap(file.into()),
                None => PortName::Interface(text.to_owned()),
            },
        })
    }
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortName::Interface(name) => f.write_str(name),
            PortName::Pcap(file) => write!(f, "pcap:{}", file.display()),
            PortName::Memory => f.write_str("memory"),
            PortName::Null => f.write_str("null"),
        }
    }
}

/// What the payload of IP is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// UDP datagrams.
    Udp,
    /// TCP segments with SYN.
    TcpSyn,
    /// Echo requests.
    Icmp,
    /// These protocol numbers, with nothing but payload behind the IP header.
    Raw(Bytes),
}

impl FromStr for Protocol {
    type Err = String;
    fn from_str(text: &str) -> Result<Protocol, String> {
        Ok(match text {
            "udp" => Protocol::Udp,
            "tcp-syn" => Protocol::TcpSyn,
            "icmp" => Protocol::Icmp,
            _ => Protocol::Raw(text.parse().map_err(|why| {
                format!("`{text}` is no protocol: udp, tcp-syn, icmp, or numbers of raw ones ({why})")
            })?),
        })
    }
}

/// What a sequence runs through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// All that a worker sends: the smallest loss shows at once.
    Worker,
    /// Each flow for itself: a device that spreads flows over queues reorders between them, and may.
    Flow,
}

impl FromStr for Order {
    type Err = String;
    fn from_str(text: &str) -> Result<Order, String> {
        match text {
            "worker" => Ok(Order::Worker),
            "flow" => Ok(Order::Flow),
            _ => Err(format!("`{text}` is neither `worker` nor `flow`")),
        }
    }
}

/// The speed of a replay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// As `rate` says.
    Rate,
    /// As it was recorded, so many times as fast.
    Recorded(f64),
}

impl FromStr for Speed {
    type Err = String;
    fn from_str(text: &str) -> Result<Speed, String> {
        let wrong = || format!("`{text}` is no speed: `recorded`, `2x`, or `rate`");
        match text {
            "recorded" => Ok(Speed::Recorded(1.0)),
            "rate" => Ok(Speed::Rate),
            _ => {
                let factor: f64 = text.strip_suffix('x').ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
                let possible = (1e-6..=1e6).contains(&factor);
                if possible { Ok(Speed::Recorded(factor)) } else { Err(wrong()) }
            }
        }
    }
}

/// What is sent. Texts are read as [`super::values`] says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Traffic {
    /// udp, tcp-syn, icmp, or numbers of raw protocols.
    #[serde(deserialize_with = "text")]
    pub protocol: Option<Protocol>,
    /// Of frames, with the check sequence.
    #[serde(deserialize_with = "text")]
    pub size: Option<Sizes>,
    /// How fast.
    #[serde(deserialize_with = "text")]
    pub rate: Option<Rate>,
    /// Frames in all.
    pub count: Option<u64>,
    /// How long.
    #[serde(deserialize_with = "text")]
    pub duration: Option<Span>,
    /// Flows that are drawn ahead and then sent in turn; 0: every frame draws its own fields.
    pub flows: usize,
    /// Frames of one flow in a row.
    pub flow_length: u64,
    /// What a sequence runs through.
    #[serde(deserialize_with = "text")]
    pub sequence: Option<Order>,
    /// Ethernet.
    #[serde(deserialize_with = "text")]
    pub source_mac: Option<Macs>,
    /// Ethernet.
    #[serde(deserialize_with = "text")]
    pub destination_mac: Option<Macs>,
    /// Whose Ethernet address is asked for, where `destination_mac` is not given.
    pub next_hop: Option<IpAddr>,
    /// VLAN tag.
    #[serde(deserialize_with = "text")]
    pub vlan: Option<Vlans>,
    /// Priority in the tag.
    pub vlan_priority: u8,
    /// IP.
    #[serde(deserialize_with = "text")]
    pub source: Option<Addresses>,
    /// IP.
    #[serde(deserialize_with = "text")]
    pub destination: Option<Addresses>,
    /// UDP, TCP.
    #[serde(deserialize_with = "text")]
    pub source_port: Option<Ports>,
    /// UDP, TCP.
    #[serde(deserialize_with = "text")]
    pub destination_port: Option<Ports>,
    /// TTL or hop limit.
    #[serde(deserialize_with = "text")]
    pub ttl: Option<Bytes>,
    /// TOS or traffic class.
    #[serde(deserialize_with = "text")]
    pub tos: Option<Bytes>,
    /// Sum UDP over IPv4; everything else has a checksum always.
    pub checksum: bool,
    /// Mark frames, for loss, order and latency.
    pub mark: bool,
    /// A capture whose frames are sent instead.
    pub replay: Option<PathBuf>,
    /// The speed of the replay.
    #[serde(deserialize_with = "text")]
    pub speed: Option<Speed>,
    /// How often the capture is sent; 0: again and again.
    pub repeat: u64,
    /// Frames worked on together at most.
    pub burst: usize,
    /// How long to wait for the last frames.
    #[serde(deserialize_with = "text")]
    pub wait: Option<Span>,
    /// Chance is the same for the same seed.
    pub seed: u64,
}

impl Default for Traffic {
    fn default() -> Traffic {
        Traffic {
            protocol: None,
            size: None,
            rate: None,
            count: None,
            duration: None,
            flows: 0,
            flow_length: 1,
            sequence: None,
            source_mac: None,
            destination_mac: None,
            next_hop: None,
            vlan: None,
            vlan_priority: 0,
            source: None,
            destination: None,
            source_port: None,
            destination_port: None,
            ttl: None,
            tos: None,
            checksum: true,
            mark: true,
            replay: None,
            speed: None,
            repeat: 1,
            burst: flumen_stack::limits::BURST,
            wait: None,
            seed: 1,
        }
    }
}

/// A duration: a number and its unit, `10s`, `500 ms`; also minutes and hours, because people measure for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Span, String> {
        let long = |suffix, seconds: u64| {
            let number: u64 = text.strip_suffix(suffix)?.trim().parse().ok()?;
            number.checked_mul(seconds).map(Duration::from_secs)
        };
        flumen::config::read::parse_duration(text)
            .or_else(|| long("min", 60))
            .or_else(|| long("h", 3600))
            .map(Span)
            .ok_or_else(|| format!("`{text}` is no duration: a number and ns, us, ms, s, min or h"))
    }
}

/// A value that is read by `FromStr`, from a text, a number, or an array that stands for a list.
fn text<'de, T: FromStr<Err = String>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    struct Visitor<T>(PhantomData<T>);
    impl<'de, T: FromStr<Err = String>> de::Visitor<'de> for Visitor<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text, a number, or an array of them")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
        fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
            self.visit_str(&number.to_string())
        }
        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<T, A::Error> {
            #[derive(Deserialize)]
            #[serde(untagged)]
            enum One {
                Number(i64),
                Text(String),
            }
            let mut values = Vec::new();
            while let Some(one) = list.next_element()? {
                values.push(match one {
                    One::Number(number) => number.to_string(),
                    One::Text(text) => text,
                });
            }
            values.join(",").parse().map_err(de::Error::custom)
        }
    }
    from.deserialize_any(Visitor(PhantomData)).map(Some)
}

impl<'de> Deserialize<'de> for PortName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<PortName, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// One line: the file, line and column, and what is wrong there.
    pub fn open(path: &Path) -> Result<Scenario, String> {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        Scenario::read(&text).map_err(|error| format!("{name}{error}"))
    }

    /// Reads a text.
    ///
    /// # Errors
    /// `:LINE:COLUMN: what is wrong`.
    pub fn read(text: &str) -> Result<Scenario, String> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!(":{line}:{column}: {}", error.message().replace('\n', " "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::generator::Generator;
    use super::*;

    #[test]
    fn a_scenario_is_read_with_numbers_texts_and_arrays() {
        let scenario = Scenario::read(
            r#"
            [tx]
            port = "lan0"
            addresses = ["10.0.1.2/32", "fd00:1::2/128"]
            cpus = [0]
            [rx]
            port = "pcap:/tmp/x.pcap"
            [traffic]
            size = "imix"
            rate = "10 kpps"
            duration = "2 min"
            source_port = [1000, 1002]
            destination_port = 9
            destination = "random 10.0.0.0/8"
            "#,
        )
        .unwrap();
        let traffic = &scenario.traffic;
        assert_eq!(scenario.tx.unwrap().port, Some(PortName::Interface("lan0".to_owned())));
        assert_eq!(scenario.rx.unwrap().port, Some(PortName::Pcap("/tmp/x.pcap".into())));
        assert_eq!(traffic.duration, Some(Span(Duration::from_secs(120))));
        let ports = traffic.source_port.as_ref().unwrap();
        assert_eq!(ports.0, Generator::List { values: vec![1000, 1002], next: 0 });
        assert_eq!(traffic.destination_port, Some("9".parse().unwrap()));
        assert!(traffic.checksum && traffic.mark, "defaults");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_column_in_one_line() {
        let wrong = |text: &str| Scenario::read(text).unwrap_err();
        assert_eq!(wrong("[traffic]\nsize = 64\nttl = 256\n"), ":3:7: 256 is more than 255");
        let unknown = wrong("[tx]\nport = \"a\"\nspeed = 1\n");
        assert!(unknown.starts_with(":3:1: unknown field `speed`, expected one of"), "{unknown}");
        let rate = wrong("[traffic]\nrate = \"quick\"\n");
        assert!(rate.starts_with(":2:8: `quick` is not a rate"), "{rate}");
        assert!(wrong("[traffic\n").starts_with(":1:"), "broken TOML has a place too");
        assert!(wrong("[traffic]\nprotocol = \"sctp!\"").contains("udp, tcp-syn, icmp"));
        assert!(wrong("[tx]\nport = \"pcap:\"").contains("wants a file"));
        for one in [unknown, rate] {
            assert_eq!(one.lines().count(), 1);
        }
    }

    #[test]
    fn speeds_and_spans_are_read() {
        assert_eq!("recorded".parse(), Ok(Speed::Recorded(1.0)));
        assert_eq!("2.5x".parse(), Ok(Speed::Recorded(2.5)));
        assert_eq!("rate".parse(), Ok(Speed::Rate));
        assert!("0x".parse::<Speed>().is_err() && "fast".parse::<Speed>().is_err());
        assert_eq!("3 h".parse(), Ok(Span(Duration::from_secs(10_800))));
        assert!("10".parse::<Span>().unwrap_err().contains("no duration"));
    }

    fn samples() -> Vec<(String, String)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/pktgen");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        files.map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap())).collect()
    }

    #[test]
    fn the_samples_are_scenarios() {
        let samples = samples();
        assert!(samples.len() >= 3);
        for (name, text) in samples {
            let scenario = Scenario::read(&text).unwrap_or_else(|error| panic!("{name}{error}"));
            assert!(scenario.tx.is_some(), "{name}");
        }
    }

    #[test]
    fn the_first_sample_has_every_key_and_what_it_shows_is_valid() {
        let (_, text) = samples().into_iter().find(|(name, _)| name.ends_with("scenario.toml")).unwrap();
        // All keys at once, without those that cannot stand beside others.
        let all: String = text
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line))
            .map(|line| format!("{line}\n"))
            .collect();
        let scenario = Scenario::read(&all).unwrap();
        let shown = |key: &str| all.lines().any(|line| line.starts_with(&format!("{key} = ")));
        // The names that serde knows, from its own complaint about one that it does not.
        for table in ["tx", "traffic"] {
            let complaint = Scenario::read(&format!("[{table}]\nnonsense = 1")).unwrap_err();
            let keys: Vec<&str> = complaint.split('`').skip(3).step_by(2).collect();
            assert!(keys.len() > 5, "{complaint}");
            for key in keys {
                assert!(shown(key), "[{table}] {key} is not explained");
            }
        }
        let defaults = Traffic::default();
        let Traffic { flows, flow_length, checksum, mark, repeat, burst, seed, vlan_priority, .. } =
            scenario.traffic;
        assert_eq!(
            (flows, flow_length, checksum, mark),
            (defaults.flows, defaults.flow_length, defaults.checksum, defaults.mark)
        );
        assert_eq!(
            (repeat, burst, seed, vlan_priority),
            (defaults.repeat, defaults.burst, defaults.seed, defaults.vlan_priority)
        );
    }
}
