"""What an AF_INET6 socket is told of a datagram that came by IPv4: mapped.py ADDRESS (an IPv4 address of this node).

Each option alone, then all together; on a socket at the mapped address that hears an AF_INET one, and one of its own kind.
"""
import errno
import socket
import struct
import sys

here = sys.argv[1]
mapped = "::ffff:" + here
IP, IP6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
OPTIONS = [
    ("IPV6_RECVPKTINFO", IP6, 49),
    ("IPV6_2292PKTINFO", IP6, 2),
    ("IPV6_RECVHOPLIMIT", IP6, 51),
    ("IPV6_2292HOPLIMIT", IP6, 8),
    ("IPV6_RECVTCLASS", IP6, 66),
    ("IPV6_RECVORIGDSTADDR", IP6, 74),
    ("IP_PKTINFO", IP, 8),
    ("IP_RECVTTL", IP, 12),
    ("IP_RECVTOS", IP, 13),
    ("IP_RECVOPTS", IP, 6),
    ("IP_RECVORIGDSTADDR", IP, 20),
]


def tries(do, *args):
    try:
        return do(*args)
    except OSError as error:
        return errno.errorcode[error.errno]


def shown(level, kind, data):
    """A control message; which interface it was is only whether one is named, and ports are told apart by who has them."""
    if (level, kind) in [(IP6, 50), (IP6, 2)]:
        return socket.inet_ntop(socket.AF_INET6, data[:16]), struct.unpack("I", data[16:])[0] > 0
    if (level, kind) == (IP, 8):
        index, local, to = struct.unpack("I4s4s", data)
        return index > 0, socket.inet_ntoa(local), socket.inet_ntoa(to)
    if (level, kind) == (IP6, 74):
        return data[:2].hex(), data[2:4] == struct.pack("!H", PORT), socket.inet_ntop(socket.AF_INET6, data[8:24]), data[24:].hex()
    return data.replace(struct.pack("!H", PORT), b"PO").hex()


PORT = 7100


def hear(options, sender):
    one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    one.bind((mapped, PORT))
    one.settimeout(5)
    for name, level, number in options:
        done = tries(one.setsockopt, level, number, 1)
        print(" ", name, "set", done, "is", tries(one.getsockopt, level, number))
    with sender() as other:
        to = mapped if other.family == socket.AF_INET6 else here
        other.sendto(b"a datagram", (to, PORT))
        text, control, flags, who = one.recvmsg(100, 1000)
        print(" ", text, flags, who[0], who[1] == other.getsockname()[1], who[2:], len(control))
    for level, kind, data in control:
        print("   ", level, kind, len(data), shown(level, kind, data))
    one.close()


def four():
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((here, 0))
    one.setsockopt(IP, socket.IP_TTL, 37)
    one.setsockopt(IP, socket.IP_TOS, 0x28)
    return one


def six():
    one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    one.bind((mapped, 0))
    # Those of IPv6 are nothing to what leaves by IPv4.
    one.setsockopt(IP6, socket.IPV6_UNICAST_HOPS, 99)
    one.setsockopt(IP6, socket.IPV6_TCLASS, 0x48)
    print("  its TTL", tries(one.setsockopt, IP, socket.IP_TTL, 41), "its TOS", tries(one.setsockopt, IP, socket.IP_TOS, 0x10))
    return one


for sender in [four, six]:
    for option in OPTIONS:
        print(sender.__name__, option[0])
        hear([option], sender)
    print(sender.__name__, "all")
    hear(OPTIONS, sender)
print("done")
