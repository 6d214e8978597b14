//! `[[core]]`: from its table to a [`Core`].

use super::bounds;
use super::model::{Core, Idle, Queues, Serves};
use super::names::Names;
use super::ports::{read_queues, size};
use super::read::{Section, Value};
use super::schema;
use flumen_stack::limits;
use std::time::Duration;

/// How long an idle worker may sleep unless the file says otherwise: 2,000 wake-ups a second cost about 1 %
/// of a core, and half a millisecond is below what a person or TCP notices.
const DEFAULT_LATENCY: Duration = Duration::from_millis(5);

/// Reads one `[[core]]`.
pub fn read_core(section: &Section<'_>, names: &Names<'_>) -> Core {
    let at = section.place("cpu", section.at);
    let cpu = section.required("cpu", "1").and_then(|value| value.integer(0..=4095)).unwrap_or(0);
    let serves = section
        .required("ports", "[\"lan\"]")
        .and_then(|value| {
            let elements =
                value.list(limits::MAX_PORTS * usize::from(bounds::MAX_QUEUES), "[\"lan\", \"wan:1\"]")?;
            if elements.is_empty() {
                value.wrong(
                    "a core that polls nothing has nothing to do",
                    "name a port, or take the core out",
                );
            }
            Some(elements.iter().filter_map(|element| read_serves(element, names)).collect())
        })
        .unwrap_or_default();
    Core {
        cpu: size(cpu),
        serves,
        idle: read_idle(section),
        frames: section.value("frames").and_then(|value| match value.text() {
            Some(_) => value.word(&[("auto", ())]).and(None),
            None => value.integer(bounds::FRAMES).map(size),
        }),
        chunk: section.value("chunk").and_then(|value| match value.text() {
            Some(_) => value.word(&[("auto", ())]).and(None),
            None => read_chunk(&value),
        }),
        hugepages: section.boolean("hugepages", false),
        burst: size(section.integer("burst", 1..=limits::BURST as i64, limits::BURST as i64)),
        at,
        frames_at: section.place("frames", at),
    }
}

fn read_idle(section: &Section<'_>) -> Idle {
    let adaptive = section.word("idle", &[("spin", false), ("adaptive", true)], true);
    let latency = section.value("max_latency");
    match (adaptive, latency) {
        (true, latency) => Idle::Adaptive {
            max_latency: latency
                .and_then(|value| value.duration(bounds::MAX_LATENCY))
                .unwrap_or(DEFAULT_LATENCY),
        },
        (false, None) => Idle::Spin,
        (false, Some(latency)) => {
            latency.wrong(
                "a core that spins never sleeps",
                "take `max_latency` out, or say `idle = \"adaptive\"`",
            );
            Idle::Spin
        }
    }
}

fn read_chunk(value: &Value<'_>) -> Option<usize> {
    let chunk = value.integer(2048..=4096)?;
    if !matches!(chunk, 2048 | 4096) {
        value.wrong(format!("a chunk cannot have {chunk} bytes"), "AF_XDP takes 2048 or 4096");
        return None;
    }
    Some(size(chunk))
}

/// `"lan"`, `"lan:1"`, or `{ port = "lan", queues = [0, 1] }`.
fn read_serves(value: &Value<'_>, names: &Names<'_>) -> Option<Serves> {
    if value.is_table() {
        let section = value.table(&schema::SERVES, "{ port = \"lan\", queues = [0, 1] }")?;
        let port = names.resolve(&section.required("port", "\"lan\"")?)?;
        let queues = section.value("queues").and_then(|value| read_queues(&value)).unwrap_or(Queues::All);
        return Some(Serves { port, queues, at: value.at() });
    }
    let Some(text) = value.text() else {
        value.wrong_type("a port", "write \"lan\", \"lan:1\", or { port = \"lan\", queues = [0, 1] }");
        return None;
    };
    let (name, queues) = match text.split_once(':') {
        None => (text, Queues::All),
        Some((name, queue)) => match queue.parse::<u16>() {
            Ok(queue) if queue < bounds::MAX_QUEUES => (name, Queues::These(vec![queue])),
            _ => {
                value.wrong(
                    format!("\"{queue}\" is not the number of a queue"),
                    format!(
                        "write it as in \"{}:0\"; it goes from 0 to {}",
                        printable_name(name),
                        bounds::MAX_QUEUES - 1
                    ),
                );
                return None;
            }
        },
    };
    let Some(port) = names.find(name) else {
        value.wrong(format!("there is no port `{name}`"), names.advice(name));
        return None;
    };
    Some(Serves { port, queues, at: value.at() })
}

fn printable_name(name: &str) -> &str {
    if name.is_empty() { "lan" } else { name }
}
