//! What the service says of the datagrams that wait for their fragments.

use super::Service;
use crate::control::snapshot::{Reassembly, ReassemblyCore, WaitingDatagram};
use crate::report::Report;
use flumen_stack::ip::reassembly::DatagramInfo;

/// `show reassembly`.
pub(super) fn reassembly(service: &Service, reports: &[Option<Box<Report>>]) -> Reassembly {
    let now = service.clock.now();
    let mut shown = Reassembly::default();
    for (worker, report) in service.workers.iter().zip(reports) {
        let Some(report) = report else { continue };
        let [datagrams, memory, memory_limit] = report.reassembly;
        shown.cut_short |= datagrams > report.datagrams.len();
        shown.cores.push(ReassemblyCore {
            cpu: worker.cpu,
            datagrams: datagrams as u64,
            memory: memory as u64,
            memory_limit: memory_limit as u64,
        });
        shown.datagrams.extend(report.datagrams.iter().map(|one| {
            let DatagramInfo { source, destination, id, protocol, port, .. } = *one;
            let DatagramInfo { fragments, bytes, total, given_up, until, .. } = *one;
            let named = port.and_then(|port| service.config.port(port));
            WaitingDatagram {
                cpu: worker.cpu,
                source,
                destination,
                port: named.map(|port| port.name.clone()),
                protocol,
                id,
                fragments,
                bytes,
                total,
                given_up,
                expires_ms: until.since(now).as_millis() as u64,
            }
        }));
    }
    shown
}
