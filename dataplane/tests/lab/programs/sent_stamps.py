"""When it went: which stamps of what is sent come to the error queue, and what they say. The same on whoever's sockets.

sent_stamps.py ADDRESS
"""

import errno, select, socket, struct, time

from pairs import ADDRESS, FAMILY, datagrams, streams

STAMPING, STAMPING_NEW, KEY, FIGURES, PACKET_INFO = 37, 65, 81, 54, 8
TX_SOFTWARE, SOFTWARE, OPT_ID, TX_SCHED, TX_ACK = 1 << 1, 1 << 4, 1 << 7, 1 << 8, 1 << 9
OPT_CMSG, TIMES_ONLY, OPT_STATS, OPT_ID_TCP = 1 << 10, 1 << 11, 1 << 12, 1 << 16
ALL = TX_SOFTWARE | TX_SCHED | TX_ACK
NAMES = {0: "sent", 1: "scheduled", 2: "acknowledged"}


def ask(sender, flags, name=STAMPING):
    try:
        sender.setsockopt(socket.SOL_SOCKET, name, flags)
    except OSError as error:
        return errno.errorcode[error.errno]
    return sender.getsockopt(socket.SOL_SOCKET, name)


def figures(data):
    """Attributes: their types and lengths in order, and the values of those that are the same on any host."""
    found, busy = [], []
    while data:
        length, kind = struct.unpack("HH", data[:4])
        value = int.from_bytes(data[4:length], "little")
        if kind in (4, 5, 9, 11, 13, 14, 15, 16, 17, 18, 19, 20, 21, 23, 26, 27):
            value = f"{kind}={value}"
        elif kind == 25:  # when it left, on the clock of CLOCK_MONOTONIC
            value = f"{kind}={abs(time.monotonic() - value / 1e9) < 5}"
        elif kind in (10, 22):  # round trip times, of our own host
            value = f"{kind}={0 < value < 1_000_000}"
        elif kind == 8:  # the window, which algorithms open or leave
            value = f"{kind}={10 <= value < 20}"
        else:  # how long it was busy and why, rates, what did not leave yet
            value = kind
        found.append((value, length))
        data = data[(length + 3) // 4 * 4 :]
    return found


def told(sender, began, count, room):
    """So many entries of the error queue: those that come, and what they say but for the moment."""
    found = []
    poll = select.poll()
    poll.register(sender, 0)
    while len(found) < count and poll.poll(5000):
        data, beside, flags, name = sender.recvmsg(room, 400, socket.MSG_ERRQUEUE)
        entry = [len(data), data[-4:], bool(flags & socket.MSG_TRUNC), bool(flags & socket.MSG_ERRQUEUE), name]
        for level, kind, rest in beside:
            if kind in (STAMPING, STAMPING_NEW):
                words = struct.unpack("6q", rest)
                entry.append((kind, began - 1 < words[0] + words[1] / 1e9 < time.time() + 1, any(words[2:])))
            elif (level, kind) in ((socket.IPPROTO_IP, 11), (socket.IPPROTO_IPV6, 25)):
                number, origin, type_, code, _, info, key = struct.unpack("IBBBBII", rest[:16])
                entry.append((errno.errorcode[number], origin, type_, code, NAMES[info], key, rest[16:].hex()))
            elif (level, kind) == (socket.SOL_SOCKET, FIGURES):
                entry.append(figures(rest))
            elif (level, kind) == (socket.IPPROTO_IP, PACKET_INFO):
                entry.append((level, kind, any(rest[:4]), rest[4:].hex()))
            elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
                entry.append((level, kind, any(rest[16:]), rest[:16].hex()))
            else:
                entry.append((level, kind, len(rest)))
        found.append(entry)
    return found


def nothing_more(sender):
    """True when there is nothing in the error queue, nor said to be."""
    poll = select.poll()
    poll.register(sender, 0)
    quiet = poll.poll(20) == []
    try:
        sender.recvmsg(10, 100, socket.MSG_ERRQUEUE)
    except BlockingIOError:
        return quiet
    return False


def told_of(make, flags, calls, counts, room=2000, name=STAMPING, option=None):
    """Of each call, with its control messages, the stamps that it brings."""
    sender, taker, end = make()
    print(make.__name__, flags, calls, room, ask(sender, flags, name), flush=True)
    if option:
        sender.setsockopt(*option)
    for beside, count in zip(calls, counts):
        began = time.time()
        try:
            sender.sendmsg([b"when"], [(socket.SOL_SOCKET, kind, struct.pack("I", word)) for kind, word in beside])
        except OSError as error:
            print("    refused", beside, errno.errorcode[error.errno], flush=True)
        for entry in told(sender, began, count, room):
            print("   ", *entry, flush=True)
    print("    nothing more", nothing_more(sender), flush=True)
    sender.close()
    taker.close()
    end()


for make, all_of_them in ((datagrams, 2), (streams, 3)):
    # All of them, with keys and without, with what tells of the packet and without.
    told_of(make, ALL | SOFTWARE | TIMES_ONLY, [[]], [all_of_them])
    told_of(make, ALL | SOFTWARE | OPT_ID | TIMES_ONLY, [[]] * 3, [all_of_them] * 3)
    told_of(make, ALL | SOFTWARE | OPT_ID | OPT_ID_TCP | TIMES_ONLY, [[]] * 2, [all_of_them] * 2)
    told_of(make, ALL | OPT_ID | TIMES_ONLY, [[]], [all_of_them])
    if make is datagrams or FAMILY == socket.AF_INET:  # Linux tells of a stream's packets over IPv6, Flumen does not
        told_of(make, ALL | SOFTWARE | OPT_ID, [[]], [all_of_them], room=0)
        told_of(make, TX_SCHED | SOFTWARE, [[]], [1], room=0)
    told_of(make, TX_SOFTWARE | SOFTWARE | OPT_ID | TIMES_ONLY, [[]], [1], name=STAMPING_NEW)
    told_of(make, SOFTWARE | OPT_ID | TIMES_ONLY, [[]], [0])
    # One call asks for others than the socket does, or for none.
    told_of(make, SOFTWARE | OPT_ID | TIMES_ONLY, [[], [(STAMPING, TX_SOFTWARE)]], [0, 1])
    told_of(make, ALL | SOFTWARE | OPT_ID | TIMES_ONLY, [[(STAMPING_NEW, TX_SOFTWARE)], [(STAMPING, 0)]], [1, 0])
    told_of(make, SOFTWARE | OPT_ID | TIMES_ONLY, [[(KEY, 4711), (STAMPING, TX_SOFTWARE)]], [1 if make is datagrams else 0])
    told_of(make, SOFTWARE | TIMES_ONLY, [[(KEY, 4711)], [(STAMPING, OPT_ID)], [(1, 5)], [(13, 5)]], [0] * 4)
    # With figures of the connection, which a datagram has none of; of who asks for no times, no control message has them.
    told_of(make, ALL | SOFTWARE | TIMES_ONLY | OPT_STATS, [[]] * 2, [all_of_them] * 2)
    told_of(make, ALL | OPT_ID | TIMES_ONLY | OPT_STATS, [[]], [all_of_them])
    told_of(make, TX_ACK | SOFTWARE | TIMES_ONLY | OPT_STATS, [[(STAMPING, TX_SOFTWARE)]], [1], room=100)
    # What is refused, and what is taken and never comes here.
    for flags in (OPT_ID_TCP, OPT_STATS, OPT_STATS | OPT_CMSG, OPT_STATS | TIMES_ONLY, 1 << 18, 1 << 19):
        told_of(make, flags, [[]], [0])
# The packet, and what is told of it.
told_of(datagrams, TX_SOFTWARE | SOFTWARE, [[]] * 2, [1, 1])
told_of(datagrams, ALL | SOFTWARE | OPT_ID | OPT_CMSG, [[]], [2])
about = (socket.IPPROTO_IP, PACKET_INFO, 1)
if FAMILY == socket.AF_INET6:
    about = (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
told_of(datagrams, TX_SOFTWARE | OPT_CMSG, [[]], [1], option=about)

fresh = socket.socket(FAMILY)
fresh.bind((ADDRESS, 0))
print("not connected", ask(fresh, ALL | SOFTWARE), ask(fresh, ALL | SOFTWARE | OPT_ID))
print("done")
