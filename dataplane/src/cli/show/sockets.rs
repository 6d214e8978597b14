//! `flumen show sockets`, `flumen show tcp` and `flumen show programs` for people.

use crate::cli::table::{Table, yes};
use crate::control::snapshot::{Programs, Sockets};

/// One line for each socket.
pub fn text(sockets: &Sockets) -> String {
    let mut table =
        Table::new(["protocol", "state", "recv-q", "send-q", "local", "remote", "pid", "user", "cpu"]);
    for socket in &sockets.sockets {
        table.row([
            socket.protocol.clone(),
            socket.state.clone(),
            socket.receive_queue.to_string(),
            socket.send_queue.to_string(),
            socket.local.to_string(),
            socket.remote.map(|remote| remote.to_string()).unwrap_or_default(),
            socket.pid.map(|pid| pid.to_string()).unwrap_or_else(|| "service".to_owned()),
            socket.uid.map(|uid| uid.to_string()).unwrap_or_default(),
            socket.cpu.to_string(),
        ]);
    }
    if !table.has_rows() {
        return "no sockets\n".to_owned();
    }
    table.take_text() + if sockets.cut_short { "… and more than are shown\n" } else { "" }
}

fn cpus(cpus: &[usize]) -> String {
    cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// One line for each program.
pub fn programs(programs: &Programs) -> String {
    let mut table = Table::new(["pid", "user", "sockets", "memory of", "gone", "woken aside", "cpus"]);
    for program in &programs.programs {
        table.row([
            program.pid.to_string(),
            program.uid.to_string(),
            program.sockets.to_string(),
            program.homes.to_string(),
            yes(program.gone).to_owned(),
            yes(program.woken_aside).to_owned(),
            cpus(&program.cpus),
        ]);
    }
    if table.has_rows() { table.take_text() } else { "no programs\n".to_owned() }
}
