//! `[programs]`: who may have sockets in the data plane, which, and how many.

use super::bounds;
use super::model::{Claimed, LowPorts, Programs, Reservation};
use super::ports::{read_rule_of, read_rules, size};
use super::read::{Section, Value};
use super::schema;
use super::settings::{read_mode, read_socket};

/// Reads `[programs]`.
pub fn read(section: &Section<'_>) -> Programs {
    let default = Programs::new(section.at);
    let number = |key, range, default: usize| size(section.integer(key, range, default as i64));
    let ring = |key, default: usize| size(section.power_of_two(key, bounds::SOCKET_RING, default as i64));
    let id = |key| section.value(key).and_then(|value| value.integer(bounds::USER_ID)).map(|id| id as u32);
    let programs = number("programs", bounds::PROGRAMS, default.programs);
    let socket =
        section.value("socket").and_then(|value| read_socket(&value, "the path of the attach socket"));
    Programs {
        socket: socket.unwrap_or(default.socket),
        mode: section.value("mode").and_then(|value| read_mode(&value)).unwrap_or(default.mode),
        user: id("user"),
        group: id("group"),
        programs,
        programs_per_user: number("programs_per_user", bounds::PROGRAMS, default.programs_per_user),
        sockets: number("sockets", bounds::PROGRAM_SOCKETS, default.sockets).next_multiple_of(64),
        receive_ring: ring("receive_ring", default.receive_ring),
        send_ring: ring("send_ring", default.send_ring),
        claim: section.value("claim").and_then(|value| read_claim(&value)).unwrap_or(default.claim),
        never: section.value("never").and_then(|value| read_rules(&value)).unwrap_or_default(),
        low_ports: section
            .value("low_ports")
            .and_then(|value| read_low_ports(&value))
            .unwrap_or(default.low_ports),
        reserve: section.value("reserve").and_then(|value| read_reserve(&value)).unwrap_or_default(),
        at: default.at,
    }
}

fn read_claim(value: &Value<'_>) -> Option<Claimed> {
    if value.text().is_some() {
        return value.word(&[("owned", true), ("all", false)]).map(|owned| match owned {
            true => Claimed::Owned,
            false => Claimed::All,
        });
    }
    Some(Claimed::Rules(read_rules(value)?))
}

fn read_low_ports(value: &Value<'_>) -> Option<LowPorts> {
    if value.text().is_some() {
        return value.word(&[("all", ())]).map(|()| LowPorts::All);
    }
    read_users(value).map(LowPorts::Users)
}

fn read_users(value: &Value<'_>) -> Option<Vec<u32>> {
    let users = value.list(bounds::MAX_USERS, "[33, 1000]")?;
    let ids = users.iter().filter_map(|user| user.integer(bounds::USER_ID));
    Some(ids.map(|id| id as u32).collect())
}

const RESERVE_EXAMPLE: &str =
    "[{ address = \"192.0.2.1\", protocol = \"tcp\", ports = [8443], users = [33] }]";

fn read_reserve(value: &Value<'_>) -> Option<Vec<Reservation>> {
    let elements = value.list(bounds::MAX_RULES, RESERVE_EXAMPLE)?;
    let one = |value: &Value<'_>| {
        let section = value.table(&schema::RESERVATION, RESERVE_EXAMPLE)?;
        let users = section.value("users").and_then(|value| read_users(&value));
        if section.value("users").is_none() {
            value.wrong("nobody is named", "say `users = [33]`; an empty list means root alone");
        }
        let names = read_rule_of(value, &section)?;
        Some(Reservation { names, users: users? })
    };
    Some(elements.iter().filter_map(one).collect())
}
