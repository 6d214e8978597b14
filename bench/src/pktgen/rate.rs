//! How fast: packets a second, bits a second, or a share of what the link carries.
//!
//! Bits a second are those of frames, check sequence included, as interfaces count them. A share of the line is one
//! of its time: there the 20 bytes that each frame takes beside itself on the wire are counted too, so that 100 % of
//! 10 Gbit/s are 14.88 million frames of 64 bytes, as RFC 2544 has it.

use super::limits::MAX_RATE;
use super::size::WIRE_OVERHEAD;
use core::fmt;
use core::str::FromStr;

/// What somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Rate {
    /// As fast as it goes.
    #[default]
    Full,
    /// Packets in a thousand seconds, so that slow rates can be said exactly.
    Packets(u64),
    /// Bits of frames a second.
    Bits(u64),
    /// Hundredths of a per cent of the line.
    Share(u32),
}

impl FromStr for Rate {
    type Err = String;

    /// `full`, `100 kpps`, `0.5 pps`, `2.5 Gbit/s`, `50 %`.
    fn from_str(text: &str) -> Result<Rate, String> {
        let text = text.trim();
        if text == "full" {
            return Ok(Rate::Full);
        }
        let wrong = || format!("`{text}` is not a rate: `100 kpps`, `2.5 Gbit/s`, `50 %` or `full`");
        let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, unit) = text.split_at(digits);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let (factor, unit) = match unit.trim_start().as_bytes() {
            [b'k', rest @ ..] => (1e3, rest),
            [b'M', rest @ ..] => (1e6, rest),
            [b'G', rest @ ..] => (1e9, rest),
            rest => (1.0, rest),
        };
        let rate = number * factor;
        match unit {
            b"pps" => whole(text, rate * 1000.0, MAX_RATE * 1000).map(Rate::Packets),
            b"bit/s" | b"bps" => whole(text, rate, MAX_RATE).map(Rate::Bits),
            b"%" if factor == 1.0 => match whole(text, rate * 100.0, 10_000) {
                Ok(share) => Ok(Rate::Share(share as u32)),
                Err(_) => Err(format!("`{text}`: a share of the line is more than 0 and at most 100 %")),
            },
            _ => Err(wrong()),
        }
    }
}

fn whole(text: &str, number: f64, most: u64) -> Result<u64, String> {
    if number < 1.0 {
        Err(format!("`{text}` is no rate: it would never send"))
    } else if number > most as f64 {
        Err(format!("`{text}` is beyond every link: at most {MAX_RATE} bit/s or packets a second"))
    } else {
        Ok(number.round() as u64)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Rate::Full => f.write_str("full"),
            Rate::Packets(rate) => write!(f, "{} pps", rate as f64 / 1000.0),
            Rate::Bits(rate) => write!(f, "{rate} bit/s"),
            Rate::Share(share) => write!(f, "{} %", f64::from(share) / 100.0),
        }
    }
}

/// What a pacer adds up, and how much of it goes in a thousand seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Units in a thousand seconds.
    pub per_kilosecond: u64,
    /// What a frame of a size costs.
    pub cost: Cost,
}

/// The price of a frame, in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// One, whatever its size.
    Packet,
    /// Its bits.
    Bits,
    /// Its bits and those beside it on the wire.
    WireBits,
}

impl Cost {
    /// Of a frame with this many bytes, check sequence included.
    #[inline]
    pub fn of(self, size: u64) -> u64 {
        match self {
            Cost::Packet => 1,
            Cost::Bits => size * 8,
            Cost::WireBits => (size + WIRE_OVERHEAD) * 8,
        }
    }
}

impl Rate {
    /// The budget of one of `workers` workers that share this rate on a line of `line` bits a second (`None`: unknown);
    /// `None` for full speed. `mean` is the mean size of frames.
    ///
    /// # Errors
    /// Where the line cannot carry it, or must be known and is not.
    pub fn budget(self, line: Option<u64>, mean: f64, workers: usize) -> Result<Option<Budget>, String> {
        let workers = workers.max(1) as u64;
        let (total, cost) = match self {
            Rate::Full => return Ok(None),
            Rate::Packets(rate) => (rate, Cost::Packet),
            Rate::Bits(rate) => (rate.saturating_mul(1000), Cost::Bits),
            Rate::Share(share) => {
                let line = line.ok_or_else(|| {
                    format!("{self} of what? The interface does not say how fast it is: give `line_rate`")
                })?;
                (line.saturating_mul(u64::from(share)) / 10, Cost::WireBits)
            }
        };
        // What it takes of the line's time, gaps included.
        let on_the_wire = (mean + WIRE_OVERHEAD as f64) * 8.0;
        let needed = match self {
            Rate::Packets(rate) => rate as f64 / 1000.0 * on_the_wire,
            Rate::Bits(rate) => rate as f64 / (mean * 8.0) * on_the_wire,
            Rate::Share(_) | Rate::Full => 0.0, // at most 100 %
        };
        if let Some(line) = line
            && needed > line as f64 * 1.000_001
        {
            return Err(format!(
                "{self} is impossible: with frames of {mean:.0} bytes that is {:.2} Gbit/s on a line of {:.2}",
                needed / 1e9,
                line as f64 / 1e9
            ));
        }
        Ok(Some(Budget { per_kilosecond: (total / workers).max(1), cost }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_in_every_unit() {
        let rate = |text: &str| text.parse::<Rate>().unwrap();
        assert_eq!(rate("full"), Rate::Full);
        assert_eq!(rate("100 kpps"), Rate::Packets(100_000_000));
        assert_eq!(rate("0.5pps"), Rate::Packets(500));
        assert_eq!(rate("2.5 Gbit/s"), Rate::Bits(2_500_000_000));
        assert_eq!(rate("10Mbps"), Rate::Bits(10_000_000));
        assert_eq!(rate("12.5 %"), Rate::Share(1250));
        for rate in [Rate::Full, Rate::Packets(1500), Rate::Bits(7), Rate::Share(1)] {
            assert_eq!(rate.to_string().parse(), Ok(rate), "it is read as it is shown");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        let wrong = |text: &str| text.parse::<Rate>().unwrap_err();
        assert!(wrong("fast").contains("is not a rate"));
        assert!(wrong("10").contains("is not a rate"));
        assert!(wrong("0 pps").contains("never send"));
        assert!(wrong("101 %").contains("at most 100 %") && wrong("0 %").contains("more than 0"));
        assert!(wrong("1 k%").contains("is not a rate"));
        assert!("1000 Gpps".parse::<Rate>().is_ok());
        assert!(wrong("1001 Gpps").contains("beyond every link"));
    }

    #[test]
    fn a_share_of_ten_gigabit_is_the_rate_that_rfc_2544_names() {
        let budget = Rate::Share(10_000).budget(Some(10_000_000_000), 64.0, 1).unwrap().unwrap();
        let packets = budget.per_kilosecond / 1000 / budget.cost.of(64);
        assert_eq!(packets, 14_880_952);
    }

    #[test]
    fn a_rate_that_the_line_cannot_carry_is_impossible_and_an_unknown_line_has_no_shares() {
        let packets = |rate: u64| Rate::Packets(rate * 1000);
        assert!(packets(14_880_952).budget(Some(10_000_000_000), 64.0, 1).is_ok());
        let why = packets(15_000_000).budget(Some(10_000_000_000), 64.0, 1).unwrap_err();
        assert!(why.contains("is impossible"), "{why}");
        assert!(packets(15_000_000).budget(None, 64.0, 1).is_ok());
        assert!(Rate::Share(5000).budget(None, 64.0, 1).unwrap_err().contains("line_rate"));
        let two = packets(10).budget(None, 64.0, 2).unwrap().unwrap();
        assert_eq!(two.per_kilosecond, 5000, "workers share");
    }
}
