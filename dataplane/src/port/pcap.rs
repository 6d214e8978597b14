//! `pcap` ports: packets from a capture file, endlessly if asked; packets into a capture file, or nowhere.
//!
//! The whole file is read into memory at start, so that replay makes no system call. What is written goes
//! through a buffer, and the worker flushes it in housekeeping and at the end: a file is no packet path.

use crate::mempool::{PoolFrame, WorkerPool};
use crate::packet_ring::MAX_PACKET;
use flumen_stack::counters::Counters;
use flumen_stack::egress::TxQueue;
use flumen_stack::{Burst, DropReason, Frame, Instant, PortId};
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::PcapNgReader;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most bytes of packets that a replayed file may hold; it is kept in memory.
pub const MAX_REPLAY_BYTES: usize = 1 << 30;

/// What is wrong with a capture file.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    /// It cannot be opened or created.
    #[error("{path}: {source}", path = .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// It is not a capture, or broken in the middle.
    #[error("{path}: not a readable capture after {packets} packets: {reason}", path = .path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// Packets that could be read.
        packets: usize,
        /// What the reader says.
        reason: String,
    },
    /// Its packets do not start with an Ethernet header.
    #[error("{path}: link type {link:?}; only Ethernet captures can be replayed", path = .path.display())]
    NotEthernet {
        /// The file.
        path: PathBuf,
        /// The link type that it names.
        link: DataLink,
    },
    /// It holds no packet at all, or more than can be kept.
    #[error("{path}: {reason}", path = .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
}

/// Where a packet lies in the bytes of a [`Replay`].
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

/// The packets of a file, in one piece.
#[derive(Debug, Default)]
pub struct Replay {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    /// When each was captured, since the first.
    times: Vec<Duration>,
    next: usize,
    repeat: bool,
}

impl Replay {
    /// Reads a capture (pcap or pcapng). Packets that were cut short when they were captured are replayed
    /// as they are.
    pub fn open(path: &Path, repeat: bool) -> Result<Replay, PcapError> {
        let open = |source| PcapError::Open { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(open)?;
        let mut magic = [0u8; 4];
        file.read_exact(&mut magic).map_err(open)?;
        file.rewind().map_err(open)?;
        let mut replay = Replay { repeat, ..Replay::default() };
        if magic == [0x0a, 0x0d, 0x0d, 0x0a] {
            replay.read_pcapng(path, BufReader::new(file))?;
        } else {
            replay.read_pcap(path, BufReader::new(file))?;
        }
        if replay.spans.is_empty() {
            return Err(PcapError::Unusable { path: path.to_owned(), reason: "the capture holds no packet" });
        }
        Ok(replay)
    }

    /// A replay of packets in memory.
    pub fn of_packets<'a>(packets: impl IntoIterator<Item = &'a [u8]>, repeat: bool) -> Replay {
        let mut replay = Replay { repeat, ..Replay::default() };
        for packet in packets {
            replay.append(packet, Duration::ZERO);
        }
        replay
    }

    /// Packet `index` of the file, and how long after the first it was captured (never less than the one before it;
    /// packets without a time came with that one). For who sends them in his own time.
    pub fn packet(&self, index: usize) -> Option<(Duration, &[u8])> {
        let Span { start, end } = *self.spans.get(index)?;
        Some((self.times[index], &self.bytes[start as usize..end as usize]))
    }

    /// How many packets the file holds.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True when it holds none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// True when every packet has been replayed and none will come again.
    pub fn is_finished(&self) -> bool {
        !self.repeat && self.next == self.spans.len()
    }

    fn read_pcap(&mut self, path: &Path, file: impl Read) -> Result<(), PcapError> {
        let mut reader = PcapReader::new(file).map_err(|error| self.broken(path, &error))?;
        check_link(path, reader.header().datalink)?;
        let mut first = None;
        while let Some(packet) = reader.next_packet() {
            let packet = packet.map_err(|error| self.broken(path, &error))?;
            first.get_or_insert(packet.timestamp);
            self.keep(path, &packet.data, since(first, packet.timestamp))?;
        }
        Ok(())
    }

    fn read_pcapng(&mut self, path: &Path, file: impl Read) -> Result<(), PcapError> {
        use pcap_file::pcapng::Block;
        let mut reader = PcapNgReader::new(file).map_err(|error| self.broken(path, &error))?;
        let mut first = None;
        while let Some(block) = reader.next_block() {
            match block.map_err(|error| self.broken(path, &error))? {
                Block::InterfaceDescription(interface) => check_link(path, interface.linktype)?,
                Block::EnhancedPacket(packet) => {
                    first.get_or_insert(packet.timestamp);
                    self.keep(path, &packet.data, since(first, packet.timestamp))?;
                }
                Block::SimplePacket(packet) => self.keep(path, &packet.data, Duration::ZERO)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn keep(&mut self, path: &Path, packet: &[u8], time: Duration) -> Result<(), PcapError> {
        let unusable = |reason| PcapError::Unusable { path: path.to_owned(), reason };
        if packet.len() > MAX_PACKET {
            return Err(unusable(
                "a packet is longer than the largest MTU allows; captured with segmentation offload on?",
            ));
        }
        if self.bytes.len() + packet.len() > MAX_REPLAY_BYTES {
            return Err(unusable("the capture holds more than 1 GiB of packets"));
        }
        let before = self.times.last().copied().unwrap_or_default();
        self.append(packet, time.max(before));
        Ok(())
    }

    fn append(&mut self, packet: &[u8], time: Duration) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(packet);
        self.spans.push(Span { start, end: self.bytes.len() as u32 });
        self.times.push(time);
    }

    fn broken(&self, path: &Path, error: &dyn std::fmt::Display) -> PcapError {
        PcapError::Broken { path: path.to_owned(), packets: self.spans.len(), reason: error.to_string() }
    }

    #[inline]
    fn next(&mut self) -> Option<&[u8]> {
        if self.next == self.spans.len() {
            if !self.repeat {
                return None;
            }
            self.next = 0;
        }
        let Span { start, end } = *self.spans.get(self.next)?;
        self.next += 1;
        self.bytes.get(start as usize..end as usize)
    }
}

/// How long after the first; nothing for a clock that was set back.
fn since(first: Option<Duration>, time: Duration) -> Duration {
    time.saturating_sub(first.unwrap_or(time))
}

fn check_link(path: &Path, link: DataLink) -> Result<(), PcapError> {
    if link == DataLink::ETHERNET {
        Ok(())
    } else {
        Err(PcapError::NotEthernet { path: path.to_owned(), link })
    }
}

/// Where packets go that leave by a pcap port.
#[derive(Debug)]
pub enum Sink {
    /// Nowhere: they are counted and given back to the pool.
    Discard,
    /// Into a capture file with nanosecond timestamps.
    File(Box<Capture>),
}

/// A capture file that is being written, in the classic format with nanosecond timestamps. Written here
/// rather than by the crate that reads, because that one cannot be flushed in the middle.
#[derive(Debug)]
pub struct Capture {
    path: PathBuf,
    writer: BufWriter<File>,
    /// Wall-clock time of the stack's origin of time.
    epoch: Duration,
    failed: bool,
}

impl Capture {
    /// Creates the file. `epoch` is the wall-clock time (since 1970) of [`Instant::ZERO`].
    pub fn create(path: &Path, epoch: Duration) -> Result<Capture, PcapError> {
        let open = |source| PcapError::Open { path: path.to_owned(), source };
        let mut writer = BufWriter::with_capacity(1 << 20, File::create(path).map_err(open)?);
        const NANOSECOND_MAGIC: u32 = 0xa1b2_3c4d;
        const ETHERNET: u32 = 1;
        for word in [NANOSECOND_MAGIC, 2 | 4 << 16, 0, 0, MAX_PACKET as u32, ETHERNET] {
            writer.write_all(&word.to_le_bytes()).map_err(open)?;
        }
        writer.flush().map_err(open)?;
        Ok(Capture { path: path.to_owned(), writer, epoch, failed: false })
    }

    fn write(&mut self, frame: &PoolFrame, now: Instant) -> Result<(), DropReason> {
        if self.failed {
            return Err(DropReason::TxRefused);
        }
        self.write_record(frame, now).map_err(|error| self.fail(&error))
    }

    fn write_record(&mut self, frame: &PoolFrame, now: Instant) -> std::io::Result<()> {
        let at = self.epoch + Duration::from_nanos(now.nanos());
        let len = frame.packet_len() as u32;
        for word in [at.as_secs() as u32, at.subsec_nanos(), len, len] {
            self.writer.write_all(&word.to_le_bytes())?;
        }
        let mut index = 0;
        while let Some(segment) = frame.segment(index) {
            self.writer.write_all(segment)?;
            index += 1;
        }
        Ok(())
    }

    fn fail(&mut self, error: &std::io::Error) -> DropReason {
        self.failed = true;
        tracing::error!(file = %self.path.display(), %error, "the capture ends here: it cannot be written");
        DropReason::TxRefused
    }
}

/// A port made of files.
#[derive(Debug)]
pub struct PcapPort {
    /// What comes in; `None`: nothing.
    pub replay: Option<Replay>,
    /// What becomes of what goes out.
    pub sink: Sink,
}

impl PcapPort {
    /// Takes up to `max` packets of the file.
    #[inline]
    pub fn receive(&mut self, pool: &mut WorkerPool, burst: &mut Burst<PoolFrame>, max: usize) {
        let Some(replay) = &mut self.replay else { return };
        for _ in 0..max.min(burst.remaining_capacity()) {
            let Some(packet) = replay.next() else { break };
            if let Some(frame) = pool.short_frame(packet) {
                burst.push(frame);
                continue;
            }
            let Some(frame) = pool.frame(packet) else {
                // Nothing is lost: the packet comes again when there are frames.
                replay.next -= 1;
                break;
            };
            burst.push(frame);
        }
    }

    /// Writes or discards all that waits.
    #[inline]
    pub fn transmit(
        &mut self,
        queue: &mut TxQueue<PoolFrame>,
        port: PortId,
        now: Instant,
        counters: &mut Counters,
    ) -> usize {
        match &mut self.sink {
            Sink::Discard => queue.clear(),
            Sink::File(capture) => {
                let mut sent = 0;
                while let Some(frame) = queue.pop() {
                    match capture.write(&frame, now) {
                        Ok(()) => sent += 1,
                        Err(reason) => counters.drop_unsent(port, reason),
                    }
                }
                sent
            }
        }
    }

    /// Writes what is buffered to the file.
    pub fn flush(&mut self) {
        if let Sink::File(capture) = &mut self.sink
            && !capture.failed
            && let Err(error) = capture.writer.flush()
        {
            capture.fail(&error);
        }
    }
}
