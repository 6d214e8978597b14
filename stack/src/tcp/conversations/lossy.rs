//! Two connections over a wire that does what it should not: every byte once and in order, or an error; both ends
//! reach CLOSED; nothing is left in the pools.

use super::*;

/// Bytes that say where they belong.
fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

/// Sends `total` bytes each way and closes; gives what each end received and how it ended.
pub(super) fn talk(pair: &mut Pair, totals: [usize; 2]) -> [(usize, Option<SocketError>); 2] {
    let mut sent = [0; 2];
    let mut received = [0; 2];
    let mut errors = [None; 2];
    let mut closed = [false; 2];
    for round in 0..40_000 {
        assert!(round < 39_999, "no end: {closed:?} {sent:?} {received:?} {errors:?} at {:?}", pair.now);
        for who in 0..2 {
            let now = pair.now;
            let host = &mut pair.hosts[who];
            host.pools.now = now;
            while sent[who] < totals[who] {
                let piece = pattern(sent[who], (totals[who] - sent[who]).min(10_000));
                match host.send(&piece) {
                    Ok(count) => sent[who] += count,
                    Err(SocketError::WouldBlock) => break,
                    Err(error) => {
                        errors[who].get_or_insert(error);
                        break;
                    }
                }
            }
            match host.recv() {
                Ok(data) if data.is_empty() => {
                    if !closed[who] && (sent[who] == totals[who] || errors[who].is_some()) {
                        closed[who] = true;
                        let _ = host.close();
                    }
                }
                Ok(data) => {
                    assert_eq!(data, pattern(received[who], data.len()), "host {who} at {}", received[who]);
                    received[who] += data.len();
                }
                Err(SocketError::WouldBlock) => {}
                Err(error) => {
                    errors[who].get_or_insert(error);
                    closed[who] = true;
                    let _ = host.close();
                }
            }
            if sent[who] == totals[who] && !closed[who] && host.tcp.state() != State::Closed {
                // The end of what we send is said as soon as possible; reading goes on.
                let _ = host.tcp.shutdown(&mut host.pools.cx(), crate::tcp::user::Shutdown::Write);
            }
        }
        if !pair.step(Instant::NEVER) && closed == [true; 2] {
            break;
        }
    }
    for (who, host) in pair.hosts.iter().enumerate() {
        assert_eq!(host.tcp.state(), State::Closed, "host {who} {:?}", pair.now);
        assert!(host.tcp.is_released(), "host {who}");
        assert_eq!(host.tcp.next_deadline(), Instant::NEVER);
        host.pools.assert_nothing_leaked();
    }
    [(received[0], errors[0]), (received[1], errors[1])]
}

#[test]
fn a_perfect_wire_carries_everything_both_ways() {
    for settings in [TcpSettings::default(), plain()] {
        let mut pair = Pair::connected([settings.clone(), settings], ms(5));
        let ended = talk(&mut pair, [300_000, 100_000]);
        assert_eq!(ended, [(100_000, None), (300_000, None)]);
        assert_eq!(pair.hosts[0].pools.stats.retrans_segs, 0);
        assert_eq!(pair.hosts[1].pools.stats.in_csum_errors, 0);
    }
}

#[test]
fn a_bad_wire_loses_no_byte() {
    let seeds = std::env::var("FLUMEN_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    for seed in 0..seeds {
        let mut random = Random(seed);
        let settings = [0, 1].map(|_| TcpSettings {
            timestamps: random.percent(70),
            sack: random.percent(70),
            window_scaling: random.percent(70),
            ..TcpSettings::default()
        });
        let mut pair = Pair::connected(settings, ms(1 + random.below(60)));
        pair.keep_log = false;
        pair.faults = Faults {
            lose: random.below(12) as u32,
            double: random.below(8) as u32,
            reorder: random.below(30) as u32,
            corrupt: random.below(5) as u32,
        };
        let totals = [random.below(120_000) as usize, random.below(60_000) as usize];
        pair.random = random;
        let faults = pair.faults;
        let ended = talk(&mut pair, totals);
        for who in 0..2 {
            let (received, error) = ended[who];
            assert!(received <= totals[1 - who]);
            if error.is_none() && ended[1 - who].1.is_none() {
                assert_eq!(received, totals[1 - who], "seed {seed} {faults:?} {ended:?}");
            }
        }
    }
}
