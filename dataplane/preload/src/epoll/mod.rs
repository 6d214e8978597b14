//! epoll over sockets of Flumen and descriptors of the kernel in one set.
//!
//! ```text
//!   the program's epoll descriptor = the kernel's set: all descriptors that are none of ours, untouched
//!                 │                    and undecided sockets, and those of both, marked with a tag
//!                 └─ our set (registry): Flumen's sockets; a ready list, fed by the arena's news tree
//!
//!   epoll_wait:  take news ─> ready list ─> report        no system call when something of ours is ready
//!                now and then, and whenever nothing is: the kernel's set
//!                sleep: in a watcher, a kernel set of our own that holds the program's, the bell and the connection
//! ```
//!
//! A set without a socket of ours is waited for in the kernel's; threads that do so are disturbed when the first is put in.
//!
//! Invariants
//! 1. News are taken by whichever thread comes along, and told to every set that wants them; sets in which threads sleep
//!    are knocked at.
//! 2. Who sleeps has said so (`sleepers` in the arena), and looked once more; so no news is missed.
//! 3. Who wakes up, for whatever reason, takes the news that may have woken it before it goes: the bell wakes one sleeper.

pub mod calls;
pub mod control;
pub mod descriptors;
pub mod registry;
pub mod set;
pub mod slab;
pub mod source;
pub mod state;
pub mod wait;
pub mod watch;

#[cfg(test)]
mod tests;
