//! `struct tcp_info` and `union tcp_cc_info`, byte for byte as Linux 6.18 lays them out.

use flumen_stack::tcp::info::TcpInfo;
use flumen_stack::tcp::recovery::{CaState, SenderInfo};
use std::time::Duration;

/// Bytes of `struct tcp_info`.
pub const LEN: usize = 280;

/// TCP_CLOSE and TCP_LISTEN.
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;
/// TCP_INFINITE_SSTHRESH.
pub const INFINITE: u32 = 0x7fff_ffff;

/// Writes fields one after the other, each in its own width and the machine's byte order.
struct Fields {
    bytes: [u8; LEN],
    at: usize,
}

impl Fields {
    fn new() -> Self {
        Fields { bytes: [0; LEN], at: 0 }
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
        self
    }

    fn byte(&mut self, value: u8) -> &mut Self {
        self.put(&[value])
    }

    fn half(&mut self, value: u16) -> &mut Self {
        self.put(&value.to_ne_bytes())
    }

    fn word(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_ne_bytes())
    }

    fn long(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_ne_bytes())
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

fn long_micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Of a connection; `headers`: bytes of its IP and TCP headers.
pub fn of_connection(info: &TcpInfo, headers: u32) -> [u8; LEN] {
    let SenderInfo {
        ca_state,
        algorithm: _,
        timeouts,
        backoff,
        rto,
        srtt,
        rttvar,
        min_rtt,
        rack_rtt: _,
        cwnd,
        ssthresh,
        unacked,
        sacked,
        lost,
        retrans,
        total_retrans,
        bytes_retrans,
        reordering,
        reordering_seen,
        dsack_duplicates,
        delivered,
        delivered_ce,
        delivery_rate,
        delivery_rate_app_limited,
        pacing_rate,
        max_pacing_rate,
        busy,
        window_limited,
        buffer_limited,
        total_timeouts,
        timeout_recoveries,
        timeout_time,
        model: _,
    } = info.sender;
    let mut fields = Fields::new();
    fields
        .byte(info.state)
        .byte(ca_state as u8)
        .byte(timeouts)
        .byte(info.probes)
        .byte(backoff)
        .byte(info.options)
        .byte(info.snd_wscale & 15 | info.rcv_wscale << 4)
        .byte(u8::from(delivery_rate_app_limited))
        .word(micros(rto))
        .word(micros(info.ato))
        .word(info.snd_mss)
        .word(info.rcv_mss)
        .word(unacked)
        .word(sacked)
        .word(lost)
        .word(retrans)
        .word(0) // tcpi_fackets: 0 since Linux 4.15
        .word(millis(info.last_data_sent))
        .word(0) // tcpi_last_ack_sent: "not remembered, sorry"
        .word(millis(info.last_data_recv))
        .word(millis(info.last_ack_recv))
        .word(info.path_mss + headers)
        .word(info.rcv_ssthresh)
        .word(micros(srtt))
        .word(micros(rttvar))
        .word(ssthresh.min(INFINITE))
        .word(cwnd)
        .word(info.advmss)
        .word(reordering)
        .word(info.rcv_rtt)
        .word(info.rcv_space)
        .word(total_retrans)
        .long(pacing_rate)
        .long(max_pacing_rate)
        .long(info.bytes_acked)
        .long(info.bytes_received)
        .word(info.segs_out)
        .word(info.segs_in)
        .word(info.notsent_bytes)
        .word(micros(min_rtt))
        .word(info.data_segs_in)
        .word(info.data_segs_out)
        .long(delivery_rate)
        .long(long_micros(busy))
        .long(long_micros(window_limited))
        .long(long_micros(buffer_limited))
        .word(delivered)
        .word(delivered_ce)
        .long(info.bytes_sent)
        .long(bytes_retrans)
        .word(dsack_duplicates)
        .word(reordering_seen)
        .word(info.rcv_ooopack)
        .word(info.snd_wnd)
        .word(info.rcv_wnd)
        .word(0) // tcpi_rehash: the way of a flow follows from its addresses and ports
        .half(total_timeouts)
        .half(timeout_recoveries)
        .word(millis(timeout_time));
    // tcpi_received_ce and what else belongs to AccECN (RFC 9768), which is not spoken: zeros.
    fields.bytes
}

/// Of a socket that is neither connected nor listens: what Linux begins with.
pub fn of_closed() -> [u8; LEN] {
    let sender = SenderInfo {
        ca_state: CaState::Open,
        rto: Duration::from_secs(1),
        rttvar: Duration::from_millis(250),
        min_rtt: Duration::MAX,
        cwnd: 10,
        ssthresh: u32::MAX,
        reordering: 3,
        delivery_rate_app_limited: true,
        pacing_rate: u64::MAX,
        max_pacing_rate: u64::MAX,
        ..SenderInfo::default()
    };
    of_connection(&TcpInfo { state: CLOSE, snd_mss: 536, sender, ..TcpInfo::default() }, 0)
}

/// Of a listener: its queue, and how long it may be, stand where connections count segments.
pub fn of_listener(waiting: u32, backlog: u32) -> [u8; LEN] {
    let sender = SenderInfo {
        unacked: waiting,
        sacked: backlog,
        cwnd: 10,
        reordering: 3,
        pacing_rate: u64::MAX,
        max_pacing_rate: u64::MAX,
        min_rtt: Duration::ZERO,
        ..SenderInfo::default()
    };
    of_connection(&TcpInfo { state: LISTEN, sender, ..TcpInfo::default() }, 0)
}

/// `struct tcp_bbr_info`: bandwidth in bytes a second (low, high), smallest round trip time, gains in 1/256. Other algorithms
/// have nothing to say.
pub fn of_congestion(sender: &SenderInfo) -> Option<[u8; 20]> {
    let (rate, pacing, window) = sender.model?;
    let words = [rate as u32, (rate >> 32) as u32, micros(sender.min_rtt), pacing, window];
    let mut bytes = [0; 20];
    bytes.copy_from_slice(words.map(u32::to_ne_bytes).as_flattened());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn fields_stand_where_programs_look_for_them() {
        let info = TcpInfo {
            state: 1,
            snd_wscale: 7,
            rcv_wscale: 8,
            path_mss: 1460,
            snd_wnd: 5,
            rcv_wnd: 6,
            ..TcpInfo::default()
        };
        let bytes = of_connection(&info, 40);
        assert_eq!((bytes[0], bytes[6]), (1, 0x87));
        assert_eq!(word(&bytes, 60), 1500, "tcpi_pmtu");
        assert_eq!((word(&bytes, 228), word(&bytes, 232)), (5, 6), "tcpi_snd_wnd, tcpi_rcv_wnd");
        let closed = of_closed();
        assert_eq!((closed[0], word(&closed, 16), word(&closed, 80)), (7, 536, 10));
        let listener = of_listener(2, 5);
        assert_eq!((listener[0], word(&listener, 24), word(&listener, 28)), (10, 2, 5));
    }
}
