//! The stack's own calls behind the face that services see.
//!
//! TCP sends at the end of the turn; datagrams go to the way out at once, which is why a turn is needed.

use super::api::{Datagram, Error, ListenOptions, Shutdown, Sockets};
use core::net::{IpAddr, SocketAddr};
use flumen_stack::ethernet::LinkCast;
use flumen_stack::socket::{Family, Handle, Opt, Owner, SendArgs, SendControl, api};
use flumen_stack::{FramePool, Instant, Probe, Stack, Turn};

/// The sockets of a worker in one turn.
#[derive(Debug)]
pub struct Host<'a, 't, P: FramePool, M: Probe> {
    /// The stack.
    pub stack: &'a mut Stack<P::Frame>,
    /// The turn.
    pub turn: &'a mut Turn<'t, P, M>,
}

impl<P: FramePool, M: Probe> Host<'_, '_, P, M> {
    /// TCP's calls.
    #[inline]
    pub fn tcp(&mut self) -> api::Sockets<'_, P::Frame> {
        api::Sockets::new(self.stack, self.turn.now)
    }
}

impl<P: FramePool, M: Probe> Sockets for Host<'_, '_, P, M> {
    fn now(&self) -> Instant {
        self.turn.now
    }

    fn tcp_listen(&mut self, owner: Owner, at: SocketAddr, options: &ListenOptions) -> Result<Handle, Error> {
        self.tcp().tcp_listen(owner, at, options)
    }

    fn tcp_accept(&mut self, listener: Handle, owner: Owner) -> Result<(Handle, SocketAddr), Error> {
        self.tcp().tcp_accept(listener, owner)
    }

    #[inline]
    fn tcp_send(&mut self, socket: Handle, bytes: &[u8]) -> Result<usize, Error> {
        self.tcp().tcp_send(socket, bytes)
    }

    #[inline]
    fn tcp_recv_with(&mut self, socket: Handle, take: impl FnOnce(&[u8]) -> usize) -> Result<usize, Error> {
        self.tcp().tcp_recv_with(socket, take)
    }

    fn tcp_shutdown(&mut self, socket: Handle, how: Shutdown) -> Result<(), Error> {
        self.tcp().tcp_shutdown(socket, how)
    }

    fn tcp_close(&mut self, socket: Handle) {
        self.tcp().tcp_close(socket);
    }

    fn tcp_abort(&mut self, socket: Handle) {
        self.tcp().tcp_abort(socket);
    }

    fn udp_open(&mut self, owner: Owner, at: SocketAddr, receive_buffer: usize) -> Result<Handle, Error> {
        let family = if at.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
        let socket = self.stack.udp_open(family, owner)?;
        // The option counts data, the limit twice as much, as Linux does.
        let mut options = vec![Opt::ReceiveBuffer(receive_buffer / 2)];
        if family == Family::Ipv6 {
            options.push(Opt::V6Only(true));
        }
        let set = |one| self.stack.udp_set(self.turn, socket, one);
        let opened = options.into_iter().try_for_each(set).and_then(|()| self.stack.udp_bind(socket, at));
        match opened {
            Ok(()) => Ok(socket),
            Err(error) => {
                self.stack.udp_close(self.turn, socket);
                Err(error)
            }
        }
    }

    fn udp_recv(&mut self, socket: Handle, out: &mut [u8]) -> Result<Datagram, Error> {
        let received = self.stack.udp_recv(socket, out)?;
        let to_group = received.cast == LinkCast::Group || received.to.is_multicast();
        Ok(Datagram { len: received.len, from: received.from, to: received.to, to_group })
    }

    fn udp_send(
        &mut self,
        socket: Handle,
        bytes: &[u8],
        to: SocketAddr,
        from: Option<IpAddr>,
    ) -> Result<(), Error> {
        let control = SendControl { source: from, ..SendControl::default() };
        let args = SendArgs { control, ..SendArgs::to(to) };
        self.stack.udp_send(self.turn, socket, &args, bytes).map(|_| ())
    }
}
