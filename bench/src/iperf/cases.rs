//! The cases: which program, with which words, against which server.

use super::Sample;
use super::parse;
use std::net::IpAddr;
use std::time::Duration;

/// The port of iperf3, iperf and of the servers that are started here.
pub const IPERF3_PORT: u16 = 5201;
/// iperf's.
pub const IPERF_PORT: u16 = 5001;

/// Whose words a program's output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// iperf3, in JSON.
    Iperf3,
    /// iperf (version 2), in values with commas.
    Iperf2,
    /// wrk.
    Wrk,
}

impl Kind {
    /// What its rate counts.
    pub fn unit(self) -> &'static str {
        match self {
            Kind::Iperf3 | Kind::Iperf2 => "bit/s",
            Kind::Wrk => "requests/s",
        }
    }

    /// Reads what it said.
    ///
    /// # Errors
    /// What is missing, or what it complains of.
    pub fn parse(self, text: &str) -> Result<Sample, String> {
        match self {
            Kind::Iperf3 => parse::iperf3(text),
            Kind::Iperf2 => parse::iperf2(text),
            Kind::Wrk => parse::wrk(text),
        }
    }
}

/// One measurement by one program.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name in the report.
    pub name: String,
    /// Whose words come back.
    pub kind: Kind,
    /// What is run.
    pub client: Vec<String>,
    /// What is run beside it, at the other end.
    pub server: Option<Vec<String>>,
    /// How long the client measures.
    pub time: Duration,
}

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// Where the other end is; a case of each kind for each.
    pub servers: Vec<IpAddr>,
    /// Network namespace of the clients.
    pub client_namespace: Option<String>,
    /// Network namespace of the servers, which are then started here.
    pub server_namespace: Option<String>,
    /// Streams of the cases with several.
    pub streams: u32,
    /// Rate of UDP, in iperf's words.
    pub udp_rate: String,
    /// Of each run.
    pub seconds: u32,
    /// Programs: iperf3, iperf, wrk.
    pub programs: Vec<Kind>,
    /// iperf's port at the other end.
    pub iperf_port: u16,
    /// Ask a web server here too.
    pub url: Option<String>,
}

impl Wishes {
    /// The cases of these wishes.
    pub fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for server in &self.servers {
            let family = if server.is_ipv6() { "IPv6" } else { "IPv4" };
            let (streams, rate) = (self.streams.to_string(), self.udp_rate.as_str());
            let mut iperf3 = |name: &str, options: &[&str]| {
                let seconds = self.seconds.to_string();
                let address = server.to_string();
                let mut words =
                    vec!["iperf3", "-J", "--connect-timeout", "5000", "-c", &address, "-t", &seconds];
                words.extend(options);
                cases.push(Case {
                    name: format!("iperf3 {name}, {family}"),
                    kind: Kind::Iperf3,
                    client: within(self.client_namespace.as_deref(), &words),
                    server: self.server(&["iperf3", "-s"]),
                    time: Duration::from_secs(self.seconds.into()),
                });
            };
            if self.programs.contains(&Kind::Iperf3) {
                iperf3("TCP", &[]);
                iperf3("TCP, towards us", &["-R"]);
                iperf3(&format!("TCP, {streams} streams"), &["-P", &streams]);
                iperf3(&format!("UDP at {rate}"), &["-u", "-b", rate]);
            }
            if self.programs.contains(&Kind::Iperf2) {
                for count in [1, self.streams] {
                    let (seconds, port, address) =
                        (self.seconds.to_string(), self.iperf_port.to_string(), server.to_string());
                    let count_word = count.to_string();
                    let mut words = vec![
                        "iperf",
                        "-y",
                        "C",
                        "-c",
                        &address,
                        "-p",
                        &port,
                        "-t",
                        &seconds,
                        "-P",
                        &count_word,
                    ];
                    let mut serving = vec!["iperf", "-s", "-p", &port];
                    if server.is_ipv6() {
                        words.push("-V");
                        serving.push("-V");
                    }
                    cases.push(Case {
                        name: format!("iperf TCP, {count} streams, {family}"),
                        kind: Kind::Iperf2,
                        client: within(self.client_namespace.as_deref(), &words),
                        server: self.server(&serving),
                        time: Duration::from_secs(self.seconds.into()),
                    });
                }
            }
        }
        if let Some(url) = &self.url
            && self.programs.contains(&Kind::Wrk)
        {
            let time = format!("{}s", self.seconds);
            let words = ["wrk", "-t", "1", "-c", "32", "-d", &time, "--latency", url];
            cases.push(Case {
                name: format!("wrk {url}"),
                kind: Kind::Wrk,
                client: within(self.client_namespace.as_deref(), &words),
                server: None,
                time: Duration::from_secs(self.seconds.into()),
            });
        }
        cases
    }

    fn server(&self, words: &[&str]) -> Option<Vec<String>> {
        self.server_namespace.as_deref().map(|namespace| within(Some(namespace), words))
    }
}

/// A command, in a network namespace or in this one.
fn within(namespace: Option<&str>, words: &[&str]) -> Vec<String> {
    let prefix: &[&str] = match namespace {
        Some(namespace) => &["ip", "netns", "exec", namespace],
        None => &[],
    };
    prefix.iter().chain(words).map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes() -> Wishes {
        Wishes {
            servers: vec!["10.0.2.2".parse().unwrap(), "fd00:2::2".parse().unwrap()],
            client_namespace: Some("client".to_owned()),
            server_namespace: None,
            streams: 4,
            udp_rate: "100M".to_owned(),
            seconds: 5,
            programs: vec![Kind::Iperf3, Kind::Iperf2, Kind::Wrk],
            iperf_port: IPERF_PORT,
            url: Some("http://10.0.1.1/".to_owned()),
        }
    }

    #[test]
    fn both_families_both_directions_several_streams_and_udp() {
        let cases = wishes().cases();
        assert_eq!(cases.len(), 2 * (4 + 2) + 1);
        let lines: Vec<String> = cases.iter().map(|case| case.client.join(" ")).collect();
        assert!(lines[0].starts_with("ip netns exec client iperf3 -J"), "{}", lines[0]);
        assert!(lines[1].ends_with("-c 10.0.2.2 -t 5 -R") && lines[2].ends_with("-P 4"));
        assert!(lines[3].ends_with("-u -b 100M") && lines[11].ends_with("-P 4 -V"), "{}", lines[11]);
        assert!(cases.iter().all(|case| case.server.is_none()), "they run already");
    }

    #[test]
    fn servers_are_started_where_a_namespace_is_named() {
        let cases = Wishes { server_namespace: Some("server".to_owned()), url: None, ..wishes() }.cases();
        assert_eq!(cases[0].server.as_ref().unwrap().join(" "), "ip netns exec server iperf3 -s");
        assert!(cases.iter().all(|case| case.server.is_some()));
    }
}
