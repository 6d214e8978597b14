//! Reading reports: what hosts say of what they want (RFC 9776 section 4.2, RFC 9777 section 5.2).
//!
//! ```text
//!   | kind | aux words | number of sources | group | sources … | auxiliary data |     each record
//! ```
//!
//! A record that is cut off ends the report; records of kinds that nobody knows are passed over (section 4.2.12).

use crate::groups::RecordKind;
use core::net::IpAddr;

/// Bytes in front of the records.
const HEADER: usize = 8;

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportRecord<'a> {
    /// What is said.
    pub kind: RecordKind,
    /// About which group.
    pub group: IpAddr,
    /// Sources, as they lie in the message.
    pub sources: &'a [u8],
}

/// The records of a report.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    left: u16,
    v6: bool,
}

/// The records of a report of the newest version, whose first byte is its type.
pub fn records(message: &[u8], v6: bool) -> Records<'_> {
    let left = message.get(6..HEADER).map_or(0, |count| u16::from_be_bytes([count[0], count[1]]));
    Records { rest: message.get(HEADER..).unwrap_or_default(), left, v6 }
}

/// Addresses as they lie in a message.
pub fn addresses(bytes: &[u8], v6: bool) -> impl Iterator<Item = IpAddr> + Clone + '_ {
    bytes.chunks_exact(if v6 { 16 } else { 4 }).filter_map(address)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        _ => bytes.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
    }
}

const fn kind_of(number: u8) -> Option<RecordKind> {
    Some(match number {
        1 => RecordKind::ModeIsInclude,
        2 => RecordKind::ModeIsExclude,
        3 => RecordKind::ToInclude,
        4 => RecordKind::ToExclude,
        5 => RecordKind::Allow,
        6 => RecordKind::Block,
        _ => return None,
    })
}

impl<'a> Records<'a> {
    /// The next record and what is behind it; `None` for the kind that nobody knows.
    fn split(&self) -> Option<(Option<ReportRecord<'a>>, &'a [u8])> {
        let size = if self.v6 { 16 } else { 4 };
        let (&[kind, auxiliary, high, low], rest) = self.rest.split_first_chunk::<4>()?;
        let (group, rest) = rest.split_at_checked(size)?;
        let count = usize::from(u16::from_be_bytes([high, low]));
        let (sources, rest) = rest.split_at_checked(count * size)?;
        let rest = rest.get(usize::from(auxiliary) * 4..)?;
        let group = address(group)?;
        Some((kind_of(kind).map(|kind| ReportRecord { kind, group, sources }), rest))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = ReportRecord<'a>;

    fn next(&mut self) -> Option<ReportRecord<'a>> {
        while self.left > 0 {
            let (record, rest) = self.split()?;
            (self.rest, self.left) = (rest, self.left - 1);
            if record.is_some() {
                return record;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_are_read_in_order_and_unknown_kinds_and_auxiliary_data_are_passed_over() {
        let mut message = vec![0x22, 0, 0, 0, 0, 0, 0, 3];
        message.extend([1, 1, 0, 1, 239, 1, 1, 1, 10, 0, 0, 9, 0xaa, 0xaa, 0xaa, 0xaa]);
        message.extend([9, 0, 0, 0, 239, 1, 1, 2]);
        message.extend([4, 0, 0, 0, 239, 1, 1, 3]);
        let all: Vec<_> = records(&message, false).map(|record| (record.kind, record.group)).collect();
        let group = |last| IpAddr::from([239, 1, 1, last]);
        assert_eq!(all, [(RecordKind::ModeIsInclude, group(1)), (RecordKind::ToExclude, group(3))]);
        let first = records(&message, false).next().unwrap();
        assert_eq!(addresses(first.sources, false).collect::<Vec<_>>(), [IpAddr::from([10, 0, 0, 9])]);
        for len in 0..message.len() {
            assert!(records(&message[..len], false).count() <= 2, "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn whatever_lies_there_no_record_is_longer_than_the_message(
            bytes in proptest::collection::vec(0u8..9, 0..200), v6: bool, claimed: u8
        ) {
            let mut bytes = bytes;
            if let Some(count) = bytes.get_mut(7) {
                *count = claimed;
            }
            let mut whole = 8;
            for record in records(&bytes, v6) {
                whole += 4 + if v6 { 16 } else { 4 } + record.sources.len();
                prop_assert_eq!(record.group.is_ipv6(), v6);
                prop_assert!(addresses(record.sources, v6).all(|source| source.is_ipv6() == v6));
            }
            prop_assert!(whole <= bytes.len().max(8));
        }
    }
}
