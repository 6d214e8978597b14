//! # RFC 2544: what a device between two ports can do
//!
//! ```text
//!   search: the highest rate with no loss (NDR), and with a little (PDR) ──┐
//!   procedures: latency at parts of it, loss at each rate, back-to-back bursts ─┼─> report: Markdown, JSON, plots
//!   bench: one trial after another, by the packet generator ───────────────┘
//! ```
//! The device is whatever forwards from the sending port to the receiving one; it does not know that it is measured.
//! [`Trials`] is all that the tests know of it, so a model of a device, with a capacity and a buffer, tests the tests.

pub mod bench;
pub mod procedures;
pub mod report;
pub mod search;
pub mod svg;

use crate::pktgen::latency::Summary;
use serde::Serialize;
use std::time::Duration;

/// Frame sizes of section 9.1, for Ethernet.
pub const SIZES: [u16; 7] = [64, 128, 256, 512, 1024, 1280, 1518];

/// What is offered in a trial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Offer {
    /// As fast as the generator can.
    Full(Duration),
    /// Frames a second.
    Rate(f64, Duration),
    /// So many frames, as fast as the generator can.
    Burst(u64),
}

/// What a trial came to.
#[derive(Debug, Clone, Serialize)]
pub struct Trial {
    /// Frames a second that were asked for; nothing when it was all that can be.
    pub asked: Option<f64>,
    /// Frames a second that were sent.
    pub offered: f64,
    /// Frames sent.
    pub sent: u64,
    /// Frames that came, each once.
    pub received: u64,
    /// Losses that were the receiver's own.
    pub overrun: u64,
    /// Of those that came.
    pub latency: Option<Summary>,
}

impl Trial {
    /// The share of the frames that did not come.
    pub fn loss(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { 1.0 - self.received.min(self.sent) as f64 / self.sent as f64 }
    }
}

/// Somebody who makes trials.
pub trait Trials {
    /// One trial with frames of this size.
    ///
    /// # Errors
    /// One line; that is the end of the measurement.
    fn trial(&mut self, size: u16, offer: Offer) -> Result<Trial, String>;
}

#[cfg(test)]
pub(crate) mod model {
    //! A device that forwards at most so many frames a second, and holds so many.

    use super::*;

    /// The device and the generator in front of it.
    #[derive(Debug)]
    pub(crate) struct Model {
        pub(crate) capacity: f64,
        pub(crate) buffer: u64,
        pub(crate) generator: f64,
        pub(crate) trials: Vec<(u16, Offer)>,
    }

    impl Trials for Model {
        fn trial(&mut self, size: u16, offer: Offer) -> Result<Trial, String> {
            self.trials.push((size, offer));
            let (asked, rate, sent) = match offer {
                Offer::Full(time) => (None, self.generator, self.generator * time.as_secs_f64()),
                Offer::Rate(rate, time) => {
                    let rate_now = rate.min(self.generator);
                    (Some(rate), rate_now, rate_now * time.as_secs_f64())
                }
                Offer::Burst(count) => (None, self.generator, count as f64),
            };
            let seconds = sent / rate;
            let passed = (self.capacity * seconds + self.buffer as f64).min(sent);
            Ok(Trial {
                asked,
                offered: rate,
                sent: sent as u64,
                received: passed as u64,
                overrun: 0,
                latency: None,
            })
        }
    }
}
