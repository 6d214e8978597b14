//! Sizes of frames, as RFC 2544 and every card counts them: with the 4 bytes of check sequence that no software sees.
//! 64 is the shortest frame of Ethernet, 60 bytes in memory.

use super::generator::Generator;
use super::limits::{MAX_LIST, MAX_SIZE, MIN_SIZE};
use super::values::Number;
use core::str::FromStr;

/// Bytes of the frame check sequence.
pub const FCS: usize = 4;

/// Bytes that a frame takes on the wire beside itself: preamble 7, start delimiter 1, the gap behind it 12.
pub const WIRE_OVERHEAD: u64 = 20;

/// The simple IMIX: 7 of 64 bytes, 4 of 594, 1 of 1518.
const IMIX: [(u16, u16); 3] = [(64, 7), (594, 4), (1518, 1)];

/// Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes(pub Generator);

impl FromStr for Sizes {
    type Err = String;

    /// `64`, `64..1518`, `random 64..1518`, `64,594`, `imix`, or a mix of one's own: `imix 64:7,594:4,1518:1`.
    fn from_str(text: &str) -> Result<Sizes, String> {
        let text = text.trim();
        let generator = match text.strip_prefix("imix") {
            Some("") => mix(&IMIX),
            Some(rest) => {
                let parts = rest.split(',').map(part).collect::<Result<Vec<_>, _>>()?;
                mix(&parts)
            }
            None => text.parse::<Number<65535>>()?.0,
        };
        if let Generator::List { values, .. } = &generator
            && values.len() > MAX_LIST
        {
            return Err(format!("the weights of a mix add up to {}, more than {MAX_LIST}", values.len()));
        }
        let wrong = |size, word| {
            Err(format!(
                "{size} bytes are too {word} for a frame: {MIN_SIZE} to {MAX_SIZE}, with the check sequence"
            ))
        };
        match (generator.least(), generator.most()) {
            (least, _) if least < u128::from(MIN_SIZE) => return wrong(least, "short"),
            (_, most) if most > u128::from(MAX_SIZE) => return wrong(most, "long"),
            _ => {}
        }
        Ok(Sizes(generator))
    }
}

/// `SIZE:WEIGHT`.
fn part(text: &str) -> Result<(u16, u16), String> {
    let wrong = || format!("`{}` is not SIZE:WEIGHT, as in 64:7", text.trim());
    let (size, weight) = text.trim().split_once(':').ok_or_else(wrong)?;
    let weight: u16 = weight.trim().parse().map_err(|_| wrong())?;
    if weight == 0 {
        return Err(wrong());
    }
    Ok((size.trim().parse().map_err(|_| wrong())?, weight))
}

/// A round in which every size comes as often as its weight says, evenly spread: what comes next is always the one
/// that is furthest behind its share (smooth weighted round robin).
fn mix(parts: &[(u16, u16)]) -> Generator {
    let total: i64 = parts.iter().map(|(_, weight)| i64::from(*weight)).sum();
    let mut credit = vec![0i64; parts.len()];
    let mut values = Vec::new();
    // One more than the limit is enough to be refused.
    for _ in 0..total.min(MAX_LIST as i64 + 1) {
        for (credit, (_, weight)) in credit.iter_mut().zip(parts) {
            *credit += i64::from(*weight);
        }
        // The first of the largest.
        let next = (0..parts.len()).rev().max_by_key(|index| credit[*index]).unwrap_or(0);
        credit[next] -= total;
        values.push(u128::from(parts[next].0));
    }
    Generator::List { values, next: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn round(text: &str, count: usize) -> Vec<u128> {
        let mut sizes: Sizes = text.parse().unwrap();
        let mut random = Random::new(3);
        (0..count).map(|_| sizes.0.draw(&mut random)).collect()
    }

    #[test]
    fn a_round_of_imix_has_seven_four_and_one_well_mixed() {
        let round = round("imix", 12);
        let count = |size| round.iter().filter(|one| **one == size).count();
        assert_eq!((count(64), count(594), count(1518)), (7, 4, 1));
        assert!(round.windows(3).all(|three| three != [64, 64, 64]), "{round:?}");
        assert!((("imix".parse::<Sizes>().unwrap()).0.mean() - 361.83).abs() < 0.01);
    }

    #[test]
    fn sizes_are_one_a_range_chance_a_list_or_a_mix() {
        assert_eq!(round("64", 2), [64, 64]);
        assert_eq!(round("64..66", 4), [64, 65, 66, 64]);
        assert_eq!(round("64,1518", 3), [64, 1518, 64]);
        assert_eq!(round("imix 100:2,200:1", 3), [100, 200, 100]);
        assert!(round("random 64..70", 50).iter().all(|size| (64..=70).contains(size)));
    }

    #[test]
    fn the_limits_are_the_shortest_and_the_longest_frame() {
        assert!(format!("{MIN_SIZE}..{MAX_SIZE}").parse::<Sizes>().is_ok());
        assert!("63".parse::<Sizes>().unwrap_err().contains("too short"));
        assert!(format!("{}", MAX_SIZE + 1).parse::<Sizes>().unwrap_err().contains("too long"));
        assert!("imix 64:4097".parse::<Sizes>().unwrap_err().contains("more than 4096"));
        assert!("imix 64".parse::<Sizes>().unwrap_err().contains("SIZE:WEIGHT"));
    }
}
