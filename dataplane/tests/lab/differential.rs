//! The same conversations with Linux and with Flumen, segment by segment: what a client that is played by hand gets
//! back is compared field by field.
//!
//! ```text
//!   played client 10.0.1.77 ── lan ─┬─ Flumen's discard service 10.0.1.1:9
//!                                   └─ (routed) ── a thread of the server's kernel that reads 10.0.2.2:9
//! ```
//! Compared are flags, numbers relative to both beginnings, lengths, and options with their contents (of timestamps and
//! window scales only that they are there). Windows are not: the machines' buffers differ. A bare acknowledgment that
//! a later segment of the same step makes superfluous is left out: Flumen's services answer within the turn in which the
//! question came.

use super::harness::{LAN_MAC, Lab, Role, Wire};
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

const US: [u8; 4] = [10, 0, 1, 77];
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 1, 77];
const ISN: u32 = 1_000_000;
/// A step is over when nothing came for so long.
const QUIET: Duration = Duration::from_millis(300);

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// MSS 1460, SACK permitted, no window scale, no timestamps.
const PLAIN: &[u8] = &[2, 4, 5, 180, 4, 2, 1, 1];
/// MSS, SACK permitted, timestamps, window scale: Linux's own.
const FULL: &[u8] = &[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 1, 0, 0, 0, 0, 0, 1, 3, 3, 7];

/// What the client says in one step: numbers count from the two initial sequence numbers.
#[derive(Clone, Copy)]
struct Say {
    flags: u8,
    seq: u32,
    ack: u32,
    len: usize,
    options: &'static [u8],
}

const fn say(flags: u8, seq: u32, ack: u32, len: usize) -> Say {
    Say { flags, seq, ack, len, options: &[] }
}

const fn with(options: &'static [u8], said: Say) -> Say {
    Say { options, ..said }
}

/// Every conversation: its name, its steps, and how long the last one is listened to.
const CORPUS: &[(&str, u16, &[Say], u64)] = &[
    ("open with the options of Linux", 9, &[with(FULL, say(SYN, 0, 0, 0))], 0),
    ("open without options", 9, &[say(SYN, 0, 0, 0)], 0),
    ("a SYN that comes twice", 9, &[with(PLAIN, say(SYN, 0, 0, 0)), with(PLAIN, say(SYN, 0, 0, 0))], 0),
    ("a SYN-ACK that is never answered comes again after one and two seconds more", 9, &[with(PLAIN, say(SYN, 0, 0, 0))], 3600),
    ("a closed port", 6, &[with(PLAIN, say(SYN, 0, 0, 0))], 0),
    ("an acknowledgment for nobody", 9, &[say(ACK, 5, 77, 0)], 0),
    ("a reset for nobody", 9, &[say(RST, 5, 0, 0)], 0),
    ("SYN and FIN together", 9, &[with(PLAIN, say(SYN | FIN, 0, 0, 0))], 0),
    ("data, and the end", 9, &[with(PLAIN, say(SYN, 0, 0, 0)), say(ACK, 1, 1, 0), say(ACK | PSH, 1, 1, 100), say(FIN | ACK, 101, 1, 0), say(ACK, 102, 2, 0)], 0),
    ("a gap, then what was missing", 9, &[with(PLAIN, say(SYN, 0, 0, 0)), say(ACK, 1, 1, 0), say(ACK, 101, 1, 100), say(ACK, 301, 1, 100), say(ACK, 1, 1, 100), say(ACK, 201, 1, 100)], 0),
    ("data twice", 9, &[with(PLAIN, say(SYN, 0, 0, 0)), say(ACK, 1, 1, 0), say(ACK | PSH, 1, 1, 100), say(ACK | PSH, 1, 1, 100), say(ACK | PSH, 51, 1, 100)], 0),
    ("a reset beside the expected number", 9, &[with(PLAIN, say(SYN, 0, 0, 0)), say(ACK, 1, 1, 0), say(RST, 50, 0, 0), say(RST, 1, 0, 0), say(ACK | PSH, 1, 1, 10)], 0),
    ("a SYN on a connection that stands", 9, &[with(PLAIN, say(SYN, 0, 0, 0)), say(ACK, 1, 1, 0), with(PLAIN, say(SYN, 500, 0, 0))], 0),
    ("a segment without any flag", 9, &[with(PLAIN, say(SYN, 0, 0, 0)), say(ACK, 1, 1, 0), say(0, 1, 0, 10), say(ACK | PSH, 1, 1, 10)], 0),
    ("a handshake that acknowledges what was not sent", 9, &[with(PLAIN, say(SYN, 0, 0, 0)), say(ACK, 1, 5, 0)], 0),
    ("a FIN that comes before the data in front of it", 9, &[with(PLAIN, say(SYN, 0, 0, 0)), say(ACK, 1, 1, 0), say(FIN | ACK, 101, 1, 0), say(ACK | PSH, 1, 1, 100)], 0),
    ("a reset ends a half-open connection", 9, &[with(PLAIN, say(SYN, 0, 0, 0)), say(RST, 1, 0, 0), say(ACK, 1, 1, 0)], 0),
];

/// One segment that came.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Heard {
    flags: u8,
    seq: u32,
    ack: u32,
    len: usize,
    options: Vec<String>,
}

struct Client {
    wire: Wire,
    peer: [u8; 4],
    port: u16,
    service: u16,
    /// The peer's initial sequence number, once it is known.
    theirs: Option<u32>,
}

impl Client {
    fn send(&self, said: Say) {
        let Say { flags, seq, ack, len, options } = said;
        let mut tcp = etherparse::TcpHeader::new(self.port, self.service, ISN.wrapping_add(seq), 32_000);
        (tcp.fin, tcp.syn, tcp.rst) = (flags & FIN != 0, flags & SYN != 0, flags & RST != 0);
        (tcp.psh, tcp.ack) = (flags & PSH != 0, flags & ACK != 0);
        if tcp.ack {
            tcp.acknowledgment_number = self.theirs.unwrap_or(0).wrapping_add(ack);
        }
        tcp.set_options_raw(options).expect("options that fit");
        let builder = PacketBuilder::ethernet2(OUR_MAC, LAN_MAC).ipv4(US, self.peer, 64).tcp_header(tcp);
        let data = vec![b'x'; len];
        let mut frame = Vec::with_capacity(builder.size(len));
        builder.write(&mut frame, &data).expect("a frame");
        self.wire.send(&frame);
    }

    /// What comes until it is quiet, or until `time` is over if that is later.
    fn hear(&mut self, time: Duration) -> Vec<Heard> {
        let mut heard: Vec<Heard> = Vec::new();
        let end = Instant::now() + time;
        loop {
            let patience = QUIET.max(end.saturating_duration_since(Instant::now()));
            let mut question = None;
            let one = self.wire.find(patience, |frame| {
                question = question.take().or_else(|| arp_answer(frame));
                if question.is_some() {
                    return Some(None);
                }
                self.read(frame).map(Some)
            });
            match one {
                None => break,
                Some(None) => self.wire.send(&question.expect("a question for us")),
                Some(Some((seq, one))) => {
                    if one.flags & SYN != 0 && self.theirs.is_none() {
                        self.theirs = Some(seq);
                    }
                    let base = if one.flags & RST != 0 && self.theirs.is_none() { 0 } else { self.theirs.unwrap_or(0) };
                    heard.push(Heard { seq: seq.wrapping_sub(base), ..one });
                }
            }
        }
        // What a later segment says as well.
        let superfluous = |n: usize| {
            let one = &heard[n];
            one.flags & !PSH == ACK
                && one.len == 0
                && heard[n + 1..].iter().any(|later| later.flags & ACK != 0 && later.flags & !(ACK | PSH) != 0)
        };
        (0..heard.len()).filter(|n| !superfluous(*n)).map(|n| heard[n].clone()).collect()
    }

    /// A segment of this conversation; its sequence number as it is.
    fn read(&self, frame: &[u8]) -> Option<(u32, Heard)> {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        let net = packet.net?;
        let header = net.ipv4_ref()?.header();
        let TransportSlice::Tcp(tcp) = packet.transport? else { return None };
        if header.source() != self.peer || header.destination() != US || tcp.destination_port() != self.port {
            return None;
        }
        let mut flags = 0;
        for (set, flag) in
            [(tcp.fin(), FIN), (tcp.syn(), SYN), (tcp.rst(), RST), (tcp.psh(), PSH), (tcp.ack(), ACK)]
        {
            flags |= if set { flag } else { 0 };
        }
        let ack = if tcp.ack() { tcp.acknowledgment_number().wrapping_sub(ISN) } else { 0 };
        let len = usize::from(header.total_len()) - 20 - usize::from(tcp.data_offset()) * 4;
        Some((tcp.sequence_number(), Heard { flags, seq: 0, ack, len, options: options(tcp.options()) }))
    }
}

/// Options in their order, with what can be compared of their contents.
fn options(mut bytes: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    while let [kind, rest @ ..] = bytes {
        match (kind, rest) {
            (0, _) => break,
            (1, _) => {
                all.push("nop".to_owned());
                bytes = rest;
            }
            (_, [len, ..]) if usize::from(*len) >= 2 && usize::from(*len) <= bytes.len() => {
                let (one, behind) = bytes.split_at(usize::from(*len));
                all.push(match kind {
                    2 => format!("mss {}", u16::from_be_bytes([one[2], one[3]])),
                    3 => "scale".to_owned(),
                    8 => "timestamps".to_owned(),
                    5 => {
                        let edges = one[2..].chunks_exact(4).map(|edge| {
                            u32::from_be_bytes(edge.try_into().expect("four")).wrapping_sub(ISN).to_string()
                        });
                        format!("sack {}", edges.collect::<Vec<_>>().join(" "))
                    }
                    other => format!("kind {other}"),
                });
                bytes = behind;
            }
            _ => break,
        }
    }
    all
}

/// The answer to a question for our address.
fn arp_answer(frame: &[u8]) -> Option<Vec<u8>> {
    if frame.get(12..14)? != [8, 6] || frame.get(20..22)? != [0, 1] || frame.get(38..42)? != US {
        return None;
    }
    let mut answer = frame[..42].to_vec();
    answer[..6].copy_from_slice(&frame[6..12]);
    answer[6..12].copy_from_slice(&OUR_MAC);
    answer[21] = 2;
    answer[22..28].copy_from_slice(&OUR_MAC);
    answer[28..32].copy_from_slice(&US);
    answer[32..42].copy_from_slice(&frame[22..32]);
    Some(answer)
}

fn converse(lab: &Lab, peer: [u8; 4], port: u16, service: u16, steps: &[Say], last: u64) -> Vec<Vec<Heard>> {
    let mut client = Client { wire: lab.wire(Role::Client), peer, port, service, theirs: None };
    let heard = steps
        .iter()
        .enumerate()
        .map(|(number, said)| {
            client.send(*said);
            let time = if number + 1 == steps.len() { last } else { 0 };
            client.hear(Duration::from_millis(time))
        })
        .collect();
    // Whatever stands is taken down, so that nothing comes later.
    client.send(say(RST, steps.iter().map(|said| said.seq + said.len as u32 + 1).max().unwrap_or(0), 0, 0));
    heard
}

pub fn the_same_segments_are_answered_as_linux_answers_them() {
    let lab = Lab::plan()
        .offloads_off()
        .tables("\n[[service]]\nkind = \"discard\"\nlisten = [\"10.0.1.1:9\"]\n")
        .up();
    let reader = lab.within(Role::Server, || {
        let listener = TcpListener::bind((Ipv4Addr::new(10, 0, 2, 2), 9)).expect("port 9 is free");
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let mut stream = stream;
                    let mut buffer = [0; 4096];
                    while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
                });
            }
        });
    });
    reader.join().expect("a reader at the server");
    // Both ways are found before anything is compared.
    for peer in [[10, 0, 1, 1], [10, 0, 2, 2]] {
        converse(&lab, peer, 39_999, 9, &[with(PLAIN, say(SYN, 0, 0, 0))], 1500);
    }
    let mut differences = Vec::new();
    let mut heard = 0;
    for (number, (name, service, steps, last)) in CORPUS.iter().enumerate() {
        let port = 40_000 + number as u16;
        // Most of the time goes by in waiting: with both at once.
        let (linux, flumen) = std::thread::scope(|scope| {
            let linux = scope.spawn(|| converse(&lab, [10, 0, 2, 2], port, *service, steps, *last));
            let flumen = converse(&lab, [10, 0, 1, 1], port, *service, steps, *last);
            (linux.join().expect("Linux was heard"), flumen)
        });
        heard += linux.iter().map(Vec::len).sum::<usize>();
        if number == 0 {
            let syn_ack = ["mss 1460", "kind 4", "timestamps", "nop", "scale"].map(str::to_owned).to_vec();
            assert_eq!(linux, [vec![Heard { flags: SYN | ACK, seq: 0, ack: 1, len: 0, options: syn_ack }]]);
        }
        if linux != flumen {
            differences.push(format!("{name}:\n  Linux  {linux:?}\n  Flumen {flumen:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(heard > 2 * CORPUS.len(), "Linux said {heard} segments in all");
}
