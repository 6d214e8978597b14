//! What sockets were told last about their ways ([`super::select`]): one that opens connections to a host, or takes
//! them from it, asks several times for each, and the answer is nearly always the same.
//!
//! ```text
//!   destination ─> [ wish, epoch, until, choice ]  ─> Choice
//!                    └ another wish, another epoch, or later: ask, and write it here
//! ```
//!
//! Invariants
//! 1. An answer is believed in the epoch in which it was given only: routes, addresses, neighbours and learnt path MTUs
//!    are as they were.
//! 2. Only answers are kept that do not depend on more than a [`Question`] says: not while rules look at ports.
//! 3. No answer is older than [`LASTS`], so that what was learnt of a path can age.
//!
//! Direct-mapped by a keyed hash: peers who share a place displace each other, which costs time only.

use super::select::Choice;
use crate::hash::hash4;
use crate::port::PortId;
use crate::time::Instant;
use core::net::IpAddr;
use core::time::Duration;

/// Places: a power of two, so that the place is a mask. 12 KiB, of which a host touches a line or two for each
/// peer.
const PLACES: usize = 128;

/// How long an answer is good at most.
const LASTS: Duration = Duration::from_secs(1);

/// What an answer depends on, besides the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) destination: IpAddr,
    pub(crate) source: Option<IpAddr>,
    pub(crate) port: Option<PortId>,
    pub(crate) broadcast: bool,
    pub(crate) path_mtu: bool,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    question: Question,
    epoch: u64,
    until: Instant,
    choice: Choice,
}

/// A direct-mapped memory of answers by destination.
#[derive(Debug)]
pub(crate) struct Choices {
    answers: Box<[Option<Answer>; PLACES]>,
    key: [u64; 2],
}

impl Choices {
    /// An empty memory. `key` is random, and nobody else's.
    pub(crate) fn new(key: [u64; 2]) -> Choices {
        Choices { answers: Box::new([None; PLACES]), key }
    }

    #[inline]
    fn place(&self, question: &Question) -> usize {
        let bits = |address| match address {
            IpAddr::V4(address) => u128::from(core::net::Ipv4Addr::to_bits(address)),
            IpAddr::V6(address) => core::net::Ipv6Addr::to_bits(address),
        };
        let to = bits(question.destination);
        let from = question.source.map_or(0, bits);
        let words = [(to >> 64) as u64, to as u64, (from >> 64) as u64, from as u64];
        hash4(words, self.key) as usize % PLACES
    }

    /// The answer that was given to a question in this epoch.
    #[inline]
    pub(crate) fn get(&self, question: &Question, epoch: u64, now: Instant) -> Option<Choice> {
        let answer = self.answers[self.place(question)].as_ref()?;
        let good = answer.epoch == epoch && now < answer.until && answer.question == *question;
        good.then_some(answer.choice)
    }

    /// Keeps an answer.
    pub(crate) fn keep(&mut self, question: &Question, epoch: u64, now: Instant, choice: Choice) {
        let answer = Answer { question: *question, epoch, until: now + LASTS, choice };
        self.answers[self.place(question)] = Some(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ethernet::LinkCast;
    use crate::route::RouteMetrics;

    fn question(to: &str) -> Question {
        let destination = to.parse().unwrap();
        Question { destination, source: None, port: None, broadcast: false, path_mtu: true }
    }

    fn choice(source: &str) -> Choice {
        let source = source.parse().unwrap();
        let (cast, metrics) = (LinkCast::Unicast, RouteMetrics::NONE);
        Choice { exit: None, port: PortId::FIRST, source, cast, metrics }
    }

    #[test]
    fn an_answer_is_good_for_its_question_in_its_epoch_and_for_a_second() {
        let mut choices = Choices::new([1, 2]);
        let (one, now) = (question("10.0.0.1"), Instant::from_millis(5000));
        choices.keep(&one, 7, now, choice("10.0.0.9"));
        let source = |question: &Question, epoch, millis| {
            choices.get(question, epoch, Instant::from_millis(millis)).map(|choice| choice.source)
        };
        assert_eq!(source(&one, 7, 5999), Some("10.0.0.9".parse().unwrap()));
        assert_eq!(source(&one, 7, 6000), None, "too old");
        assert_eq!(source(&one, 8, 5000), None, "something changed");
        assert_eq!(source(&question("10.0.0.2"), 7, 5000), None);
        let others = [
            Question { source: Some("10.0.0.8".parse().unwrap()), ..one },
            Question { port: Some(PortId::FIRST), ..one },
            Question { broadcast: true, ..one },
            Question { path_mtu: false, ..one },
        ];
        for other in others {
            assert_eq!(source(&other, 7, 5000), None, "{other:?}");
        }
    }

    #[test]
    fn many_peers_displace_each_other_and_are_never_mixed_up() {
        let mut choices = Choices::new([3, 4]);
        let peers: Vec<Question> =
            (0..4 * PLACES).map(|n| question(&format!("10.0.{}.{}", n / 256, n % 256))).collect();
        for peer in &peers {
            let IpAddr::V4(to) = peer.destination else { unreachable!() };
            choices.keep(
                peer,
                1,
                Instant::ZERO,
                choice(&format!("192.168.{}.{}", to.octets()[2], to.octets()[3])),
            );
        }
        let found: Vec<_> =
            peers.iter().filter_map(|peer| Some((peer, choices.get(peer, 1, Instant::ZERO)?))).collect();
        assert!(found.len() > PLACES / 4 && found.len() <= PLACES, "{}", found.len());
        for (peer, choice) in found {
            let (IpAddr::V4(to), IpAddr::V4(from)) = (peer.destination, choice.source) else {
                unreachable!()
            };
            assert_eq!(to.octets()[2..], from.octets()[2..]);
        }
    }
}
