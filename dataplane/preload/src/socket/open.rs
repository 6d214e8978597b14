//! Bits of `open_flags` in the cell: what all who share the socket must know.

/// O_NONBLOCK.
pub const NONBLOCK: u32 = 1;
/// connect() was called and has not reported how it went (Linux's SS_CONNECTING).
pub const OPENING: u32 = 1 << 1;
/// SO_OOBINLINE.
pub const OOB_INLINE: u32 = 1 << 2;
/// SO_TIMESTAMP.
pub const TIMESTAMP: u32 = 1 << 3;
/// SO_TIMESTAMPNS.
pub const TIMESTAMP_NS: u32 = 1 << 4;
/// SO_RXQ_OVFL.
pub const DROPS: u32 = 1 << 5;
/// IP_PKTINFO.
pub const PACKET_INFO: u32 = 1 << 6;
/// IP_RECVTTL.
pub const TTL: u32 = 1 << 7;
/// IP_RECVTOS.
pub const TOS: u32 = 1 << 8;
/// IP_RECVORIGDSTADDR.
pub const ORIGINAL: u32 = 1 << 9;
/// IPV6_RECVPKTINFO.
pub const PACKET_INFO6: u32 = 1 << 10;
/// IPV6_RECVHOPLIMIT.
pub const HOP_LIMIT: u32 = 1 << 11;
/// IPV6_RECVTCLASS.
pub const CLASS: u32 = 1 << 12;
/// IPV6_RECVORIGDSTADDR.
pub const ORIGINAL6: u32 = 1 << 13;
/// UDP_GRO.
pub const GRO: u32 = 1 << 14;
/// TCP_INQ.
pub const INQ: u32 = 1 << 15;
/// IP_RECVERR or IPV6_RECVERR: errors come through the error queue, too.
pub const ERROR_QUEUE: u32 = 1 << 16;
/// UDP_CORK, or MSG_MORE began a datagram that is not finished.
pub const CORKED: u32 = 1 << 17;
/// SO_LINGER: close waits.
pub const LINGER: u32 = 1 << 18;
/// SO_ZEROCOPY.
pub const ZERO_COPY: u32 = 1 << 19;
/// SO_TIMESTAMPING with the stamps that the data plane makes (RX_SOFTWARE and SOFTWARE).
pub const TIMESTAMPING: u32 = 1 << 20;
/// What asked for stamps last was an option with 64-bit times (SO_TIMESTAMP_NEW and its kin).
pub const TIMESTAMP_NEW: u32 = 1 << 21;
/// SO_TIMESTAMPING asks for stamps of what is sent.
pub const STAMPS_SENT: u32 = 1 << 22;
/// And for the times in them (SOFTWARE alone).
pub const STAMP_TIMES: u32 = 1 << 23;
/// And for keys that name them (OPT_ID).
pub const STAMP_KEYS: u32 = 1 << 24;
/// IP_RECVOPTS.
pub const OPTIONS: u32 = 1 << 25;
/// IP_RETOPTS.
pub const OPTIONS_TO_RETURN: u32 = 1 << 26;
/// SO_SELECT_ERR_QUEUE.
pub const SELECT_ERRORS: u32 = 1 << 27;
/// IPV6_2292PKTINFO.
pub const OLD_PACKET_INFO6: u32 = 1 << 28;
/// IPV6_2292HOPLIMIT.
pub const OLD_HOP_LIMIT: u32 = 1 << 29;
/// All that ask for the time when something came.
pub const STAMPS: u32 = TIMESTAMP | TIMESTAMP_NS | TIMESTAMPING;
