//! What owners of sockets call to join and leave groups (ip(7): IP_ADD_MEMBERSHIP, MCAST_JOIN_GROUP and their kin;
//! RFC 3678), and how the stack says what the groups ask it to say.

use super::{Filter, Groups, Mode, Say};
use crate::frame::{Frame, FramePool};
use crate::limits::{MAX_GROUPS, MAX_MEMBERSHIPS, MAX_SOURCES};
use crate::port::PortId;
use crate::socket::{Error, SocketId};
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use core::net::{IpAddr, Ipv4Addr};

/// A change of one source (RFC 3678 section 4.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceChange {
    /// Hear it no more, of a group that was joined (IP_BLOCK_SOURCE).
    Block,
    /// Hear it again (IP_UNBLOCK_SOURCE).
    Unblock,
    /// Hear it, and none but those that were joined so (IP_ADD_SOURCE_MEMBERSHIP).
    Join,
    /// Hear it no more (IP_DROP_SOURCE_MEMBERSHIP).
    Leave,
}

impl<F: Frame> Stack<F> {
    /// A socket joins a group, from all sources, on a port (`None`: the one that the routes lead to).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what is no group, [`Error::NoDevice`], [`Error::AddressInUse`] when it is a
    /// member, [`Error::NoBuffers`] beyond a bound, [`Error::BadHandle`].
    pub fn group_join<P, M>(
        &mut self,
        turn: &mut Turn<'_, P, M>,
        socket: SocketId,
        port: Option<PortId>,
        group: IpAddr,
    ) -> Result<(), Error>
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        let (port, group) = self.group_key(socket, port, group)?;
        if self.groups.filter_of(socket, port, group).is_some() {
            return Err(Error::AddressInUse);
        }
        self.group_set(turn, socket, port, group, Some(Filter::EVERYBODY))
    }

    /// A socket leaves a group.
    ///
    /// # Errors
    /// [`Error::AddressNotAvailable`] when it is no member; others as [`Stack::group_join`].
    pub fn group_leave<P, M>(
        &mut self,
        turn: &mut Turn<'_, P, M>,
        socket: SocketId,
        port: Option<PortId>,
        group: IpAddr,
    ) -> Result<(), Error>
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        let (port, group) = self.group_key(socket, port, group)?;
        if self.groups.filter_of(socket, port, group).is_none() {
            return Err(Error::AddressNotAvailable);
        }
        self.group_set(turn, socket, port, group, None)
    }

    /// A socket changes one source of its filter.
    ///
    /// # Errors
    /// [`Error::AddressNotAvailable`] for a source or a membership that is not there, or is there already;
    /// [`Error::InvalidArgument`] when the filter is of the other mode; others as [`Stack::group_join`].
    pub fn group_source<P, M>(
        &mut self,
        turn: &mut Turn<'_, P, M>,
        socket: SocketId,
        port: Option<PortId>,
        group: IpAddr,
        source: IpAddr,
        change: SourceChange,
    ) -> Result<(), Error>
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        let (port, group) = self.group_key(socket, port, group)?;
        let source = source.to_canonical();
        if source.is_ipv4() != group.is_ipv4() || source.is_multicast() {
            return Err(Error::InvalidArgument);
        }
        let had = self.groups.filter_of(socket, port, group);
        let (mode, adds) = match change {
            SourceChange::Block => (Mode::Exclude, true),
            SourceChange::Unblock => (Mode::Exclude, false),
            SourceChange::Join => (Mode::Include, true),
            SourceChange::Leave => (Mode::Include, false),
        };
        let had = match had {
            None if change == SourceChange::Join => &Filter::NOBODY,
            None => return Err(Error::InvalidArgument),
            Some(had) if had.mode() != mode => return Err(Error::InvalidArgument),
            Some(had) => had,
        };
        if adds == had.sources().contains(&source) {
            return Err(Error::AddressNotAvailable);
        }
        let new = if adds { had.with(source) } else { had.without(source) };
        self.group_set(turn, socket, port, group, Some(new).filter(|new| !new.is_nobody()))
    }

    /// Sets a socket's whole filter for a group (MCAST_MSFILTER); INCLUDE of nobody leaves it.
    ///
    /// # Errors
    /// [`Error::NoBuffers`] for more sources than the bound; others as [`Stack::group_join`].
    pub fn group_filter<P, M>(
        &mut self,
        turn: &mut Turn<'_, P, M>,
        socket: SocketId,
        port: Option<PortId>,
        group: IpAddr,
        filter: Filter,
    ) -> Result<(), Error>
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        let (port, group) = self.group_key(socket, port, group)?;
        if filter.sources().iter().any(|source| source.is_ipv4() != group.is_ipv4()) {
            return Err(Error::InvalidArgument);
        }
        self.group_set(turn, socket, port, group, Some(filter).filter(|filter| !filter.is_nobody()))
    }

    /// A socket's filter for a group; `None` when it is no member.
    ///
    /// # Errors
    /// As [`Stack::group_join`].
    pub fn group_filter_of(
        &self,
        socket: SocketId,
        port: Option<PortId>,
        group: IpAddr,
    ) -> Result<Option<&Filter>, Error> {
        let (port, group) = self.group_key(socket, port, group)?;
        Ok(self.groups.filter_of(socket, port, group))
    }

    /// A socket leaves all its groups: it is about to close.
    pub fn leave_all_groups<P, M>(&mut self, turn: &mut Turn<'_, P, M>, socket: SocketId)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        while let Some((port, group)) = { self.groups.memberships(socket).next() } {
            self.groups.update(turn.now, socket, port, group, None);
            self.cache_epoch += 1;
        }
        self.say_groups(turn);
    }

    /// Whether a packet from `source` to `group` on the link of `port` is heard by this node.
    pub(crate) fn hears_group(&self, port: PortId, group: IpAddr, source: IpAddr) -> bool {
        let always = match group {
            IpAddr::V4(group) => group == Ipv4Addr::new(224, 0, 0, 1),
            IpAddr::V6(group) => self.interfaces.get(port).is_some_and(|port| port.listens_to_ipv6(group)),
        };
        always || self.groups.listens(port, group, source)
    }

    /// True for the broadcast address of a subnet of ours.
    pub(crate) fn is_broadcast_address(&self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else { return false };
        self.interfaces.iter().any(|port| port.ipv4.iter().any(|net| net.broadcast() == address))
    }

    fn group_key(
        &self,
        socket: SocketId,
        port: Option<PortId>,
        group: IpAddr,
    ) -> Result<(PortId, IpAddr), Error> {
        let family = match socket {
            SocketId::Udp(handle) => self.udp.get(handle).map(|socket| socket.end.family),
            SocketId::Raw(handle) => self.raw.get(handle).map(|socket| socket.end.family),
            SocketId::Tcp(_) | SocketId::Listener(_) => return Err(Error::NotSupported),
        };
        let group = group.to_canonical();
        let family = family.ok_or(Error::BadHandle)?;
        if family == crate::socket::Family::Ipv4 && group.is_ipv6() {
            return Err(Error::WrongFamily);
        }
        if !group.is_multicast() {
            return Err(Error::InvalidArgument);
        }
        let port = port.or_else(|| self.route_port(group)).ok_or(Error::NoDevice)?;
        self.interfaces.get(port).map(|_| (port, group)).ok_or(Error::NoDevice)
    }

    fn group_set<P, M>(
        &mut self,
        turn: &mut Turn<'_, P, M>,
        socket: SocketId,
        port: PortId,
        group: IpAddr,
        filter: Option<Filter>,
    ) -> Result<(), Error>
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        if let Some(filter) = &filter {
            let is_new = self.groups.filter_of(socket, port, group).is_none();
            if filter.sources().len() > MAX_SOURCES
                || (is_new && self.groups.memberships(socket).count() >= MAX_MEMBERSHIPS)
                || (!self.groups.joined(port, group) && self.groups.len() >= MAX_GROUPS)
            {
                return Err(Error::NoBuffers);
            }
        }
        self.groups.update(turn.now, socket, port, group, filter);
        // What the caches remember of packets to this group is no longer so.
        self.cache_epoch += 1;
        self.say_groups(turn);
        Ok(())
    }

    /// Says what is due on the links.
    pub(crate) fn say_groups<P, M>(&mut self, turn: &mut Turn<'_, P, M>)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        if self.groups.deadline() > turn.now {
            return;
        }
        // They leave the stack while they speak: it is borrowed for sending.
        let mut groups: Groups = core::mem::take(&mut self.groups);
        let mut report = crate::igmp::Report::new();
        groups.say_what_is_due(turn.now, |port, v6, what| {
            let room = crate::igmp::room(self, port, v6);
            match what {
                Say::Record(kind, group, sources) => {
                    report.add(room, kind, group, sources, |bytes, records| {
                        crate::igmp::send_report(self, turn, port, v6, bytes, records);
                    });
                }
                Say::Flush => report
                    .flush(|bytes, records| crate::igmp::send_report(self, turn, port, v6, bytes, records)),
                Say::Old(version, group) => crate::igmp::send_old(self, turn, port, version, group),
                Say::Leave(group) => crate::igmp::send_leave(self, turn, port, group),
            }
        });
        self.groups = groups;
        self.settle_neighbours(turn);
    }
}
