//! From a file to a [`Config`] and its problems.

use super::addresses;
use super::bounds;
use super::model::{Config, Control, Core, Icmp, Limits, Log, Port, Routing, Sockets, Tcp, Udp};
use super::names::Names;
use super::problem::{At, Problem, Problems, Source, Sources};
use super::read::{Reader, Section, Value};
use super::schema::{self, Spec};
use super::{
    assign, cores, multicast, policy, ports, programs, routes, routes_file, services, settings, transport,
};
use flumen_stack::{PortId, limits};
use std::io::Read;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// What became of a configuration file.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration; `None` when there are errors.
    pub config: Option<Config>,
    /// What was found, warnings included.
    pub problems: Problems,
    /// The texts, for showing problems. A routes file may be large: drop them when nothing is to be shown.
    pub sources: Sources,
}

/// A file that cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The system says no.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is too long to be meant.
    #[error("{} is longer than {most} bytes, so it is not a configuration", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        most: usize,
    },
    /// It is not text.
    #[error("{} is not UTF-8 text: byte {offset} cannot be read", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first byte that is wrong, from 0.
        offset: usize,
    },
}

/// Reads the configuration in the file at `path`, and the routes files that it names.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    let text = read_text(path, bounds::MAX_FILE)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    Ok(parse(&path.display().to_string(), text, folder, &mut |path| read_text(path, bounds::MAX_ROUTES_FILE)))
}

/// Reads the configuration `text`, which messages call `name`. Relative file names in it are relative to
/// `folder`; `read_file` reads a routes file. Never panics, whatever the text.
pub fn parse(
    name: &str,
    text: String,
    folder: &Path,
    read_file: &mut dyn FnMut(&Path) -> Result<String, LoadError>,
) -> Loaded {
    let reader = Reader::default();
    let mut texts = Vec::new();
    let (config, problems) = {
        let (document, errors) = DeTable::parse_recoverable(&text);
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            let span = span.start.min(text.len())..span.end.min(text.len());
            reader.report(
                Problem::error(
                    reader.at(span),
                    format!("this is not TOML: {}", error.message().replace('\n', ", ")),
                )
                .help("https://toml.io shows how it is written"),
            );
        }
        // A text that is half understood would only give problems that are not there.
        if errors.is_empty() {
            read(reader, document.get_ref(), text.len(), folder, read_file, &mut texts)
        } else {
            (None, reader.into_problems())
        }
    };
    let mut sources = vec![Source { name: name.to_owned(), text }];
    sources.append(&mut texts);
    Loaded { config, problems, sources: Sources(sources) }
}

fn read(
    reader: Reader,
    document: &DeTable<'_>,
    length: usize,
    folder: &Path,
    read_file: &mut dyn FnMut(&Path) -> Result<String, LoadError>,
    texts: &mut Vec<Source>,
) -> (Option<Config>, Problems) {
    let file = Section::open(&reader, document, &schema::FILE, reader.at(0..0));
    let end = reader.at(length..length);

    let port_sections = sections(&file, "port", &schema::PORT);
    let core_sections = sections(&file, "core", &schema::CORE);
    for (found, name) in [(port_sections.is_empty(), "port"), (core_sections.is_empty(), "core")] {
        if found && file.value(name).is_none() {
            reader.report(
                Problem::error(end, format!("there is no [[{name}]]"))
                    .help("a data plane needs at least one port, and one core to poll it"),
            );
        }
    }

    let names = Names::collect(&reader, &port_sections);
    let ports: Vec<Port> = port_sections
        .iter()
        .enumerate()
        .filter_map(|(index, section)| {
            Some(ports::read_port(section, PortId::new(index)?, names.name(index), &names, folder))
        })
        .collect();
    let nets: Vec<(&str, At, &[ipnet::IpNet])> =
        ports.iter().map(|port| (port.name.as_str(), port.at, port.addresses.as_slice())).collect();
    addresses::check_overlaps(&reader, &nets);
    let ports_are_good = reader.errors() == 0;

    if let Some(value) = file.value("core")
        && core_sections.len() > limits::MAX_WORKERS
    {
        reader.report(
            Problem::error(value.key_at, format!("{} cores", core_sections.len()))
                .help(format!("{} are the most", limits::MAX_WORKERS)),
        );
    }
    let cores: Vec<Core> = core_sections
        .iter()
        .take(limits::MAX_WORKERS)
        .map(|section| cores::read_core(section, &names))
        .collect();
    let layout_is_good = reader.errors() == 0;

    let tables = policy::read_tables(&reader, &sections(&file, "table", &schema::TABLE));
    let names = names.with_tables(&tables);
    let rules = policy::read_rules(&reader, &sections(&file, "rule", &schema::POLICY_RULE), &names);
    let group_routes = sections(&file, "multicast_route", &schema::MULTICAST_ROUTE);
    let groups = section(&file, "multicast", &schema::MULTICAST);
    let multicast = multicast::read(&reader, groups.as_ref(), &group_routes, &names);
    let links = routes::Links::new(&ports, ports_are_good);
    let mut all_routes: Vec<_> = sections(&file, "route", &schema::ROUTE)
        .iter()
        .filter_map(|section| routes::read_route(section, &names, &links))
        .collect();
    let neighbour_sections = sections(&file, "neighbour", &schema::NEIGHBOUR);
    let neighbours = routes::read_neighbours(&reader, &neighbour_sections, &names, &ports, &links);

    let single = |key, spec| section(&file, key, spec);
    let limits =
        single("limits", &schema::LIMITS).map_or_else(Limits::default, |s| settings::read_limits(&s));
    let icmp = single("icmp", &schema::ICMP).map_or_else(Icmp::default, |s| settings::read_icmp(&s));
    let services = services::read(&reader, &sections(&file, "service", &schema::SERVICE), &ports, folder);
    let sockets =
        single("sockets", &schema::SOCKETS).map_or_else(Sockets::default, |s| transport::read_sockets(&s));
    let tcp = single("tcp", &schema::TCP).map_or_else(Tcp::default, |s| transport::read_tcp(&s));
    let udp = single("udp", &schema::UDP).map_or_else(Udp::default, |s| transport::read_udp(&s));
    let programs = single("programs", &schema::PROGRAMS).map(|s| programs::read(&s));
    let control =
        single("control", &schema::CONTROL).map_or_else(Control::default, |s| settings::read_control(&s));
    let routing =
        single("routing", &schema::ROUTING).map_or_else(Routing::default, |s| policy::read_routing(&s));
    let log = single("log", &schema::LOG).map_or_else(Log::default, |s| settings::read_log(&s));
    if let Some(last) = neighbours.last()
        && neighbours.len() > limits.neighbours
    {
        reader.report(
            Problem::error(
                last.at,
                format!("{} neighbours, and the table holds {}", neighbours.len(), limits.neighbours),
            )
            .help("raise `neighbours` in [limits]"),
        );
    }

    let mut shared = routes::NextHops::default();
    let mut file_problems = Problems::default();
    for value in routes_files(&file) {
        let Some(path) = value.name("routes.txt").map(|name| folder.join(name)) else { continue };
        match read_file(&path) {
            Err(error) => {
                value.wrong(error.to_string(), "relative names start at the folder of the configuration")
            }
            Ok(text) => {
                let number = texts.len() + 1; // text 0 is the configuration itself
                routes_file::read(
                    &text,
                    number,
                    &names,
                    &links,
                    &mut shared,
                    &mut all_routes,
                    &mut file_problems,
                );
                texts.push(Source { name: path.display().to_string(), text });
            }
        }
    }

    let mut problems = reader.into_problems();
    problems.append(file_problems);
    routes::check_doubles(&all_routes, &mut problems);
    routes::check_count(&all_routes, &ports, &limits, &mut problems);
    policy::check_counts(&all_routes, &tables, &mut problems);
    all_routes.shrink_to_fit();
    let config = Config {
        ports,
        cores,
        routes: all_routes,
        tables: tables.clone(),
        rules,
        routing,
        multicast,
        neighbours,
        limits,
        icmp,
        services,
        sockets,
        tcp,
        udp,
        programs,
        control,
        log,
    };
    assign::check_cpus(&config, &mut problems);
    if layout_is_good {
        assign::check(&config, &mut problems);
    }
    ((problems.errors() == 0).then_some(config), problems)
}

/// The tables of `[[key]]`.
fn sections<'a>(file: &Section<'a>, key: &str, spec: &'static Spec) -> Vec<Section<'a>> {
    let Some(value) = file.value(key) else { return Vec::new() };
    if value.is_table() {
        value.wrong_type(
            "a list of tables",
            &format!("write [[{key}]] with two brackets: there can be several"),
        );
        return Vec::new();
    }
    let example = format!("[[{key}]]");
    value
        .list(bounds::MAX_FILE, &example)
        .unwrap_or_default()
        .iter()
        .filter_map(|v| v.table(spec, &example))
        .collect()
}

/// The table of `[key]`.
fn section<'a>(file: &Section<'a>, key: &str, spec: &'static Spec) -> Option<Section<'a>> {
    let value = file.value(key)?;
    if value.is_list() {
        value.wrong_type("one table", &format!("write [{key}] with one bracket: there is only one"));
        return None;
    }
    value.table(spec, spec.name)
}

/// The names in `routes_file`: one, or a list.
fn routes_files<'a>(file: &Section<'a>) -> Vec<Value<'a>> {
    let Some(value) = file.value("routes_file") else { return Vec::new() };
    if !value.is_list() {
        return vec![value];
    }
    value.list(bounds::MAX_ROUTES_FILES, "[\"routes.txt\"]").unwrap_or_default()
}

fn read_text(path: &Path, most: usize) -> Result<String, LoadError> {
    let io = |error| LoadError::Io { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() > most {
        return Err(LoadError::TooLong { path: path.to_owned(), most });
    }
    String::from_utf8(bytes).map_err(|error| LoadError::NotText {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })
}
