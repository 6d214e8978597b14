//! Whose sockets are, by what the configuration claims; and that who is told so can do it.

use crate::client::{House, house, house_with, policy};
use flumen::session::policy::{Claim, Policy, Rule};
use flumen_ipc::Op;
use flumen_ipc::call::Whose::{self, Both, Flumen, Kernel};
use flumen_ipc::message::Address;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use zerocopy::IntoBytes;

const TCP: i32 = libc::IPPROTO_TCP;
const UDP: i32 = libc::IPPROTO_UDP;

/// To bind, or to connect or send.
const BIND: u64 = 0;
const SEND: u64 = 1;

#[track_caller]
fn are(house: &mut House, whose: &[(i32, &str, u64, Whose)]) {
    let client = house.attach(0);
    for (protocol, at, sends, is) in whose {
        let address = Address::from(at.parse::<SocketAddr>().unwrap());
        let args = [*protocol as u64, *sends, 0, 0];
        let (said, _) = house.call_with(&client, Op::Whose, 0, args, address.as_bytes());
        assert_eq!(said, *is as i64, "{protocol} {at} {sends}");
    }
}

fn rule(net: Option<&str>, protocol: Option<i32>, ports: &[RangeInclusive<u16>], ours: bool) -> Rule {
    Rule { net: net.map(|net| net.parse().unwrap()), protocol, ports: ports.to_vec(), ours }
}

#[test]
fn what_is_owned_and_what_routes_lead_to_is_ours_when_owned_is_claimed() {
    are(
        &mut house(Claim::Owned),
        &[
            (TCP, "10.0.1.1:8080", BIND, Flumen),
            (TCP, "10.0.1.1:8080", SEND, Flumen),
            (TCP, "[fd00:1::1]:80", BIND, Flumen),
            (TCP, "[fd00:2::1]:80", SEND, Flumen),
            (TCP, "0.0.0.0:80", BIND, Both),
            (TCP, "[::]:80", BIND, Both),
            (TCP, "10.0.9.9:80", BIND, Kernel),
            (TCP, "[fd00:9::9]:80", BIND, Kernel),
            (TCP, "10.0.1.77:80", SEND, Flumen),
            (TCP, "[fd00:1::77]:80", SEND, Flumen),
            (TCP, "192.0.2.5:80", SEND, Flumen),
            (TCP, "192.0.2.77:80", SEND, Kernel), // the kernel has it
            (TCP, "8.8.8.8:80", SEND, Kernel),    // no route
            (TCP, "[2001:470::1]:80", SEND, Kernel),
            (TCP, "127.0.0.1:80", SEND, Kernel),
            (TCP, "127.0.0.1:80", BIND, Kernel),
            (TCP, "[::1]:80", SEND, Kernel),
            (TCP, "[::1]:80", BIND, Kernel),
            (TCP, "0.0.0.0:80", SEND, Kernel),
            (TCP, "[::ffff:10.0.1.1]:80", SEND, Flumen),
            (TCP, "[2001:db8::1]:80", SEND, Flumen),
            (UDP, "224.0.0.251:5353", BIND, Flumen),
            (UDP, "[ff02::fb]:5353", BIND, Flumen),
        ],
    );
}

#[test]
fn everything_is_ours_when_all_is_claimed() {
    are(
        &mut house(Claim::All),
        &[
            (TCP, "10.0.1.1:8080", BIND, Flumen),
            (TCP, "0.0.0.0:80", BIND, Flumen),
            (UDP, "[::]:80", BIND, Flumen),
            (TCP, "127.0.0.1:80", BIND, Flumen),
            (UDP, "[::1]:80", SEND, Flumen),
            (TCP, "8.8.8.8:80", SEND, Flumen),
            (TCP, "10.0.9.9:80", BIND, Flumen),
            (TCP, "192.0.2.77:80", SEND, Flumen),
        ],
    );
}

#[test]
fn only_what_rules_name_is_ours_when_rules_claim_and_the_first_that_matches_decides() {
    let rules = vec![
        rule(Some("10.0.1.1/32"), Some(TCP), &[7005..=7005], false),
        rule(Some("fd00:1::1/128"), Some(UDP), &[7005..=7005], false),
        rule(Some("10.0.1.0/24"), Some(TCP), &[7000..=7010, 7100..=7100], true),
        rule(Some("fd00:1::/64"), Some(UDP), &[7000..=7010], true),
        rule(Some("0.0.0.0/32"), Some(TCP), &[7200..=7200], true),
    ];
    are(
        &mut house_with(Policy { rules, ..policy(Claim::Rules) }),
        &[
            (TCP, "10.0.1.1:6999", BIND, Kernel),
            (TCP, "10.0.1.1:7000", BIND, Flumen),
            (TCP, "10.0.1.1:7010", BIND, Flumen),
            (TCP, "10.0.1.1:7011", BIND, Kernel),
            (TCP, "10.0.1.1:7100", SEND, Flumen),
            (TCP, "10.0.1.1:7005", BIND, Kernel), // never comes first
            (TCP, "10.0.1.2:7005", SEND, Flumen), // of this address only
            (UDP, "10.0.1.1:7000", BIND, Kernel),
            (TCP, "10.0.2.1:7000", BIND, Kernel),
            (TCP, "[::ffff:10.0.1.1]:7000", BIND, Flumen),
            (UDP, "[fd00:1::1]:7000", BIND, Flumen),
            (UDP, "[fd00:1::1]:7005", BIND, Kernel),
            (TCP, "[fd00:1::1]:7000", BIND, Kernel),
            (UDP, "[fd00:2::1]:7000", BIND, Kernel),
            (TCP, "127.0.0.1:7000", BIND, Kernel),
            (TCP, "0.0.0.0:7000", BIND, Kernel),
            (TCP, "0.0.0.0:7200", BIND, Both), // the kernel's part is there as well
            (TCP, "0.0.0.0:7200", SEND, Flumen),
        ],
    );
}

#[test]
fn nothing_is_ours_when_rules_claim_and_there_are_none() {
    are(
        &mut house(Claim::Rules),
        &[
            (TCP, "10.0.1.1:80", BIND, Kernel),
            (TCP, "10.0.1.77:80", SEND, Kernel),
            (UDP, "0.0.0.0:80", BIND, Kernel),
            (UDP, "[fd00:1::1]:80", BIND, Kernel),
            (TCP, "[::1]:80", SEND, Kernel),
        ],
    );
}

#[test]
fn what_never_is_ours_is_not_though_all_is_claimed_or_owned() {
    let never =
        || vec![rule(None, Some(TCP), &[7101..=7101], false), rule(Some("fd00:2::/64"), None, &[], false)];
    for claim in [Claim::All, Claim::Owned] {
        are(
            &mut house_with(Policy { rules: never(), ..policy(claim) }),
            &[
                (TCP, "10.0.1.1:7101", BIND, Kernel),
                (TCP, "[fd00:1::1]:7101", SEND, Kernel),
                (TCP, "0.0.0.0:7101", BIND, Kernel),
                (UDP, "10.0.1.1:7101", BIND, Flumen),
                (TCP, "10.0.1.1:7102", BIND, Flumen),
                (UDP, "[fd00:2::1]:53", BIND, Kernel),
                (UDP, "[fd00:1::1]:53", BIND, Flumen),
            ],
        );
    }
}
