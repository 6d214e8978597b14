//! What a test wants of its lab, said once, and told to either router: as `ip route` commands to Linux, as
//! TOML to Flumen.

use super::{Lab, RouterKind};
use std::fmt::Write;
use std::path::Path;

/// What becomes of packets that a route covers.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    /// They go to these gateways, shared by flow.
    Via(&'static [&'static str]),
    /// They vanish.
    Blackhole,
    /// Host unreachable.
    Unreachable,
    /// Administratively prohibited.
    Prohibit,
}

/// A lab to be.
#[derive(Debug)]
pub struct Plan {
    router: Option<RouterKind>,
    mtu: u16,
    far_mtu: Option<u16>,
    offloads: &'static str,
    workers: usize,
    distribute: &'static str,
    routes: Vec<(&'static str, Action)>,
    neighbours: Vec<(&'static str, &'static str, &'static str)>,
    port_keys: Vec<(&'static str, &'static str)>,
    core_keys: &'static str,
    tables: &'static str,
    linux: &'static [&'static str],
    programs: Option<&'static str>,
    control: &'static str,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            router: None,
            mtu: 1500,
            far_mtu: None,
            offloads: "default",
            workers: 1,
            distribute: "rss",
            routes: Vec::new(),
            neighbours: Vec::new(),
            port_keys: Vec::new(),
            core_keys: "",
            tables: "",
            linux: &[],
            programs: None,
            control: "",
        }
    }
}

impl Plan {
    /// This one routes, whatever LAB_ROUTER says: for tests that compare both.
    pub fn router(mut self, router: RouterKind) -> Plan {
        self.router = Some(router);
        self
    }

    /// Who routes.
    pub(super) fn chosen(&self) -> RouterKind {
        self.router.unwrap_or_else(RouterKind::chosen)
    }

    /// MTU of both links, in bytes.
    pub fn mtu(mut self, mtu: u16) -> Plan {
        self.mtu = mtu;
        self
    }

    /// MTU of the server's link, in bytes, where it differs.
    pub fn far_mtu(mut self, mtu: u16) -> Plan {
        self.far_mtu = Some(mtu);
        self
    }

    /// What is on the links has finished checksums and fits the MTU, as on a real wire. Without this a packet
    /// socket sees checksums that were left to the hardware that veth is not.
    pub fn offloads_off(mut self) -> Plan {
        self.offloads = "off";
        self
    }

    /// Flumen with that many workers, one queue of each port on each. Linux needs no telling.
    pub fn workers(mut self, workers: usize) -> Plan {
        self.workers = workers;
        self
    }

    /// Flumen's workers share flows by their own hash, handing packets over, wherever the queue is polled.
    pub fn distribute_by_flow(mut self) -> Plan {
        self.distribute = "flow";
        self
    }

    /// A route of the router.
    pub fn route(mut self, to: &'static str, action: Action) -> Plan {
        self.routes.push((to, action));
        self
    }

    /// A static neighbour of the router: port (`lan` or `wan`), address, Ethernet address.
    pub fn neighbour(mut self, port: &'static str, address: &'static str, mac: &'static str) -> Plan {
        self.neighbours.push((port, address, mac));
        self
    }

    /// Lines of TOML for a port (`lan` or `wan`), beside its other keys; `addresses` in place of the usual ones. Linux has nothing of the kind.
    pub fn port_keys(mut self, port: &'static str, toml: &'static str) -> Plan {
        self.port_keys.push((port, toml));
        self
    }

    /// More tables of the configuration: services, say.
    pub fn tables(mut self, toml: &'static str) -> Plan {
        self.tables = toml;
        self
    }

    /// Commands that tell Linux, where it routes, what [`Plan::tables`] tells Flumen.
    pub fn linux(mut self, commands: &'static [&'static str]) -> Plan {
        self.linux = commands;
        self
    }

    /// Flumen has sockets for programs; with these lines of TOML in their table.
    pub fn programs(mut self, toml: &'static str) -> Plan {
        self.programs = Some(toml);
        self
    }

    /// Lines of TOML for the control socket.
    pub fn control(mut self, toml: &'static str) -> Plan {
        self.control = toml;
        self
    }

    /// Lines of TOML for every core. Linux has nothing of the kind.
    pub fn core_keys(mut self, toml: &'static str) -> Plan {
        self.core_keys = toml;
        self
    }

    /// Makes it stand, router running.
    pub fn up(self) -> Lab {
        Lab::raise(self)
    }

    /// Options of `scripts/lab up`.
    pub(super) fn arguments(&self, router: RouterKind) -> Vec<String> {
        let router = if router == RouterKind::Linux { "linux" } else { "flumen" };
        let far_mtu = self.far_mtu.unwrap_or(self.mtu);
        format!(
            "--router {router} --mtu {} --far-mtu {far_mtu} --offloads {} --queues 2",
            self.mtu, self.offloads
        )
        .split(' ')
        .map(str::to_owned)
        .collect()
    }

    /// The routes and neighbours, for the kernel.
    pub(super) fn linux_commands(&self) -> Vec<String> {
        let mut commands = Vec::new();
        for (to, action) in &self.routes {
            let what = match action {
                Action::Via([gateway]) => format!("{to} via {gateway}"),
                Action::Via(gateways) => {
                    let hops: Vec<_> =
                        gateways.iter().map(|gateway| format!("nexthop via {gateway}")).collect();
                    format!("{to} {}", hops.join(" "))
                }
                Action::Blackhole => format!("blackhole {to}"),
                Action::Unreachable => format!("unreachable {to}"),
                Action::Prohibit => format!("prohibit {to}"),
            };
            commands.push(format!("ip route add {what}"));
        }
        for (port, address, mac) in &self.neighbours {
            commands.push(format!("ip neighbour replace {address} lladdr {mac} dev {port} nud permanent"));
        }
        commands.extend(self.linux.iter().map(|command| (*command).to_owned()));
        commands
    }

    /// The whole configuration, for Flumen.
    pub(super) fn toml(&self, socket: &Path) -> String {
        let mut toml = String::new();
        for (port, four, six) in
            [("lan", "10.0.1.1/24", "fd00:1::1/64"), ("wan", "10.0.2.1/24", "fd00:2::1/64")]
        {
            let _ = writeln!(toml, "[[port]]\nname = \"{port}\"\ndistribute = \"{}\"", self.distribute);
            let keys: Vec<_> =
                self.port_keys.iter().filter(|(of, _)| *of == port).map(|(_, keys)| *keys).collect();
            if !keys.iter().any(|keys| keys.contains("addresses")) {
                let _ = writeln!(toml, "addresses = [\"{four}\", \"{six}\"]");
            }
            if !keys.iter().any(|keys| keys.contains("forwarding")) {
                let _ = writeln!(toml, "forwarding = true");
            }
            // Tests begin at once; those about duplicates say what they want.
            if !keys.iter().any(|keys| keys.contains("dad")) {
                let _ = writeln!(toml, "dad = \"off\"");
            }
            let _ = writeln!(toml, "{}\n", keys.join("\n"));
        }
        // The last processors: the first one has the interrupts of the machine.
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        assert!(self.workers <= cpus, "{} workers need as many processors; here are {cpus}", self.workers);
        for worker in 0..self.workers {
            let cpu = cpus - self.workers + worker;
            let ports = match self.workers {
                1 => "\"lan\", \"wan\"".to_owned(),
                _ => format!("\"lan:{worker}\", \"wan:{worker}\""),
            };
            let _ = writeln!(toml, "[[core]]\ncpu = {cpu}\nports = [{ports}]\n{}\n", self.core_keys);
        }
        for (to, action) in &self.routes {
            let what = match action {
                Action::Via(gateways) => format!("via = {gateways:?}"),
                Action::Blackhole => "type = \"blackhole\"".to_owned(),
                Action::Unreachable => "type = \"unreachable\"".to_owned(),
                Action::Prohibit => "type = \"prohibit\"".to_owned(),
            };
            let _ = writeln!(toml, "[[route]]\nto = \"{to}\"\n{what}\n");
        }
        for (port, address, mac) in &self.neighbours {
            let _ = writeln!(
                toml,
                "[[neighbour]]\nport = \"{port}\"\naddress = \"{address}\"\nmac = \"{mac}\"\n"
            );
        }
        let _ = writeln!(toml, "{}\n", self.tables);
        if let Some(keys) = self.programs {
            let _ =
                writeln!(toml, "[programs]\nsocket = {:?}\n{keys}\n", socket.with_file_name("programs.sock"));
        }
        let _ = writeln!(toml, "[control]\nsocket = {socket:?}\n{}\n", self.control);
        toml
    }
}
