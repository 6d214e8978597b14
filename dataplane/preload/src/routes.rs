//! Whose destinations are, remembered: a socket of both kinds asks for each datagram that it sends.
//!
//! Each thread remembers the last few answers. They hold until the service says that answers may have changed
//! ([`flumen_ipc::page::PageWords::generation`]).

use crate::attach::Attachment;
use crate::decide::{self, Purpose};
use crate::errno::Result;
use core::cell::Cell;
use core::ffi::c_int;
use core::sync::atomic::Ordering::Acquire;
use flumen_ipc::call::Whose;
use flumen_ipc::message::Address;

/// Answers that a thread remembers.
const REMEMBERED: usize = 8;

#[derive(Debug, Clone, Copy)]
struct Known {
    generation: u32,
    protocol: c_int,
    address: Address,
    whose: Option<Whose>,
}

const NOTHING: Known = Known { generation: 0, protocol: 0, address: Address::NONE, whose: None };

thread_local! {
    static KNOWN: [Cell<Known>; REMEMBERED] = const { [const { Cell::new(NOTHING) }; REMEMBERED] };
}

/// Whose a destination is.
///
/// # Errors
/// The service is gone.
pub fn whose(attachment: &Attachment, protocol: c_int, address: &Address) -> Result<Whose> {
    let generation = attachment.page().words().generation.load(Acquire);
    let [.., low] = address.ip;
    let at = usize::from(low ^ address.ip[3]) % REMEMBERED;
    let known = KNOWN.with(|known| known[at].get());
    if known.generation == generation
        && known.protocol == protocol
        && known.address == *address
        && let Some(whose) = known.whose
    {
        return Ok(whose);
    }
    let whose = decide::whose(protocol, address, Purpose::Reach)?;
    let known = Known { generation, protocol, address: *address, whose: Some(whose) };
    KNOWN.with(|all| all[at].set(known));
    Ok(whose)
}
