//! The same scenario for the kernel's own generator (Documentation/networking/pktgen.rst): the words that are written
//! to the files below /proc/net/pktgen, one a line. `scripts/pktgen-kernel` writes them.
//!
//! It knows less than we do: UDP alone, ranges and chance but no lists, no marks. What it cannot do is an error that
//! names the key, so that two generators that are compared do the same.

use super::generator::Generator;
use super::plan::{Load, Plan};
use super::rate::Rate;
use super::scenario::{PortName, Protocol};
use super::size::FCS;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A word for one of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// `kpktgend_0`, or a device and its queue: `lan0@0`.
    pub file: String,
    /// What is written.
    pub text: String,
}

/// The words for a plan; queue `n` goes to the kernel's thread on processor `n`, or on the one that the plan names.
///
/// # Errors
/// One line: what the kernel's generator cannot do.
pub fn words(plan: &Plan) -> Result<Vec<Word>, String> {
    let Some(tx) = &plan.tx else { return Err("the kernel's pktgen sends: give `tx`".to_owned()) };
    let PortName::Interface(interface) = &tx.port else {
        return Err(format!("the kernel's pktgen sends by interfaces, not by {}", tx.port));
    };
    let load = &plan.load;
    if load.replay.is_some() {
        return Err("the kernel's pktgen cannot `replay`".to_owned());
    }
    if load.fields.protocol != Protocol::Udp {
        return Err("the kernel's pktgen sends UDP alone: `protocol`".to_owned());
    }
    let mut words = Vec::new();
    let queues = usize::from(tx.queues);
    for queue in 0..queues {
        let cpu = if tx.cpus.is_empty() { queue } else { tx.cpus[queue % tx.cpus.len()] };
        let (thread, device) = (format!("kpktgend_{cpu}"), format!("{interface}@{queue}"));
        let mut say = |file: &str, text: String| words.push(Word { file: file.to_owned(), text });
        say(&thread, format!("add_device {device}"));
        let share = |count: u64| count / queues as u64 + u64::from((queue as u64) < count % queues as u64);
        say(&device, format!("count {}", load.count.map_or(0, share)));
        for text in device_words(load, queues)? {
            say(&device, text);
        }
        say(&device, format!("queue_map_min {queue}"));
        say(&device, format!("queue_map_max {queue}"));
    }
    Ok(words)
}

fn device_words(load: &Load, queues: usize) -> Result<Vec<String>, String> {
    let fields = &load.fields;
    let mut words = vec!["clone_skb 0".to_owned(), "delay 0".to_owned()];
    sizes(&load.sizes, &mut words)?;
    match load.rate {
        Rate::Full => {}
        Rate::Packets(rate) => words.push(format!("ratep {}", (rate / 1000 / queues as u64).max(1))),
        Rate::Bits(rate) => words.push(format!("rate {}", (rate / 1_000_000 / queues as u64).max(1))),
        Rate::Share(_) => return Err("the kernel's pktgen knows no share of a line: `rate`".to_owned()),
    }
    for (key, generator, word) in [
        ("destination_mac", &fields.destination_mac, "dst_mac"),
        ("source_mac", &fields.source_mac, "src_mac"),
    ] {
        let mac = one(generator, key)?;
        let [_, _, a, b, c, d, e, f] = (mac as u64).to_be_bytes();
        words.push(format!("{word} {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"));
    }
    if let Some((vlan, priority)) = &fields.vlan {
        words.push(format!("vlan_id {}", one(vlan, "vlan")?));
        words.push(format!("vlan_p {priority}"));
    }
    let tos = one(&fields.tos, "tos")?;
    if tos != 0 {
        words.push(format!("{} {tos:02x}", if fields.v6 { "traffic_class" } else { "tos" }));
    }
    if fields.v6 {
        words.push(format!("dst6 {}", Ipv6Addr::from(one(&fields.destination, "destination")?)));
        words.push(format!("src6 {}", Ipv6Addr::from(one(&fields.source, "source")?)));
    } else {
        range(&fields.destination, ("destination", "dst_min", "dst_max", "IPDST_RND"), true, &mut words)?;
        range(&fields.source, ("source", "src_min", "src_max", "IPSRC_RND"), true, &mut words)?;
    }
    let ports = ("destination_port", "udp_dst_min", "udp_dst_max", "UDPDST_RND");
    range(&fields.destination_port, ports, false, &mut words)?;
    range(
        &fields.source_port,
        ("source_port", "udp_src_min", "udp_src_max", "UDPSRC_RND"),
        false,
        &mut words,
    )?;
    if fields.checksum {
        words.push("flag UDPCSUM".to_owned());
    }
    if load.flows > 0 {
        words.push(format!("flows {}", load.flows));
        words.push(format!("flowlen {}", load.flow_length));
    }
    Ok(words)
}

fn sizes(sizes: &Generator, words: &mut Vec<String>) -> Result<(), String> {
    let bytes = |size: u128| size - FCS as u128;
    match sizes {
        Generator::Steps { first, last, step: 1, .. } | Generator::Random { first, last } => {
            words.push(format!("min_pkt_size {}", bytes(*first)));
            words.push(format!("max_pkt_size {}", bytes(*last)));
            if matches!(sizes, Generator::Random { .. }) {
                words.push("flag TXSIZE_RND".to_owned());
            }
            Ok(())
        }
        Generator::List { values, .. } => {
            // A mix, by how often each comes; the kernel draws lots.
            let mut weights: Vec<(u128, usize)> = Vec::new();
            for value in values {
                match weights.iter_mut().find(|(size, _)| size == value) {
                    Some((_, count)) => *count += 1,
                    None => weights.push((*value, 1)),
                }
            }
            let mix: Vec<String> =
                weights.iter().map(|(size, count)| format!("{},{count}", bytes(*size))).collect();
            words.push(format!("imix_weights {}", mix.join(" ")));
            Ok(())
        }
        other => {
            words.push(format!("pkt_size {}", bytes(one(other, "size")?)));
            Ok(())
        }
    }
}

/// A range goes up by ones, or is drawn by chance.
fn range(
    generator: &Generator,
    (key, least, most, flag): (&str, &str, &str, &str),
    address: bool,
    words: &mut Vec<String>,
) -> Result<(), String> {
    let (first, last, chance) = match generator {
        Generator::Steps { first, last, step: 1, .. } => (*first, *last, false),
        Generator::Random { first, last } => (*first, *last, true),
        other => {
            let value = one(other, key)?;
            (value, value, false)
        }
    };
    // The kernel's upper end of ports is not drawn; that of addresses is.
    let last = if address || first == last { last } else { last + 1 };
    let show = |value: u128| match address {
        true => Ipv4Addr::from(value as u32).to_string(),
        false => value.min(65535).to_string(),
    };
    words.push(format!("{least} {}", show(first)));
    words.push(format!("{most} {}", show(last)));
    if chance {
        words.push(format!("flag {flag}"));
    }
    Ok(())
}

fn one(generator: &Generator, key: &str) -> Result<u128, String> {
    generator
        .fixed()
        .ok_or_else(|| format!("the kernel's pktgen takes one value, or a range by ones, for `{key}`"))
}

#[cfg(test)]
mod tests {
    use super::super::generator::Generator::Fixed;
    use super::super::plan::plan;
    use super::super::scenario::Scenario;
    use super::*;

    /// A plan as if its port were an interface.
    fn planned(traffic: &str) -> Plan {
        let text = format!(
            "[tx]\nport = \"null\"\naddresses = [\"10.0.0.1/32\", \"fd00::1/128\"]\n[traffic]\n{traffic}"
        );
        let mut plan = plan(&Scenario::read(&text).unwrap()).unwrap();
        let tx = plan.tx.as_mut().unwrap();
        (tx.port, tx.queues) = (PortName::Interface("lan0".to_owned()), 2);
        plan.load.fields.destination_mac = Fixed(0x0200_0000_0007);
        plan
    }

    fn said(traffic: &str) -> Vec<String> {
        words(&planned(traffic))
            .unwrap()
            .into_iter()
            .map(|word| format!("{} {}", word.file, word.text))
            .collect()
    }

    #[test]
    fn a_scenario_is_told_to_the_kernel_in_its_own_words() {
        let all = said(
            "destination = \"random 10.1.0.0/24\"\nsource_port = \"1000..1999\"\nsize = \"imix\"\ncount = 5\nrate = \"10 kpps\"\n\
             vlan = 7\nflows = 3\nmark = false",
        );
        for line in [
            "kpktgend_0 add_device lan0@0",
            "kpktgend_1 add_device lan0@1",
            "lan0@0 count 3",
            "lan0@1 count 2",
            "lan0@0 imix_weights 60,7 590,4 1514,1",
            "lan0@0 ratep 5000",
            "lan0@0 dst_mac 02:00:00:00:00:07",
            "lan0@0 dst_min 10.1.0.0",
            "lan0@0 dst_max 10.1.0.255",
            "lan0@0 flag IPDST_RND",
            "lan0@0 udp_src_min 1000",
            "lan0@0 udp_src_max 2000",
            "lan0@0 udp_dst_min 9",
            "lan0@0 udp_dst_max 9",
            "lan0@0 vlan_id 7",
            "lan0@0 flows 3",
            "lan0@1 queue_map_min 1",
        ] {
            assert!(all.iter().any(|one| one == line), "{line} is missing in {all:#?}");
        }
        assert!(said("destination = \"fd00::2\"\nsize = 100").iter().any(|one| one == "lan0@0 dst6 fd00::2"));
    }

    #[test]
    fn what_the_kernel_cannot_do_is_said_by_the_name_of_its_key() {
        let wrong = |traffic: &str| words(&planned(traffic)).unwrap_err();
        assert!(wrong("destination = \"10.0.0.2,10.0.0.9\"").contains("`destination`"));
        assert!(wrong("destination = \"10.0.0.2\"\nprotocol = \"icmp\"").contains("UDP alone"));
        assert!(wrong("destination = \"10.0.0.2\"\ntos = \"1..3\"").contains("`tos`"));
        assert!(wrong("destination = \"fd00::2..fd00::9\"\nsize = 100").contains("`destination`"));
    }
}
