//! Every option and every ioctl of sockets through the library, beside the kernel: the list that is walked is the table's own,
//! so that none can be forgotten.
//!
//! What an option with a *difference* in the table gives is written down in `programs/option_differences.txt`, which says it
//! in full; `FLUMEN_REWRITE=1` writes it anew.

use super::harness::Lab;
use super::programs_calls::same;
use flumen::session::options::ioctl::REQUESTS;
use flumen::session::options::kind::Kinds;
use flumen::session::options::table::TABLE;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

const WALK: &str = include_str!("programs/option_walk.py");

/// The list: each pair of level and number once, with the kinds of sockets for which it differs from Linux.
fn list() -> String {
    let mut options: BTreeMap<(i32, i32), (&str, String)> = BTreeMap::new();
    for row in TABLE.iter().flat_map(|(_, rows)| rows.iter()) {
        let (_, apart) = options.entry((row.level, row.number)).or_insert((row.name, String::new()));
        for (_, kind) in Kinds::EACH.iter().filter(|(one, _)| !row.differs.is_empty() && one.meets(row.kinds)) {
            let _infallible = write!(apart, " {kind}");
        }
    }
    let mut list = String::new();
    for ((level, number), (name, apart)) in options {
        let _infallible = writeln!(list, "{level}\t{number}\t{name}\t{apart}");
    }
    for request in REQUESTS {
        let _infallible = writeln!(list, "ioctl\t{}\t{}\t", request.number, request.name);
    }
    list
}

pub fn every_option_and_ioctl_gives_through_the_library_what_the_kernel_gives() {
    let lab = Lab::plan().programs("").up();
    let (script, list) = (lab.file("option_walk.py", WALK), lab.file("options.txt", list()));
    // One that has nothing to say in TCP_CC_INFO, as Flumen's.
    lab.client("sysctl -qw net.ipv4.tcp_congestion_control=reno").must();
    let kernels = lab.client(&format!("python3 {script} 10.0.1.2 fd00:1::2 {list}")).must();
    let flumens = lab.run_on_flumen(&format!("python3 {script} 10.0.1.1 fd00:1::1 {list}")).must();
    assert!(kernels.lines().count() > 2000 && kernels.contains("\ndone"), "{kernels}");
    let of_both = |said: &str| {
        let (differ, same): (Vec<_>, Vec<_>) =
            said.lines().map(str::to_owned).partition(|line| line.starts_with("differs: "));
        (same.join("\n"), differ)
    };
    let ((flumens, differ), (kernels, _)) = (of_both(&flumens), of_both(&kernels));
    same(&flumens, &kernels);
    same(&grouped(&differ), &written(&grouped(&differ)));
}

/// A line for each answer, with the sockets that give it.
fn grouped(lines: &[String]) -> String {
    let mut answers: Vec<(String, Vec<&str>)> = Vec::new();
    for line in lines {
        let (what, said) = line.trim_start_matches("differs: ").split_once(": ").expect("an answer");
        let (option, socket) = what.split_once(" of ").expect("a socket");
        let answer = format!("{option}: {said}");
        match answers.iter_mut().find(|(known, _)| *known == answer) {
            Some((_, sockets)) => sockets.push(socket),
            None => answers.push((answer, vec![socket])),
        }
    }
    answers.iter().fold(String::new(), |mut text, (answer, sockets)| {
        let _infallible = writeln!(text, "{answer}\n    {}", sockets.join(", "));
        text
    })
}

/// What is written down.
fn written(now: &str) -> String {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/programs/option_differences.txt");
    if std::env::var_os("FLUMEN_REWRITE").is_some() {
        std::fs::write(&path, now).expect("the file");
    }
    std::fs::read_to_string(&path).expect("what is written down")
}
