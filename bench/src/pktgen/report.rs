//! What a run came to, in lines for people and in JSON for programs.

use super::engine::Run;
use super::latency::Summary;
use super::plan::{Load, Plan};
use super::size::WIRE_OVERHEAD;
use core::fmt;
use serde::Serialize;

/// The report of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The sending side, where there is one.
    pub tx: Option<Sent>,
    /// The receiving side, where there is one.
    pub rx: Option<Received>,
    /// Somebody ended it before its time.
    pub interrupted: bool,
}

/// What was sent.
#[derive(Debug, Clone, Serialize)]
pub struct Sent {
    /// The port.
    pub port: String,
    /// What each socket got, in words.
    pub sockets: Vec<String>,
    /// The rate that was asked for.
    pub asked: String,
    /// Frames.
    pub frames: u64,
    /// Bytes of frames, check sequences included.
    pub bytes: u64,
    /// From the first to the last.
    pub seconds: f64,
    /// Frames a second.
    pub pps: f64,
    /// Bits of frames a second.
    pub bits_per_second: f64,
    /// Bits a second with what frames take beside themselves on the wire.
    pub wire_bits_per_second: f64,
    /// Frames that were made and that no port took.
    pub unsent: u64,
    /// Seconds of sending that were given up because the sender was too far behind its rate.
    pub behind_seconds: f64,
}

/// What was received.
#[derive(Debug, Clone, Serialize)]
pub struct Received {
    /// The port.
    pub port: String,
    /// Frames of all kinds.
    pub frames: u64,
    /// Their bytes, check sequences included.
    pub bytes: u64,
    /// Marked ones, each once.
    pub marked: u64,
    /// From the first marked one to the last.
    pub seconds: f64,
    /// Marked frames a second.
    pub pps: f64,
    /// Frames that were sent and did not come; nothing where nobody can know.
    pub lost: Option<u64>,
    /// Of what was sent.
    pub loss: Option<f64>,
    /// Came behind newer ones (RFC 4737).
    pub reordered: u64,
    /// The most places that one came late.
    pub farthest: u64,
    /// Further copies.
    pub duplicates: u64,
    /// So late that it is not known whether they are copies.
    pub too_old: u64,
    /// Of streams that are not followed.
    pub strange: u64,
    /// Streams seen.
    pub streams: usize,
    /// ARP and neighbour discovery.
    pub neighbour: u64,
    /// Anything else.
    pub other: u64,
    /// Lost in front of our own sockets: the receiver was too slow, not the device.
    pub overrun: u64,
    /// In nanoseconds.
    pub latency: Option<Summary>,
}

impl Report {
    /// Of a run of a plan. `load` as it was run, `sockets` in words.
    pub fn new(plan: &Plan, load: &Load, run: &Run, sockets: Vec<String>) -> Report {
        let tally = &run.tally;
        let seconds =
            |time: Option<(u64, u64)>| time.map_or(0.0, |(first, last)| (last - first) as f64 / 1e9);
        let (tx_seconds, rx_seconds) = (seconds(tally.tx_time), seconds(tally.rx_time));
        let tx = plan.tx.as_ref().map(|side| {
            let per_second = |amount: u64| rate(amount, tx_seconds);
            Sent {
                port: side.port.to_string(),
                sockets,
                asked: match &load.replay {
                    Some((_, super::scenario::Speed::Recorded(factor), _)) => {
                        format!("{factor}x as recorded")
                    }
                    _ => load.rate.to_string(),
                },
                frames: tally.tx_frames,
                bytes: tally.tx_bytes,
                seconds: tx_seconds,
                pps: per_second(tally.tx_frames),
                bits_per_second: per_second(tally.tx_bytes * 8),
                wire_bits_per_second: per_second((tally.tx_bytes + tally.tx_frames * WIRE_OVERHEAD) * 8),
                unsent: tally.tx_unsent,
                behind_seconds: tally.tx_forgotten as f64 / 1e9,
            }
        });
        let rx = plan.rx.as_ref().map(|side| Received {
            port: side.port.to_string(),
            frames: tally.rx_frames,
            bytes: tally.rx_bytes,
            marked: run.unique,
            seconds: rx_seconds,
            pps: rate(run.unique, rx_seconds),
            lost: run.lost.filter(|_| load.mark),
            loss: run.lost.filter(|_| load.mark).map(|lost| share(lost, lost + run.unique)),
            reordered: run.reordered,
            farthest: run.farthest,
            duplicates: run.duplicates,
            too_old: run.too_old,
            strange: run.strange,
            streams: run.streams,
            neighbour: tally.rx_neighbour,
            other: tally.rx_other,
            overrun: tally.rx_overrun,
            latency: run.latency.clone(),
        });
        Report { tx, rx, interrupted: run.interrupted }
    }
}

fn rate(amount: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { amount as f64 / seconds } else { 0.0 }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tx) = &self.tx {
            writeln!(
                f,
                "sent      {} frames in {:.3} s by {}: {}, {}, {} on the wire (asked: {})",
                tx.frames,
                tx.seconds,
                tx.port,
                packets(tx.pps),
                bits(tx.bits_per_second),
                bits(tx.wire_bits_per_second),
                tx.asked
            )?;
            if tx.unsent > 0 {
                writeln!(f, "          {} frames were made and not taken by the port: not sent", tx.unsent)?;
            }
            if tx.behind_seconds >= 0.001 {
                writeln!(
                    f,
                    "          the sender did not keep up: {:.3} s of its rate were not sent",
                    tx.behind_seconds
                )?;
            }
        }
        if let Some(rx) = &self.rx {
            writeln!(
                f,
                "received  {} marked frames in {:.3} s by {}: {}",
                rx.marked,
                rx.seconds,
                rx.port,
                packets(rx.pps)
            )?;
            if let (Some(lost), Some(loss)) = (rx.lost, rx.loss) {
                writeln!(f, "lost      {lost} ({:.4} %)", loss * 100.0)?;
            }
            if rx.overrun > 0 {
                writeln!(
                    f,
                    "          {} of the losses are the receiver's own: its rings were full",
                    rx.overrun
                )?;
            }
            writeln!(
                f,
                "order     {} reordered (at most {} places), {} duplicates, {} too late to tell",
                rx.reordered, rx.farthest, rx.duplicates, rx.too_old
            )?;
            writeln!(
                f,
                "besides   {} of neighbours, {} others, {} of streams beyond the limit",
                rx.neighbour, rx.other, rx.strange
            )?;
            match &rx.latency {
                Some(latency) => writeln!(f, "latency   {}", Shown(latency))?,
                None if rx.marked > 0 => {
                    writeln!(f, "latency   not known: the marks were made by another clock")?;
                }
                None => {}
            }
        }
        if self.interrupted {
            writeln!(f, "interrupted before its end")?;
        }
        Ok(())
    }
}

/// Latencies in one line.
#[derive(Debug)]
pub struct Shown<'a>(pub &'a Summary);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "least {}", time(self.0.least as f64))?;
        for (at, value) in &self.0.quantiles {
            if *at < 100.0 {
                write!(f, ", p{at} {}", time(*value as f64))?;
            } else {
                write!(f, ", most {}", time(*value as f64))?;
            }
        }
        write!(f, "; jitter {}", time(self.0.jitter))
    }
}

/// Nanoseconds, in the unit that suits them.
pub fn time(nanos: f64) -> String {
    match nanos {
        _ if nanos >= 1e9 => format!("{:.3} s", nanos / 1e9),
        _ if nanos >= 1e6 => format!("{:.2} ms", nanos / 1e6),
        _ if nanos >= 1e3 => format!("{:.1} us", nanos / 1e3),
        _ => format!("{nanos:.0} ns"),
    }
}

/// Frames a second.
pub fn packets(rate: f64) -> String {
    scaled(rate, "pps")
}

/// Bits a second.
pub fn bits(rate: f64) -> String {
    scaled(rate, "bit/s")
}

fn scaled(rate: f64, unit: &str) -> String {
    match rate {
        _ if rate >= 1e9 => format!("{:.3} G{unit}", rate / 1e9),
        _ if rate >= 1e6 => format!("{:.3} M{unit}", rate / 1e6),
        _ if rate >= 1e3 => format!("{:.1} k{unit}", rate / 1e3),
        _ => format!("{rate:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_in_the_unit_that_suits_them() {
        assert_eq!(packets(14_880_952.0), "14.881 Mpps");
        assert_eq!(bits(10_000_000_000.0), "10.000 Gbit/s");
        assert_eq!((packets(1500.0), packets(3.0)), ("1.5 kpps".to_owned(), "3.0 pps".to_owned()));
        assert_eq!((time(999.0), time(1500.0)), ("999 ns".to_owned(), "1.5 us".to_owned()));
        assert_eq!((time(2.5e6), time(3e9)), ("2.50 ms".to_owned(), "3.000 s".to_owned()));
    }
}
