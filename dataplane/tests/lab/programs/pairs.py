"""Two sockets that talk to each other, of an address that stands on the command line: the same on whoever's sockets."""

import socket, sys

ADDRESS = sys.argv[1]
FAMILY = socket.AF_INET6 if ":" in ADDRESS else socket.AF_INET


def datagrams():
    """Who sends, who takes, and how to end what was beside them."""
    taker = socket.socket(FAMILY, socket.SOCK_DGRAM)
    taker.bind((ADDRESS, 0))
    sender = socket.socket(FAMILY, socket.SOCK_DGRAM)
    sender.connect(taker.getsockname())
    return sender, taker, lambda: None


def streams():
    door = socket.socket(FAMILY)
    door.bind((ADDRESS, 0))
    door.listen(4)
    sender = socket.create_connection(door.getsockname()[:2])
    sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    taker, _ = door.accept()
    return sender, taker, door.close
