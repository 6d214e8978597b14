//! The answers to `show sockets` and `show programs`, from the workers' reports.

use super::Service;
use crate::control::protocol::{MAX_PAGE, SocketQuery};
use crate::control::snapshot::{Program, Programs, Socket, Sockets};
use crate::report::Report;
use std::collections::BTreeMap;

/// The sockets that a query asks for.
pub fn sockets(service: &Service, reports: &[Option<Box<Report>>], query: &SocketQuery) -> Sockets {
    let limit = query.limit.unwrap_or(MAX_PAGE).min(MAX_PAGE);
    let mut found = Sockets::default();
    for (worker, report) in service.workers.iter().zip(reports) {
        let Some(report) = report else { continue };
        found.cut_short |= report.sockets_cut_short;
        for one in &report.sockets {
            if query.protocol.as_ref().is_some_and(|wanted| wanted != one.protocol) {
                continue;
            }
            if found.sockets.len() == limit {
                found.cut_short = true;
                break;
            }
            found.sockets.push(Socket {
                protocol: one.protocol.to_owned(),
                state: one.state.to_owned(),
                local: one.local,
                remote: one.remote,
                receive_queue: one.receive_queue,
                send_queue: one.send_queue,
                pid: one.program.map(|(pid, _)| pid),
                uid: one.program.map(|(_, uid)| uid),
                cpu: worker.cpu,
            });
        }
    }
    found.sockets.sort_by(|a, b| (&a.protocol, a.local, a.remote).cmp(&(&b.protocol, b.local, b.remote)));
    found
}

/// The programs.
pub fn programs(service: &Service, reports: &[Option<Box<Report>>]) -> Programs {
    // Every worker knows every program, and its sockets there.
    let mut found: BTreeMap<u16, Program> = BTreeMap::new();
    for (worker, report) in service.workers.iter().zip(reports) {
        for one in report.iter().flat_map(|report| &report.programs) {
            let program = found.entry(one.place).or_insert_with(|| Program {
                pid: one.pid,
                uid: one.uid,
                sockets: 0,
                homes: 0,
                gone: one.gone,
                woken_aside: one.woken_aside,
                cpus: Vec::new(),
            });
            program.sockets += one.sockets;
            program.homes += one.homes;
            if one.sockets > 0 {
                program.cpus.push(worker.cpu);
            }
        }
    }
    let mut programs: Vec<Program> = found.into_values().collect();
    programs.sort_by_key(|program| program.pid);
    Programs { programs }
}
