//! Reports: what only the worker knows and only an operator asks for. The control thread allocates the form,
//! the worker fills it in within the room that it has, so that being asked costs the worker no allocation.

pub mod sockets;

use crate::port::Port;
use crate::worker::Worker;
use flumen_stack::PortId;
use flumen_stack::ip::reassembly::DatagramInfo;
use flumen_stack::limits::{LISTENED_GROUPS, MAX_PORTS, MULTICAST_ROUTES};
use flumen_stack::multicast::LinkInfo;
use flumen_stack::multicast::membership::Record;
use flumen_stack::neighbour::NeighbourInfo;
use sockets::{ProgramReport, SocketReport};

/// What the kernel says about the socket on a queue (XDP_STATISTICS), and what the socket counted itself.
#[derive(Debug, Clone, Copy)]
pub struct QueueReport {
    /// The port.
    pub port: PortId,
    /// The queue.
    pub queue: u32,
    /// The kernel's numbers; `None` when it did not answer.
    pub kernel: Option<af_xdp::Statistics>,
    /// Our numbers.
    pub socket: af_xdp::Counters,
    /// The interface is gone.
    pub gone: bool,
}

/// Datagrams of one worker that are shown, of those that wait for their fragments. A flood of them says nothing more in a longer
/// list.
pub const DATAGRAMS_SHOWN: usize = 256;

/// A form for one worker.
#[derive(Debug)]
pub struct Report {
    /// The worker's number.
    pub worker: usize,
    /// Its AF_XDP queues.
    pub queues: Vec<QueueReport>,
    /// Its neighbours.
    pub neighbours: Vec<NeighbourInfo>,
    /// The links on which the worker is a router of groups, and what is wanted there.
    pub links: Vec<LinkInfo>,
    /// What is wanted there.
    pub groups: Vec<Record>,
    /// Packets that each multicast route forwarded.
    pub routes: Vec<u64>,
    /// Datagrams that wait for their fragments: the oldest of each family first.
    pub datagrams: Vec<DatagramInfo>,
    /// How many there are, the bytes of memory that they hold, and the bytes that there are for them.
    pub reassembly: [usize; 3],
    /// True when there were more than the form has room for.
    pub cut_short: bool,
    /// Its sockets.
    pub sockets: Vec<SocketReport>,
    /// Programs with sockets on it.
    pub programs: Vec<ProgramReport>,
    /// True when there were more sockets or programs than the form has room for.
    pub sockets_cut_short: bool,
}

impl Report {
    /// An empty form with room for so many queues, neighbours, and sockets.
    pub fn new(queues: usize, neighbours: usize, sockets: usize) -> Box<Report> {
        Box::new(Report {
            worker: 0,
            queues: Vec::with_capacity(queues),
            neighbours: Vec::with_capacity(neighbours),
            links: Vec::with_capacity(2 * MAX_PORTS),
            groups: Vec::with_capacity(LISTENED_GROUPS),
            routes: Vec::with_capacity(MULTICAST_ROUTES),
            datagrams: Vec::with_capacity(DATAGRAMS_SHOWN),
            reassembly: [0; 3],
            cut_short: false,
            sockets: Vec::with_capacity(sockets),
            programs: Vec::with_capacity(if sockets > 0 { crate::session::limits::MAX_PROGRAMS } else { 0 }),
            sockets_cut_short: false,
        })
    }

    /// Fills the form in.
    pub(crate) fn fill(&mut self, worker: &Worker) {
        self.worker = worker.number;
        for queue in &worker.queues {
            let Port::AfXdp(carrier) = &queue.carrier else { continue };
            let report = QueueReport {
                port: queue.port,
                queue: queue.queue,
                kernel: carrier.socket.statistics().ok(),
                socket: *carrier.socket.counters(),
                gone: carrier.gone,
            };
            self.cut_short |= !push_within(&mut self.queues, report);
        }
        for neighbour in worker.stack.neighbours.iter() {
            self.cut_short |= !push_within(&mut self.neighbours, neighbour);
        }
        for link in worker.stack.multicast.links() {
            self.cut_short |= !push_within(&mut self.links, link);
        }
        for record in worker.stack.multicast.memberships.iter() {
            self.cut_short |= !push_within(&mut self.groups, record.clone());
        }
        for (_, used) in worker.stack.multicast.routes() {
            self.cut_short |= !push_within(&mut self.routes, used);
        }
        let reassembly = &worker.stack.reassembly;
        self.reassembly = [reassembly.len(), reassembly.memory(), reassembly.size()];
        self.datagrams.extend(reassembly.iter().take(DATAGRAMS_SHOWN));
        // Nobody asks for sockets of a form that has no room for them.
        if self.sockets.capacity() > 0 {
            self.sockets_cut_short = sockets::fill(worker, &mut self.programs, &mut self.sockets);
        }
    }
}

/// Pushes if the vector has room without growing.
fn push_within<T>(list: &mut Vec<T>, item: T) -> bool {
    let fits = list.len() < list.capacity();
    if fits {
        list.push(item);
    }
    fits
}
