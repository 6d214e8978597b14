//! How packets get from the driver to us, and what was granted of what was asked for.

use crate::socket::options::Transmit;
use core::fmt;
use core::str::FromStr;

/// A way for packets between driver and socket, or the wish for the best one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Zero-copy, else native copy, else generic; what was got and why is reported ([`Grant`]).
    #[default]
    Auto,
    /// The NIC reads and writes our chunks. Needs the driver's support.
    ZeroCopy,
    /// The program runs in the driver; the kernel copies into our chunks.
    NativeCopy,
    /// The program runs after the kernel has made an skb; works on every interface, slowest.
    Generic,
}

impl Mode {
    /// The modes to try for this wish, best first.
    pub fn candidates(self) -> &'static [Mode] {
        match self {
            Mode::Auto => &[Mode::ZeroCopy, Mode::NativeCopy, Mode::Generic],
            Mode::ZeroCopy => &[Mode::ZeroCopy],
            Mode::NativeCopy => &[Mode::NativeCopy],
            Mode::Generic => &[Mode::Generic],
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Auto => "auto",
            Mode::ZeroCopy => "zero-copy",
            Mode::NativeCopy => "native",
            Mode::Generic => "generic",
        })
    }
}

impl FromStr for Mode {
    type Err = String;
    fn from_str(text: &str) -> Result<Mode, String> {
        [Mode::Auto, Mode::ZeroCopy, Mode::NativeCopy, Mode::Generic]
            .into_iter()
            .find(|mode| mode.to_string() == text)
            .ok_or_else(|| format!("`{text}` is not a mode: auto, zero-copy, native or generic"))
    }
}

/// What a socket was asked for and what it got: for the log, `show port` and the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The wish.
    pub requested: Mode,
    /// What it is; never [`Mode::Auto`].
    pub got: Mode,
    /// Better modes that were refused, and why.
    pub refused: Vec<(Mode, String)>,
    /// The driver's name, or `unknown` for an interface that has none.
    pub driver: String,
    /// The queue.
    pub queue: u32,
    /// Packets may span several chunks, both ways.
    pub multi_buffer: bool,
    /// The port finishes checksums of packets that carry a request; otherwise [`crate::Socket::push`] does.
    pub tx_checksum: bool,
    /// Packets that one kick may send in copy mode; `None` where the kernel has no such knob (32 then).
    pub tx_budget: Option<u32>,
    /// Microseconds of preferred busy polling, when it is on.
    pub busy_poll: Option<u32>,
    /// Why the kernel polls nothing all the same, where polling was asked for.
    pub no_busy_poll: Option<String>,
    /// How bursts are transmitted; never [`Transmit::Auto`].
    pub transmit: Transmit,
    /// Why not in bulk, where that was left to us.
    pub no_bulk: Option<String>,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "queue {}: {} ({} asked for, driver {})",
            self.queue, self.got, self.requested, self.driver
        )?;
        for (mode, why) in &self.refused {
            write!(f, "; no {mode}: {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_is_read_as_it_is_written() {
        for mode in [Mode::Auto, Mode::ZeroCopy, Mode::NativeCopy, Mode::Generic] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!("fast".parse::<Mode>().unwrap_err().contains("zero-copy"));
    }
}
