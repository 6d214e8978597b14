//! `[[service]]`: what answers clients at our own addresses.

use super::bounds;
use super::model::{HttpService, Port, Service, ServiceKind, SizedResponse};
use super::ports::{size, size32};
use super::problem::{At, Problem};
use super::read::{Reader, Section, Value};
use super::schema;
use core::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Reads all `[[service]]` tables. Relative names in them are relative to `folder`.
pub fn read(reader: &Reader, sections: &[Section<'_>], ports: &[Port], folder: &Path) -> Vec<Service> {
    let mut listeners = Vec::new();
    if let Some(first_too_many) = sections.get(bounds::MAX_SERVICES) {
        reader.report(
            Problem::error(first_too_many.at, format!("{} services", sections.len()))
                .help(format!("{} are the most", bounds::MAX_SERVICES)),
        );
    }
    sections
        .iter()
        .take(bounds::MAX_SERVICES)
        .filter_map(|section| read_service(section, ports, folder, &mut listeners))
        .collect()
}

/// A listener that was read: where it listens, over TCP and UDP, and where that is said.
#[derive(Debug, Clone, Copy)]
struct Listener {
    at: SocketAddr,
    tcp: bool,
    udp: bool,
    said: At,
}

fn read_service(
    section: &Section<'_>,
    ports: &[Port],
    folder: &Path,
    listeners: &mut Vec<Listener>,
) -> Option<Service> {
    let words = [("echo", 0), ("discard", 1), ("chargen", 2), ("daytime", 3), ("http", 4)];
    let kind = section.required("kind", "\"http\"").and_then(|value| value.word(&words));
    let at = section.place("kind", section.at);
    // Without a kind the rest is still read, as if it were the one that has all keys.
    let service_kind = match kind {
        Some(0) => ServiceKind::Echo,
        Some(1) => ServiceKind::Discard,
        Some(2) => ServiceKind::Chargen,
        Some(3) => ServiceKind::Daytime,
        _ => ServiceKind::Http(read_http(section, folder)),
    };
    let is_http = matches!(service_kind, ServiceKind::Http(_));
    if !is_http {
        refuse_keys_of_http(section, service_kind.name());
    }
    let (tcp, udp) = read_protocols(section, &service_kind);
    let listen = section.required("listen", "[\"192.0.2.1:80\"]");
    let listen = listen.map(|value| read_listen(&value, ports, (tcp, udp), listeners)).unwrap_or_default();
    let default = Service::new(service_kind, listen);
    let connections = section.integer("connections", bounds::CONNECTIONS, default.connections as i64);
    let service = Service {
        tcp,
        udp,
        backlog: size32(section.integer("backlog", bounds::BACKLOG, i64::from(default.backlog))),
        connections: size(connections),
        idle_timeout: section
            .value("idle_timeout")
            .and_then(|value| value.duration(bounds::IDLE_TIMEOUT))
            .unwrap_or(default.idle_timeout),
        at,
        directory_at: section.place("directory", at),
        ..default
    };
    kind.map(|_| service)
}

fn refuse_keys_of_http(section: &Section<'_>, kind: &str) {
    for (key, at) in section.keys() {
        if schema::is_of_http(key) {
            section.reader().report(
                Problem::error(at, format!("a service of kind `{kind}` has no `{key}`"))
                    .help("take the line out, or say kind = \"http\""),
            );
        }
    }
}

/// Over TCP, over UDP.
fn read_protocols(section: &Section<'_>, kind: &ServiceKind) -> (bool, bool) {
    let all = (true, kind.has_udp());
    let Some(value) = section.value("protocols") else { return all };
    let Some(list) = value.list(2, "[\"tcp\", \"udp\"]") else { return all };
    let (mut tcp, mut udp) = (false, false);
    for element in &list {
        match element.word(&[("tcp", true), ("udp", false)]) {
            Some(true) => tcp = true,
            Some(false) if kind.has_udp() => udp = true,
            Some(false) => element.wrong(
                format!("there is no `{}` over UDP", kind.name()),
                "write protocols = [\"tcp\"], or leave the key out",
            ),
            None => {}
        }
    }
    if list.is_empty() {
        value.wrong("a service without a protocol", "name \"tcp\", \"udp\" or both");
    }
    (tcp, udp)
}

fn read_listen(
    value: &Value<'_>,
    ports: &[Port],
    (tcp, udp): (bool, bool),
    listeners: &mut Vec<Listener>,
) -> Vec<SocketAddr> {
    let Some(list) = value.list(bounds::MAX_LISTEN, "[\"192.0.2.1:80\"]") else { return Vec::new() };
    if list.is_empty() {
        value.wrong("a service that listens nowhere", "name an address and port, as in [\"192.0.2.1:80\"]");
    }
    let mut all = Vec::new();
    for element in &list {
        let Some(at) = element.parse::<SocketAddr>("an address with a port number", "192.0.2.1:80") else {
            continue;
        };
        if at.port() == 0 {
            element.wrong("nobody would find port number 0", "name a port number from 1 to 65535");
            continue;
        }
        let ip = at.ip();
        if !ip.is_unspecified() && !ports.iter().flat_map(|port| &port.addresses).any(|net| net.addr() == ip)
        {
            element.wrong(
                format!("{ip} is not an address of ours"),
                format!("add it to `addresses` of a port, or listen at all: \"{}\"", anywhere(at)),
            );
            continue;
        }
        let other =
            listeners.iter().find(|other| (other.tcp && tcp || other.udp && udp) && overlap(other.at, at));
        if let Some(other) = other {
            element.reader().report(
                Problem::error(element.at(), format!("somebody listens there already: {}", other.at))
                    .related(other.said, "here")
                    .help("give one of them another port number"),
            );
            continue;
        }
        listeners.push(Listener { at, tcp, udp, said: element.at() });
        all.push(at);
    }
    all
}

/// The same port number at all addresses of the same family.
fn anywhere(at: SocketAddr) -> SocketAddr {
    match at {
        SocketAddr::V4(_) => SocketAddr::from(([0; 4], at.port())),
        SocketAddr::V6(_) => SocketAddr::from(([0u16; 8], at.port())),
    }
}

/// True when a connection could be for both.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let any = |ip: IpAddr| ip.is_unspecified();
    a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && (a.ip() == b.ip() || any(a.ip()) || any(b.ip()))
}

fn read_http(section: &Section<'_>, folder: &Path) -> HttpService {
    let default = HttpService::default();
    HttpService {
        directory: section
            .value("directory")
            .and_then(|value| value.name("site"))
            .map(|name| folder.join(name)),
        responses: section.value("responses").map(|value| read_responses(&value)).unwrap_or_default(),
        upload: section.value("upload").and_then(|value| read_path(&value)),
        max_body: section.integer("max_body", bounds::HTTP_BODY, default.max_body as i64) as u64,
    }
}

fn read_responses(value: &Value<'_>) -> Vec<SizedResponse> {
    let example = "[{ path = \"/1k\", bytes = 1024 }]";
    let Some(list) = value.list(bounds::MAX_HTTP_RESPONSES, example) else { return Vec::new() };
    let mut all: Vec<SizedResponse> = Vec::new();
    for element in &list {
        let Some(table) = element.table(&schema::RESPONSE, "{ path = \"/1k\", bytes = 1024 }") else {
            continue;
        };
        let path = table.required("path", "\"/1k\"").and_then(|value| read_path(&value));
        let bytes = table.required("bytes", "1024").and_then(|value| value.integer(bounds::HTTP_BODY));
        let (Some(path), Some(bytes)) = (path, bytes) else { continue };
        if all.iter().any(|one| one.path == path) {
            element.wrong(format!("{path} is answered twice"), "take one out");
            continue;
        }
        all.push(SizedResponse { path, bytes: bytes as u64 });
    }
    all
}

/// A path of a URL, decoded.
fn read_path(value: &Value<'_>) -> Option<String> {
    let path = value.name("/path")?;
    if !path.starts_with('/') || path.len() > bounds::MAX_HTTP_PATH || path.contains(['?', '#']) {
        value.wrong(
            format!("\"{path}\" is not a path"),
            format!("begin it with a slash; no ? and #; at most {} bytes", bounds::MAX_HTTP_PATH),
        );
        return None;
    }
    Some(path.to_owned())
}
