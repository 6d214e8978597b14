//! `flumen-bench wire`: a path between two interfaces, for kernels without netem.

use af_xdp::Mode;
use core::fmt;
use core::str::FromStr;
use flumen_bench::pktgen::rate::Rate;
use flumen_bench::pktgen::scenario::Span;
use flumen_bench::router::Error;
use flumen_bench::wire::limits::{MAX_DELAY, MAX_RATE};
use flumen_bench::wire::run::{End, Settings, run};
use flumen_stack::sim::Misbehaviour;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How long a frame may wait for its turn, unless said.
const QUEUE: Duration = Duration::from_millis(50);

/// Options of `flumen-bench wire`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One end: an interface of this namespace
    #[arg(long, value_name = "INTERFACE")]
    left: String,
    /// The other one
    #[arg(long, value_name = "INTERFACE")]
    right: String,
    /// How AF_XDP is to run: `auto`, `native`, `generic` or `zero-copy`
    #[arg(long, default_value = "auto")]
    mode: Mode,
    /// Time on the way, each way
    #[arg(long, default_value = "0ms")]
    delay: Span,
    /// At most so much more, drawn for each frame: later ones overtake earlier ones
    #[arg(long, default_value = "0ms")]
    jitter: Span,
    /// Frames that are lost, each for itself, both ways: `1 %`, in steps of a tenth
    #[arg(long, default_value = "0 %", value_name = "SHARE")]
    loss: Share,
    /// Frames that arrive twice
    #[arg(long, default_value = "0 %", value_name = "SHARE")]
    duplicate: Share,
    /// Bits a second, each way: `100 Mbit/s`
    #[arg(long, default_value = "full")]
    rate: Rate,
    /// How long frames may wait for their turn at that rate; what comes beyond is lost [default: 50ms]
    #[arg(long)]
    queue: Option<Span>,
    /// Longest IP packet; longer ones are lost, and answered by "too big" if they must not be cut
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u16>,
    /// They are lost without that answer: a black hole
    #[arg(long, requires = "mtu")]
    silent: bool,
    /// For chance: the fate of the n-th frame of a direction follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long; until SIGINT or SIGTERM without
    #[arg(long)]
    duration: Option<Span>,
}

/// A share in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share(u16);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let wrong = || format!("`{text}` is no share: `1 %`, from 0 to 100 % in steps of 0.1");
        let number = text.trim().strip_suffix('%').ok_or_else(wrong)?.trim_end();
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let thousandths = number * 10.0;
        if !(0.0..=1000.0).contains(&thousandths) || (thousandths - thousandths.round()).abs() > 1e-6 {
            return Err(wrong());
        }
        Ok(Share(thousandths.round() as u16))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.0) / 10.0)
    }
}

pub fn execute(args: &Args, json: bool) -> Result<(), Error> {
    let settings = settings(args)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Registered in this order, the second signal finds the flag set.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let ends = run(&settings, &stop, |ends| {
        for End { socket, .. } in ends {
            eprintln!("{socket}");
        }
        eprintln!("the wire {} - {} stands", args.left, args.right);
    })?;
    if json {
        println!("{}", serde_json::to_string_pretty(&serde_json::json!({ "ends": ends }))?);
        return Ok(());
    }
    println!("  from           frames     delivered       by chance    queue full     too long   of us");
    for End { interface, direction, overrun, unsent, .. } in &ends {
        println!(
            "  {interface:8} {:12}  {:12}    {:12}  {:12} {:12} {:7}",
            direction.frames,
            direction.delivered,
            direction.lost,
            direction.overflowed,
            direction.too_long,
            direction.crowded + overrun + unsent
        );
    }
    Ok(())
}

fn settings(args: &Args) -> Result<Settings, Error> {
    for (name, Span(time)) in [("delay", args.delay), ("jitter", args.jitter)] {
        if time > MAX_DELAY {
            return Err(format!("`--{name}` is at most {} s", MAX_DELAY.as_secs()).into());
        }
    }
    let rate = match args.rate {
        Rate::Full => 0,
        Rate::Bits(bits @ 8..=MAX_RATE) => bits / 8,
        other => {
            return Err(format!("`--rate` is in bit/s, from 8 to {MAX_RATE}, or `full`; not {other}").into());
        }
    };
    if rate == 0 && args.queue.is_some() {
        return Err("nothing waits where there is no `--rate`: leave `--queue` out".into());
    }
    let wait = args.queue.map_or(QUEUE, |Span(time)| time);
    let queue = (u128::from(rate) * wait.as_nanos() / 1_000_000_000).try_into();
    let queue: u32 = queue.map_err(|_| "`--queue` is more than 4 GiB at this rate")?;
    if args.mtu.is_some_and(|mtu| mtu < 68) {
        return Err("`--mtu` is at least 68, as RFC 791 has it".into());
    }
    Ok(Settings {
        ends: [args.left.clone(), args.right.clone()],
        mode: args.mode,
        misbehaviour: Misbehaviour {
            loss: args.loss.0,
            duplicate: args.duplicate.0,
            delay: args.delay.0,
            jitter: args.jitter.0,
            rate,
            queue,
            mtu: args.mtu.unwrap_or(0),
            silent: args.silent,
            ..Misbehaviour::default()
        },
        seed: args.seed,
        duration: args.duration.map(|Span(time)| time),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn read(line: &str) -> Result<Settings, String> {
        let words = ["wire", "--left", "a", "--right", "b"].into_iter().chain(line.split_terminator(' '));
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        settings(&line.args).map_err(|error| error.to_string())
    }

    #[test]
    fn a_path_is_read_in_the_units_of_people() {
        let read = read("--delay 25ms --loss 1% --rate 100Mbit/s --queue 50ms --seed 7").unwrap();
        let Misbehaviour { delay, loss, rate, queue, .. } = read.misbehaviour;
        assert_eq!((delay, loss, rate, queue), (Duration::from_millis(25), 10, 12_500_000, 625_000));
        assert_eq!((read.seed, read.duration), (7, None));
    }

    #[test]
    fn nothing_said_is_a_good_wire() {
        assert_eq!(read("").unwrap().misbehaviour, Misbehaviour::default());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let wrong = |line: &str| read(line).unwrap_err();
        assert!(wrong("--loss 0.05%").contains("steps of 0.1") && wrong("--loss 101%").contains("0 to 100"));
        assert!(wrong("--loss 0.01").contains("is no share"));
        assert!(wrong("--queue 5ms").contains("no `--rate`"));
        assert!(wrong("--rate 5pps").contains("in bit/s") && wrong("--rate 50%").contains("in bit/s"));
        assert!(wrong("--rate 100Gbit/s --queue 1s").contains("4 GiB"));
        assert!(wrong("--delay 11s").contains("at most 10 s"));
        assert!(wrong("--mtu 60").contains("at least 68"));
        assert!(wrong("--silent").contains("--mtu"));
    }
}
