//! How many frames a worker's pool needs: the sum of named uses. If each use can be full at the same time and
//! the pool still is not empty, nothing ever waits for a frame that another one holds.

use super::layout::{FrameUse, PortLayout, QueueRef};
use super::model::{Config, Core, PortKind};
use flumen_stack::PortId;

/// Bytes in front of a received packet in each chunk: what the kernel reserves (XDP_PACKET_HEADROOM, 256) and
/// the headroom of the pool for link headers (128, the default of `af_xdp::PoolConfig`).
pub const XDP_HEADROOM: usize = 256 + 128;

/// The longest IP datagram, in bytes.
const MAX_DATAGRAM: usize = 40 + 65_535;

/// Bytes of link header that a chunk must have room for besides the IP packet: Ethernet and one VLAN tag.
pub const LINK_HEADER: usize = 18;

/// The largest MTU that a driver takes for an XDP program without multi-buffer support: a page, less the
/// headroom, the kernel's bookkeeping at its end and the Ethernet header. Seen as ERANGE above it.
pub const MAX_SINGLE_BUFFER_MTU: usize = 3506;

/// The largest MTU whose packets fit into one chunk of `chunk` bytes.
pub fn single_buffer_mtu(chunk: usize) -> u16 {
    let fits = chunk.saturating_sub(XDP_HEADROOM + LINK_HEADER).min(MAX_SINGLE_BUFFER_MTU);
    u16::try_from(fits).unwrap_or(u16::MAX)
}

/// The chunk that suits packets of up to `mtu` bytes, unless the configuration says one: packets that take several of the
/// smaller ones take fewer of the larger, and each is work for the kernel as for us.
pub fn chunk_for(mtu: u16) -> usize {
    const CHUNKS: [usize; 2] = [2048, 4096];
    CHUNKS.into_iter().find(|chunk| mtu <= single_buffer_mtu(*chunk)).unwrap_or(CHUNKS[1])
}

/// Chunks that the longest packet of a port takes.
pub fn chunks_per_packet(layout: &PortLayout, chunk: usize) -> usize {
    let usable = chunk.saturating_sub(XDP_HEADROOM).max(1);
    (usize::from(layout.mtu) + LINK_HEADER).div_ceil(usable)
}

/// What the frames of `core`, of `chunk` bytes each, are for, when it polls `queues`. Rings count chunks already; what counts packets
/// is multiplied by the chunks of the longest one.
pub fn frames_needed(
    config: &Config,
    ports: &[PortLayout],
    core: &Core,
    chunk: usize,
    queues: &[QueueRef],
) -> Vec<FrameUse> {
    let mut uses = Vec::new();
    let mut add = |frames: usize, what: String| {
        if frames > 0 {
            uses.push(FrameUse { what, frames });
        }
    };
    for reference in queues {
        let Some(port) = config.port(reference.port) else { continue };
        let name = format!("{}:{}", port.name, reference.queue);
        match &port.kind {
            PortKind::AfXdp(af_xdp) => {
                let rings = &af_xdp.rings;
                for (ring, size) in [
                    ("fill", rings.fill),
                    ("rx", rings.rx),
                    ("tx", rings.tx),
                    ("completion", rings.completion),
                ] {
                    add(size as usize, format!("{ring} ring of {name}"));
                }
            }
            PortKind::Memory(memory) => add(memory.ring as usize, format!("wire from {name} to its peer")),
            // What waits for a TAP waits in the kernel.
            PortKind::Tap(_) | PortKind::Vlan(_) => {}
            PortKind::Pcap(_) => {} // a packet from a file is in a burst; one to a file is gone at once
        }
    }
    let mut served: Vec<PortId> = queues.iter().map(|queue| queue.port).collect();
    served.sort_unstable();
    served.dedup();
    // A worker sends out of ports that it serves; for others it hands packets over.
    let mut longest = 1;
    for id in served {
        let (Some(port), Some(layout)) = (config.port(id), ports.get(id.index())) else { continue };
        let chunks = chunks_per_packet(layout, chunk);
        longest = longest.max(chunks);
        add(port.tx_queue * chunks, format!("transmit queue of {}", port.name));
    }
    // The transmit queues take what one turn brings before they are drained: a burst of each queue, at the least
    // one, and of each other worker.
    add(core.burst * queues.len().max(1) * longest, "bursts in process".to_owned());
    add(core.burst, "packets that we originate (ARP, ND, ICMP)".to_owned());
    add(config.limits.pending * longest, "packets that wait for neighbours".to_owned());
    // Fragments wait elsewhere; only a whole datagram on its way to whoever it is for is in frames.
    let room = chunk.saturating_sub(XDP_HEADROOM).max(1);
    add(MAX_DATAGRAM.div_ceil(room), "a datagram put together from fragments".to_owned());
    let others = config.cores.len().saturating_sub(1);
    add(config.limits.handoff * others * longest, "packets handed over to other workers".to_owned());
    uses
}
