//! Two workers, one queue of each port on each.

use super::harness::{Lab, Role, ipv4_of, wait_until};
use super::transport;
use std::collections::HashSet;
use std::time::Duration;

fn route_everything(lab: &Lab) {
    for to in ["10.0.1.1", "10.0.2.2", "fd00:1::1", "fd00:2::2"] {
        lab.client(&format!("ping -n -c 20 -i 0.01 -W 2 {to}")).says("20 received");
    }
    transport::exchange(lab, "10.0.2.2:7000");
    transport::exchange(lab, "[fd00:2::2]:7000");
    transport::iperf3_tcp(lab, "10.0.2.2");
    transport::iperf3_udp(lab, "fd00:2::2", 1000);
}

pub fn two_workers_on_two_queues_route_tcp_and_udp() {
    route_everything(&Lab::plan().workers(2).up());
}

pub fn two_workers_that_hand_flows_over_route_tcp_and_udp() {
    route_everything(&Lab::plan().workers(2).distribute_by_flow().up());
}

/// Many flows, as many as there are ports from 20,000 on, one packet each. The client's kernel chooses the
/// queue by a hash of the flow: both queues get some.
const FLOWS: u16 = 200;

/// How many of the flows reach the server.
fn flows_that_pass(lab: &Lab) -> usize {
    let server = lab.wire(Role::Server);
    let senders = lab.within(Role::Client, || {
        for port in 20_000..20_000 + FLOWS {
            let socket = std::net::UdpSocket::bind(("10.0.1.2", port)).expect("a port");
            socket.send_to(b"flumen", "10.0.2.2:4242").expect("the packet leaves");
        }
    });
    senders.join().expect("a packet of each flow");
    let mut seen = HashSet::new();
    server.find(Duration::from_secs(2), |frame| {
        let packet = ipv4_of(frame)?;
        if packet.get(22..24)? == 4242u16.to_be_bytes() {
            seen.insert(packet[20..22].to_vec());
        }
        (seen.len() == usize::from(FLOWS)).then_some(())
    });
    seen.len()
}

pub fn two_workers_both_forward_when_flows_are_many() {
    let mut lab = Lab::plan().workers(2).up();
    // A worker that has to ask for the neighbour first keeps some packets of a burst back, not all: later
    // every flow passes.
    wait_until("every flow passes", 20, || flows_that_pass(&lab) == usize::from(FLOWS));
    // Workers publish their numbers now and then: asked until they are there.
    wait_until("both workers have had packets", 10, || {
        let json = lab.flumen().show("runtime --json").must();
        let runtime: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let cores = runtime["cores"].as_array().expect("a list of cores");
        assert_eq!(cores.len(), 2, "{runtime}");
        cores.iter().all(|core| core["packets"].as_u64().expect("a count") > 20)
    });
}
