//! A connection's figures beside a stamp of what it sent (SCM_TIMESTAMPING_OPT_STATS): netlink attributes, in the order and with
//! the widths of Linux 6.18 (`tcp_get_timestamping_opt_stats`; linux/tcp.h has their names, TCP_NLA_…).
//!
//! ```text
//!   | length, type | value | … each begins at a multiple of four bytes; the length has its own four bytes in it
//! ```

use super::info::INFINITE;
use flumen_stack::tcp::figures::Figures;

/// Bytes that all of them take: ten of eight bytes, and seventeen of at most four, with a head of four each.
pub const LONGEST: usize = 10 * 12 + 17 * 8;

/// The attributes' types.
mod attribute {
    pub(super) const BUSY: u16 = 1;
    pub(super) const RWND_LIMITED: u16 = 2;
    pub(super) const SNDBUF_LIMITED: u16 = 3;
    pub(super) const DATA_SEGS_OUT: u16 = 4;
    pub(super) const TOTAL_RETRANS: u16 = 5;
    pub(super) const PACING_RATE: u16 = 6;
    pub(super) const DELIVERY_RATE: u16 = 7;
    pub(super) const SND_CWND: u16 = 8;
    pub(super) const REORDERING: u16 = 9;
    pub(super) const MIN_RTT: u16 = 10;
    pub(super) const RECUR_RETRANS: u16 = 11;
    pub(super) const DELIVERY_RATE_APP_LMT: u16 = 12;
    pub(super) const SNDQ_SIZE: u16 = 13;
    pub(super) const CA_STATE: u16 = 14;
    pub(super) const SND_SSTHRESH: u16 = 15;
    pub(super) const DELIVERED: u16 = 16;
    pub(super) const DELIVERED_CE: u16 = 17;
    pub(super) const BYTES_SENT: u16 = 18;
    pub(super) const BYTES_RETRANS: u16 = 19;
    pub(super) const DSACK_DUPS: u16 = 20;
    pub(super) const REORD_SEEN: u16 = 21;
    pub(super) const SRTT: u16 = 22;
    pub(super) const TIMEOUT_REHASH: u16 = 23;
    pub(super) const BYTES_NOTSENT: u16 = 24;
    pub(super) const EDT: u16 = 25;
    pub(super) const TTL: u16 = 26;
    pub(super) const REHASH: u16 = 27;
}

/// Writes attributes one after the other.
struct Attributes<'a> {
    room: &'a mut [u8],
    used: usize,
}

impl Attributes<'_> {
    fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let whole = 4 + value.len();
        // Room for all of them is what is asked for below.
        if let Some(place) = self.room.get_mut(self.used..self.used + whole.next_multiple_of(4)) {
            place.fill(0);
            place[..2].copy_from_slice(&(whole as u16).to_ne_bytes());
            place[2..4].copy_from_slice(&kind.to_ne_bytes());
            place[4..whole].copy_from_slice(value);
            self.used += place.len();
        }
        self
    }

    fn byte(&mut self, kind: u16, value: u8) -> &mut Self {
        self.put(kind, &[value])
    }

    fn word(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_ne_bytes())
    }

    fn long(&mut self, kind: u16, value: u64) -> &mut Self {
        self.put(kind, &value.to_ne_bytes())
    }
}

/// Writes the figures, and says how many bytes they take. `origin`: nanoseconds of CLOCK_MONOTONIC when the stack's clock began.
pub fn write(figures: &Figures, origin: u64, room: &mut [u8; LONGEST]) -> usize {
    let &Figures {
        busy: [busy, window_limited, buffer_limited],
        pacing_rate,
        delivery_rate,
        bytes_sent,
        bytes_retransmitted,
        left,
        data_segments,
        retransmissions,
        cwnd,
        ssthresh,
        reordering,
        reordering_seen,
        min_rtt,
        srtt,
        delivered: [delivered, delivered_ce],
        waiting: [queued, not_sent],
        dsack_duplicates,
        timeouts,
        is_app_limited,
        ca_state,
        ttl,
    } = figures;
    let mut list = Attributes { room, used: 0 };
    list.long(attribute::BUSY, busy)
        .long(attribute::RWND_LIMITED, window_limited)
        .long(attribute::SNDBUF_LIMITED, buffer_limited)
        .long(attribute::DATA_SEGS_OUT, data_segments.into())
        .long(attribute::TOTAL_RETRANS, retransmissions.into())
        .long(attribute::PACING_RATE, pacing_rate)
        .long(attribute::DELIVERY_RATE, delivery_rate)
        .word(attribute::SND_CWND, cwnd)
        .word(attribute::REORDERING, reordering)
        .word(attribute::MIN_RTT, min_rtt)
        .byte(attribute::RECUR_RETRANS, timeouts)
        .byte(attribute::DELIVERY_RATE_APP_LMT, u8::from(is_app_limited))
        .word(attribute::SND_SSTHRESH, ssthresh.min(INFINITE))
        .word(attribute::DELIVERED, delivered)
        .word(attribute::DELIVERED_CE, delivered_ce)
        .word(attribute::SNDQ_SIZE, queued)
        .byte(attribute::CA_STATE, ca_state as u8)
        .long(attribute::BYTES_SENT, bytes_sent)
        .long(attribute::BYTES_RETRANS, bytes_retransmitted)
        .word(attribute::DSACK_DUPS, dsack_duplicates)
        .word(attribute::REORD_SEEN, reordering_seen)
        .word(attribute::SRTT, srtt)
        // The way of a flow follows from its addresses and ports.
        .put(attribute::TIMEOUT_REHASH, &0u16.to_ne_bytes())
        .word(attribute::BYTES_NOTSENT, not_sent)
        .long(attribute::EDT, origin.wrapping_add(left.nanos()));
    if let Some(ttl) = ttl {
        list.byte(attribute::TTL, ttl);
    }
    list.word(attribute::REHASH, 0).used
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_stack::Instant;
    use flumen_stack::tcp::recovery::CaState;

    #[test]
    fn attributes_stand_in_the_order_and_with_the_widths_of_linux() {
        let figures = Figures {
            busy: [7000, 2, 1],
            pacing_rate: u64::MAX,
            delivery_rate: 5,
            bytes_sent: 3000,
            bytes_retransmitted: 10,
            left: Instant::from_nanos(77),
            data_segments: 4,
            retransmissions: 1,
            cwnd: 10,
            ssthresh: u32::MAX,
            reordering: 3,
            reordering_seen: 0,
            min_rtt: 42,
            srtt: 43,
            delivered: [2, 1],
            waiting: [300, 200],
            dsack_duplicates: 6,
            timeouts: 9,
            is_app_limited: true,
            ca_state: CaState::Open,
            ttl: Some(61),
        };
        let mut room = [0xff; LONGEST];
        let len = write(&figures, 1000, &mut room);
        assert_eq!(len, 256, "all of them, as Linux has it");
        let (mut left, mut found) = (&room[..len], Vec::new());
        while let [a, b, c, d, ..] = *left {
            let whole = usize::from(u16::from_ne_bytes([a, b]));
            let mut value = [0; 8];
            value[..whole - 4].copy_from_slice(&left[4..whole]);
            found.push((u16::from_ne_bytes([c, d]), whole - 4, u64::from_le_bytes(value)));
            left = &left[whole.next_multiple_of(4)..];
        }
        let first = [(1, 8, 7000), (2, 8, 2), (3, 8, 1), (4, 8, 4), (5, 8, 1), (6, 8, u64::MAX), (7, 8, 5)];
        assert_eq!(found[..7], first);
        let second = [(8, 4, 10), (9, 4, 3), (10, 4, 42), (11, 1, 9), (12, 1, 1), (15, 4, 0x7fff_ffff)];
        assert_eq!(found[7..13], second);
        assert_eq!(found[13..18], [(16, 4, 2), (17, 4, 1), (13, 4, 300), (14, 1, 0), (18, 8, 3000)]);
        assert_eq!(found[18..23], [(19, 8, 10), (20, 4, 6), (21, 4, 0), (22, 4, 43), (23, 2, 0)]);
        assert_eq!(found[23..], [(24, 4, 200), (25, 8, 1077), (26, 1, 61), (27, 4, 0)]);
        assert_eq!(write(&Figures { ttl: None, ..figures }, 0, &mut room), 248, "none of an acknowledgment");
    }
}
