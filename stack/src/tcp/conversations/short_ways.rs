//! What leaves by a short way leaves as by the long one, and leaves the same behind.

use super::*;
use crate::tcp::user::SocketOption;
use proptest::prelude::*;

/// What the owner does, the peer answers, or time brings.
#[derive(Debug, Clone, Copy)]
enum Step {
    Write {
        len: usize,
        more: bool,
    },
    Urgent,
    NoDelay(bool),
    Cork(bool),
    /// The peer acknowledges so many of the bytes that are on their way, and offers this window.
    Acknowledge {
        part: u8,
        window: u16,
    },
    /// The peer says something of its own.
    Hear {
        len: usize,
    },
    Read,
    Wait {
        millis: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1usize..400, any::<bool>()).prop_map(|(len, more)| Step::Write { len, more }),
        1 => (400usize..6000).prop_map(|len| Step::Write { len, more: false }),
        1 => Just(Step::Urgent),
        1 => any::<bool>().prop_map(Step::NoDelay),
        1 => any::<bool>().prop_map(Step::Cork),
        4 => (0u8..=4, prop_oneof![3 => Just(501), 1 => 0u16..20]).prop_map(|(part, window)| Step::Acknowledge { part, window }),
        3 => (1usize..2000).prop_map(|len| Step::Hear { len }),
        1 => Just(Step::Read),
        2 => (1u64..600).prop_map(|millis| Step::Wait { millis }),
    ]
}

/// One of two hosts to which the same happens.
struct Side {
    script: Script,
    long: bool,
    heard: u32,
}

impl Side {
    fn new(timestamps: bool, long: bool) -> Side {
        let settings = TcpSettings { timestamps, ..TcpSettings::default() };
        Side { script: Script::established(settings), long, heard: 1001 }
    }

    fn take(&mut self, step: Step) {
        let Side { script, heard, .. } = self;
        let stamps = script.host.pools.settings.timestamps;
        let (una, nxt) = (script.host.tcp.sender.una(), script.host.tcp.sender.nxt());
        let set = |script: &mut Script, option| {
            let Host { pools, tcp, .. } = &mut script.host;
            tcp.set_option(&mut pools.cx(), option).unwrap();
        };
        let mut inject = |script: &mut Script, ack: Seq, window, data: &[u8]| {
            script.window = window;
            let mut wire = script.wire(ACK, *heard, ack.0, data);
            if stamps {
                wire.out.options.push_timestamps((script.host.pools.now.nanos() as u32 / 1_000_000, 0));
            }
            let _ = script.host.input(&wire);
            *heard += data.len() as u32;
        };
        match step {
            Step::Write { len, more } => {
                let Host { pools, tcp, .. } = &mut script.host;
                let _full_or_not = tcp.send(&mut pools.cx(), &vec![7; len], more);
            }
            Step::Urgent => {
                let Host { pools, tcp, .. } = &mut script.host;
                let _full_or_not = tcp.send_urgent(&mut pools.cx(), b"!");
            }
            Step::NoDelay(on) => set(script, SocketOption::NoDelay(on)),
            Step::Cork(on) => set(script, SocketOption::Cork(on)),
            Step::Acknowledge { part, window } => {
                let ack = una + nxt.since(una) / 4 * u32::from(part);
                inject(script, if part == 4 { nxt } else { ack }, window, b"");
            }
            Step::Hear { len } => inject(script, una, script.window, &vec![9; len]),
            Step::Read => {
                let _nothing_or_something = script.host.recv();
            }
            Step::Wait { millis } => {
                script.host.pools.now = script.host.pools.now + ms(millis);
                let _ = script.host.expire();
            }
        }
    }

    /// Everything that leaves.
    fn output(&mut self) -> Vec<Outgoing> {
        let Host { pools, tcp, .. } = &mut self.script.host;
        let mut all = Vec::new();
        let mut next = || match self.long {
            true => tcp.poll_transmit_the_long_way(&mut pools.cx(), 64),
            false => tcp.poll_transmit(&mut pools.cx(), 64),
        };
        while let Some(out) = next() {
            all.push(out);
            assert!(all.len() < 1000, "output without end");
        }
        all
    }
}

proptest! {
    #[test]
    fn a_message_that_leaves_by_the_short_way_comes_to_the_same_as_by_the_long_one(
        steps in prop::collection::vec(step(), 1..60),
        timestamps in any::<bool>(),
    ) {
        let mut sides = [Side::new(timestamps, false), Side::new(timestamps, true)];
        for (at, step) in steps.iter().enumerate() {
            let [short, long] = sides.each_mut().map(|side| {
                side.take(*step);
                side.output()
            });
            prop_assert_eq!(short, long, "step {} of {:?}", at, steps);
            let [short, long] = sides.each_ref().map(|side| {
                format!("{:?} {:?}", side.script.host.tcp, side.script.host.pools.stats)
            });
            prop_assert_eq!(short, long, "after step {} of {:?}", at, steps);
        }
    }
}
