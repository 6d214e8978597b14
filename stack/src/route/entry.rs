//! Routes as the control side speaks of them.

use crate::PortId;
use crate::limits::{MAX_PATHS, MAX_WEIGHT};
use crate::route::metrics::RouteMetrics;
use crate::route::table_id::TableId;
use crate::route::words::WordsError;
use core::net::IpAddr;
use ipnet::IpNet;

/// Who a route comes from. Of several routes to one prefix the lower [`Source::distance`] wins, then the lower
/// metric, then the one that came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Source {
    /// It follows from an address of ours: the address itself, its subnet, its broadcast addresses.
    Connected,
    /// The configuration.
    Static,
    /// What routers on the link say of it: ICMPv6 router advertisements.
    Redirect,
    /// The kernel's table, mirrored over netlink (where routing daemons write).
    Kernel,
}

impl Source {
    const ALL: [Source; 4] = [Source::Connected, Source::Static, Source::Redirect, Source::Kernel];

    /// The administrative distance: the usual figures for connected (0) and static (1) routes; redirects are
    /// believed less than what an operator wrote, more than what a daemon learned.
    pub const fn distance(self) -> u8 {
        match self {
            Source::Connected => 0,
            Source::Static => 1,
            Source::Redirect => 5,
            Source::Kernel => 20,
        }
    }

    pub(crate) fn from_number(number: u8) -> Source {
        Self::ALL[usize::from(number) % Self::ALL.len()]
    }
}

/// One way out of several: see [`Target::Multipath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// The port it leaves by.
    pub port: PortId,
    /// The router, or `None` when the destination itself is on the link.
    pub via: Option<IpAddr>,
    /// Its share, 1 to [`MAX_WEIGHT`], relative to the other members'.
    pub weight: u16,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// To us: an address of ours.
    Local,
    /// An IPv4 broadcast address of the link at `port`.
    Broadcast {
        /// The link.
        port: PortId,
    },
    /// On the link at `port`: the destination itself is the neighbour.
    Connected {
        /// The link.
        port: PortId,
    },
    /// To the router `via` on the link at `port`. An IPv4 prefix may have an IPv6 router (RFC 8950).
    Gateway {
        /// The link.
        port: PortId,
        /// The router's address.
        via: IpAddr,
    },
    /// Shared among 2 to [`MAX_PATHS`] ways by flow.
    Multipath(Vec<Path>),
    /// Dropped silently.
    Blackhole,
    /// Dropped; the sender is told that the host is unreachable.
    Unreachable,
    /// Dropped; the sender is told that communication is prohibited.
    Prohibit,
}

/// A route: one line of the table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// The destinations it is for.
    pub prefix: IpNet,
    /// Where they are sent.
    pub target: Target,
    /// Who it comes from.
    pub source: Source,
    /// Its preference among routes of like distance: lower wins.
    pub metric: u32,
    /// The table that it is in.
    pub table: TableId,
    /// What it says about its way.
    pub metrics: RouteMetrics,
}

/// Why a change of routes was refused. Whatever is refused leaves everything as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The prefix has bits set beyond its length.
    #[error("{0} has bits set beyond its length; the network is {net}", net = .0.trunc())]
    HostBits(IpNet),
    /// A broadcast route must be for one IPv4 address.
    #[error("{0} cannot be a broadcast address: that is one IPv4 address (/32)")]
    NotBroadcast(IpNet),
    /// The router's address is not one that a router can have on a link, or of the wrong family.
    #[error("{via} cannot be the router for {prefix}")]
    BadGateway {
        /// The address given.
        via: IpAddr,
        /// The prefix given.
        prefix: IpNet,
    },
    /// A multipath route has too few or too many members, or one of them twice.
    #[error("a multipath route has 2 to {MAX_PATHS} different members, not {0}")]
    BadPathCount(usize),
    /// A member's weight is out of range.
    #[error("the weight of a path is 1 to {MAX_WEIGHT}, not {0}")]
    BadWeight(u16),
    /// There is a route to this prefix from the same source with the same metric.
    #[error("there is a route to {0} from this source with this metric already")]
    Duplicate(IpNet),
    /// There is no such route.
    #[error("there is no route to {0} from this source with this metric")]
    NotFound(IpNet),
    /// There is no such table.
    #[error("there is no such table")]
    NoTable,
    /// As many routes of this family as the table may hold.
    #[error("the table holds {0} routes of this family, which is its limit")]
    TooManyRoutes(usize),
    /// As many next hops as the table may hold.
    #[error("the table of next hops is full: {0}")]
    TooManyNextHops(usize),
    /// As many multipath groups as the table may hold.
    #[error("the table of multipath groups is full: {0}")]
    TooManyMultipath(usize),
    /// The forwarding table of the prefix's family has no room for it.
    #[error("the forwarding table has no room for {0}")]
    TableFull(IpNet),
    /// Room is there once all workers have begun another burst: try again.
    #[error("the forwarding table has no room for {0} until every worker has begun another burst")]
    GracePending(IpNet),
    /// As many readers as the table can have.
    #[error("the route table has as many readers as it can")]
    TooManyReaders,
    /// No memory for the tables.
    #[error(transparent)]
    Memory(#[from] WordsError),
}

impl RouteError {
    /// True when the same change may succeed a moment later.
    pub fn may_retry(&self) -> bool {
        matches!(self, RouteError::GracePending(_))
    }
}

impl Route {
    /// A static route of the main table, with no preference and nothing said about its way.
    pub const fn new(prefix: IpNet, target: Target) -> Route {
        let (table, metrics) = (TableId::MAIN, RouteMetrics::NONE);
        Route { prefix, target, source: Source::Static, metric: 0, table, metrics }
    }

    /// Whether the route can be used at all.
    pub(crate) fn check(&self) -> Result<(), RouteError> {
        check_prefix(self.prefix)?;
        match &self.target {
            Target::Gateway { via, .. } => self.check_gateway(*via),
            Target::Broadcast { .. } => match self.prefix {
                IpNet::V4(prefix) if prefix.prefix_len() == 32 => Ok(()),
                prefix => Err(RouteError::NotBroadcast(prefix)),
            },
            Target::Multipath(paths) => {
                let mut ways: Vec<_> = paths.iter().map(|path| (path.port, path.via)).collect();
                ways.sort_unstable();
                ways.dedup();
                if ways.len() != paths.len() || !(2..=MAX_PATHS).contains(&paths.len()) {
                    return Err(RouteError::BadPathCount(paths.len()));
                }
                for path in paths {
                    if !(1..=MAX_WEIGHT).contains(&path.weight) {
                        return Err(RouteError::BadWeight(path.weight));
                    }
                    path.via.map_or(Ok(()), |via| self.check_gateway(via))?;
                }
                Ok(())
            }
            Target::Local
            | Target::Connected { .. }
            | Target::Blackhole
            | Target::Unreachable
            | Target::Prohibit => Ok(()),
        }
    }

    /// A router is one station: not unspecified, a group, a loopback address or the limited broadcast address
    /// (RFC 1122 section 3.2.1.3); an IPv4 router cannot carry IPv6.
    fn check_gateway(&self, via: IpAddr) -> Result<(), RouteError> {
        let station = !via.is_unspecified() && !via.is_multicast() && !via.is_loopback();
        let station = station && via != IpAddr::V4(core::net::Ipv4Addr::BROADCAST);
        let family = via.is_ipv6() || matches!(self.prefix, IpNet::V4(_));
        if station && family { Ok(()) } else { Err(RouteError::BadGateway { via, prefix: self.prefix }) }
    }
}

pub(crate) fn check_prefix(prefix: IpNet) -> Result<(), RouteError> {
    if prefix.addr() == prefix.network() { Ok(()) } else { Err(RouteError::HostBits(prefix)) }
}
