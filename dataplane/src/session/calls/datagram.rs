//! The calls of UDP, raw and ping sockets.

use super::{Answer, Ask, DONE};
use crate::builtin::host::Host;
use crate::session::socket::Kind;
use crate::session::{Errno, Sessions, datagrams::plain, errno};
use core::net::SocketAddr;
use flumen_stack::socket::{Error, Handle, Opt};
use flumen_stack::{FramePool, PortId, Probe};

impl Sessions {
    pub(super) fn bind_datagrams<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
        at: SocketAddr,
        link: Option<PortId>,
    ) -> Result<(), Errno> {
        let socket = self.sockets.get_mut(handle).ok_or(Errno::BADF)?;
        socket.check_family(at)?;
        let at = plain(at.ip(), at.port());
        if let Some(port) = link {
            // Linux: the link of a link-local name is the socket's device from then on.
            let device = Opt::Device(Some(port));
            match socket.kind {
                Kind::Udp(udp) => host.stack.udp_set(host.turn, udp, device),
                Kind::Raw(raw) | Kind::Ping(raw) => host.stack.raw_set(raw, device),
                _ => Ok(()),
            }
            .map_err(errno)?;
            socket.link = link;
        }
        match socket.kind {
            Kind::Udp(udp) => host.stack.udp_bind(udp, at),
            Kind::Raw(raw) | Kind::Ping(raw) => host.stack.raw_bind(raw, at),
            _ => Err(Error::InvalidArgument),
        }
        .map_err(errno)
    }

    /// connect: names the peer, or takes its name away.
    pub(super) fn name_peer<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
        ask: &mut Ask<'_>,
    ) -> Answer {
        let address = ask.address()?;
        let socket = self.sockets.get(handle).ok_or(Errno::BADF)?;
        let peer = match address {
            None => None,
            Some(address) => {
                let peer = address.to_std().ok_or(Errno::INVAL)?;
                socket.check_family(peer)?;
                Some(plain(self.policy.destination(peer.ip()), peer.port()))
            }
        };
        let now = host.turn.now;
        match socket.kind {
            Kind::Udp(udp) => host.stack.udp_connect(now, udp, peer),
            Kind::Raw(raw) | Kind::Ping(raw) => host.stack.raw_connect(now, raw, peer),
            _ => Err(Error::InvalidArgument),
        }
        .map_err(errno)?;
        DONE
    }

    pub(super) fn shut_datagrams<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
        ask: &mut Ask<'_>,
    ) -> Answer {
        let (reading, writing) = match ask.int(0) {
            libc::SHUT_RD => (true, false),
            libc::SHUT_WR => (false, true),
            libc::SHUT_RDWR => (true, true),
            _ => return Err(Errno::INVAL),
        };
        match self.sockets.get(handle).ok_or(Errno::BADF)?.kind {
            Kind::Udp(udp) => host.stack.udp_shutdown(udp, reading, writing),
            Kind::Raw(raw) | Kind::Ping(raw) => host.stack.raw_shutdown(raw, reading, writing),
            _ => Err(Error::NotConnected),
        }
        .map_err(errno)?;
        DONE
    }

    /// What became of the record that ends at a position.
    pub(super) fn sent_record(&mut self, handle: Handle, ask: &mut Ask<'_>) -> Answer {
        let socket = self.sockets.get_mut(handle).ok_or(Errno::BADF)?;
        match socket.sent.take_if(|(end, _)| *end == ask.args[0]) {
            Some((_, Some(error))) => Err(errno(error)),
            _ => DONE,
        }
    }
}
