//! The answers to `show sockets` and `show programs`, from the workers' reports.

use super::Service;
use crate::control::protocol::{MAX_PAGE, SocketQuery};
use crate::control::snapshot::{Program, Programs, Socket, Sockets};
use crate::report::Report;

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
    let mut found = Programs::default();
    for (worker, report) in service.workers.iter().zip(reports) {
        for one in report.iter().flat_map(|report| &report.programs) {
            found.programs.push(Program {
                pid: one.pid,
                uid: one.uid,
                sockets: one.sockets,
                homes: one.homes,
                gone: one.gone,
                cpu: worker.cpu,
            });
        }
    }
    found.programs.sort_by_key(|program| (program.pid, program.cpu));
    found
}
