//! `docs/socket-options.md`, written from the table.

use super::ioctl::REQUESTS;
use super::kind::Kinds;
use super::state::Field;
use super::table::{Get, Row, Set, Standing, TABLE};
use core::fmt::Write;

const HEAD: &str = "\
# Socket options

What `setsockopt`, `getsockopt` and `ioctl` do on sockets of the data plane, option by option. This page is written from the
table in `dataplane/src/session/options/table`; `FLUMEN_REWRITE=1 cargo test -p flumen --test socket_options` writes it
anew. The same test walks the table beside the running kernel: errors, lengths, defaults and bounds are the kernel's, but for
what the column *difference* says. A lab test walks it once more by the calls of a program, with the ioctls; what options that
differ give there stands, call by call, in `dataplane/tests/lab/programs/option_differences.txt`.

- **works**: it is set and read as on Linux and does the same.
- **works (library)**: the preload library does it on behalf of the program (control messages, waiting, peeking).
- **kept**: it is set and read; Linux too does no more with it on such sockets.
- **refused**: the error is that of a Linux that lacks what the option needs.

A pair of level and number that is not here is unknown: ENOPROTOOPT, or EOPNOTSUPP for reading at a level that an AF_INET
socket does not have, as on Linux. Kinds: TCP, UDP, raw and ping sockets of AF_INET (4) and AF_INET6 (6).
UDP-Lite sockets have the options of UDP.
";

/// The whole page.
pub fn page() -> String {
    let mut page = String::from(HEAD);
    for (name, rows) in TABLE {
        let _infallible = write!(
            page,
            "\n## {name}\n\n| option | number | sockets | value | bounds | default | | notes | difference |\n|---|---|---|---|---|---|---|---|---|\n"
        );
        for row in rows {
            let _infallible = writeln!(
                page,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                row.name,
                row.number,
                kinds(row.kinds),
                row.value,
                bounds(row),
                default(row),
                standing(row),
                row.note,
                row.differs
            );
        }
    }
    page.push_str("\n## ioctl\n\n| request | number | |\n|---|---|---|\n");
    for request in REQUESTS {
        let _infallible =
            writeln!(page, "| {} | 0x{:04x} | {} |", request.name, request.number, request.note);
    }
    page.push_str(
        "\nThe kernel answers what is asked about interfaces, as it does by netlink (getifaddrs, if_nametoindex): those under the ports\n\
         are among them with their names, numbers and station addresses, the addresses of the data plane are not. Other requests go\n\
         to the kernel's socket behind the descriptor.\n",
    );
    page
}

fn standing(row: &Row) -> &'static str {
    match (row.standing, row.set, row.get) {
        (Standing::Works, Set::Refused(_), Get::Refused(_)) => "does not exist",
        (Standing::Works, Set::Refused(_), _) => "works, read only",
        (standing, ..) => standing.word(),
    }
}

fn kinds(kinds: Kinds) -> String {
    if kinds == Kinds::ALL {
        return "all".to_owned();
    }
    let words = Kinds::EACH.iter().filter(|(one, _)| one.meets(kinds)).map(|(_, word)| *word);
    words.collect::<Vec<_>>().join(", ")
}

fn bounds(row: &Row) -> String {
    match row.set {
        Set::Refused(errno) => format!("{:?}", nix::errno::Errno::from_raw(errno.raw_os_error())),
        Set::Flag(_) => "0, 1".to_owned(),
        Set::Range(_, least, i32::MAX) => format!("from {least}"),
        Set::Range(_, least, most) => format!("{least} to {most}"),
        Set::Int(_) | Set::Bytes(_) => String::new(),
    }
}

/// What a number is when nobody set it, where that is the same for all kinds.
fn default(row: &Row) -> String {
    let Get::Int(field) = row.get else { return String::new() };
    let all = |field: Field| {
        let mut values =
            Kinds::EACH.iter().filter(|(one, _)| one.meets(row.kinds)).map(|(one, _)| field.default_of(*one));
        let first = values.next()?;
        values.all(|value| value == first).then_some(first)
    };
    all(field).map_or_else(String::new, |value| value.to_string())
}
