//! TCP (RFC 9293): connections, sans-I/O. Segments and the time go in, segments and news for owners come out.
//!
//! ```text
//!                              CLOSED
//!        listen: listen/         |  connect
//!             |                  v
//!             |              SYN-SENT ----- SYN: syn_crossed -----> SYN-RECEIVED
//!             | accepted         | SYN,ACK: syn_answered              | ACK: complete_handshake
//!             | (or fast open:   v                                    |
//!             '-> SYN-RECEIVED)  +---------> ESTABLISHED <------------'
//!                                finish_sending |  | on_fin
//!                     .-------------------------'  '--------------------.
//!                     v                                                 v
//!                FIN-WAIT-1 -- on_fin --> CLOSING                   CLOSE-WAIT
//!                     | after_ack            | after_ack                | finish_sending
//!                     v                      v                          v
//!                FIN-WAIT-2 -- on_fin --> TIME-WAIT (a record)      LAST-ACK -- after_ack --> CLOSED
//!
//!        any --- reset: on_reset; timeout: give_up; abort, close with data unread: end ---> CLOSED
//! ```
//!
//! | transition | function |
//! |---|---|
//! | CLOSED to SYN-SENT | [`Connection::connect`] |
//! | a listener's handshake to ESTABLISHED or (fast open) SYN-RECEIVED | [`Connection::accepted`] |
//! | SYN-SENT to ESTABLISHED, SYN-RECEIVED, CLOSED | `in_syn_sent` in `input/handshake.rs` |
//! | SYN-RECEIVED to ESTABLISHED | `complete_handshake` in `input/handshake.rs` |
//! | the peer's FIN | `on_fin` in `input/data.rs` |
//! | the acknowledgment of ours | `after_ack` in `input/ack.rs` |
//! | a reset | `on_reset` in `input/check.rs` |
//! | the owner's close, shutdown, abort | `user.rs` |
//! | timeouts | `expiry.rs` |
//! | into CLOSED, always | `end` and `time_wait` in `connection.rs`: there everything goes back to the pools |
//!
//! Invariants
//! 1. SND.UNA <= SND.NXT <= end of what was written, and one more once the FIN left. The send ring begins at
//!    SND.UNA and holds all that is not acknowledged.
//! 2. Readable bytes end at RCV.NXT; ranges beyond it stand in the interval set, and their bytes in the ring.
//! 3. The right edge of the window that was offered never moves back.
//! 4. If something is outstanding or waits, a timer is armed or pacing is: no connection sleeps for ever with work.
//! 5. A connection in CLOSED holds no run, no range, no block of its send ring, and no timer.
//!
//! A segment is decided upon in [`input`], output in [`output`], time in [`expiry`], the owner's calls in [`user`].

pub mod acks;
pub mod challenge;
pub mod congestion;
pub mod connection;
#[cfg(test)]
mod conversations;
pub mod cookie;
pub mod demux;
pub mod error;
pub mod expiry;
pub mod fast_open;
pub mod figures;
pub mod info;
pub mod input;
pub mod intervals;
pub mod isn;
pub mod listen;
pub mod metrics;
pub mod negotiated;
pub mod options;
pub mod output;
pub mod ports;
mod probing;
pub mod receiver;
pub mod recovery;
mod route_metrics;
pub mod rtt;
pub mod secret;
pub mod segment;
pub mod seq;
pub mod settings;
pub mod signature;
pub mod sockets;
pub mod state;
pub mod stats;
pub mod time_wait;
pub mod timers;
pub mod tuple;
pub mod tx_stamps;
pub mod user;

pub use connection::{ConnectArgs, Connection, Context};
pub use negotiated::{Accepted, Arrived, Negotiated, Scales, TimeWaitContent};
pub use seq::Seq;
pub use tuple::Tuple;
