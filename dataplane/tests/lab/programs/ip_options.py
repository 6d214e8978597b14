"""The IP options that datagrams come with and are sent with: IP_RECVOPTS, IP_RETOPTS and IP_OPTIONS. The same on whoever's sockets.

ip_options.py ADDRESS
"""

import errno, select, socket, struct, sys, time

ADDRESS = sys.argv[1]
US = socket.inet_aton(ADDRESS)
ELSEWHERE = socket.inet_aton("192.0.2.77")
RECEIVED, RETURNED, PACKET_INFO, TTL, TOS, ORIGINAL = 6, 7, 8, 12, 13, 20
PINGS = 0x4711


DAY = 86_400_000


def is_now(time_):
    """Whether these are the milliseconds since midnight UT, more or less."""
    ago = int(time.time() * 1000) - int.from_bytes(time_, "big")
    return (ago + 20_000) % DAY < 40_000


def words(data):
    """Options in hexadecimal digits, word by word, with words for our address and for times of now."""
    data, at = bytearray(data.replace(US, b"OURS")), 0
    while at + 3 < len(data) and data[at]:
        kind, length, pointer, state = data[at : at + 4]
        step, skip = (4, 0) if state & 15 == 0 else (8, 4)
        for when in range(at + 4 + skip, at + pointer - 1, step) if kind == 68 else ():
            if is_now(data[when : when + 4]):
                data[when : when + 4] = b"NOW!"
        at += 1 if kind == 1 else length
    return data.hex(" ", -4).replace(b"OURS".hex(), "ours").replace(b"NOW!".hex(), "now") or "empty"


def packet(protocol, options, body):
    options += bytes(-len(options) % 4)
    first = 0x40 | 5 + len(options) // 4
    header = struct.pack("!BBHHHBBH4s4s", first, 0x10, 20 + len(options) + len(body), 0, 0, 33, protocol, 0, US, US)
    return header + options + body


def udp(port, data):
    return struct.pack("!HHHH", 999, port, 8 + len(data), 0) + data


def folded(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def reply(identifier, data):
    data += bytes(len(data) % 2)
    head = struct.pack("!BBHHH", 0, 0, 0, identifier, 1)
    return struct.pack("!BBHHH", 0, 0, folded(head + data), identifier, 1) + data


def datagrams():
    taker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taker.bind((ADDRESS, 0))
    return taker, 17, lambda data: udp(taker.getsockname()[1], data)


def datagrams_of_both():
    taker = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    taker.bind((f"::ffff:{ADDRESS}", 0))
    return taker, 17, lambda data: udp(taker.getsockname()[1], data)


def raw():
    taker = socket.socket(socket.AF_INET, socket.SOCK_RAW, 253)
    taker.bind((ADDRESS, 0))
    return taker, 253, lambda data: data


def pings():
    taker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    taker.bind((ADDRESS, PINGS))
    return taker, 1, lambda data: reply(PINGS, data)


def take(taker, room=2000, beside=400, flags=0, wait=5000):
    poll = select.poll()
    poll.register(taker, select.POLLIN)
    if not poll.poll(wait):
        return "nothing came"
    data, list_, flags, _ = taker.recvmsg(room, beside, flags)
    if taker.type == socket.SOCK_RAW:
        header = (data[0] & 15) * 4
        data = words(data[20:header]), data[header:]  # of the header, what is recorded
    told = [(level, kind, words(rest) if kind in (RECEIVED, RETURNED) else len(rest)) for level, kind, rest in list_]
    return data, told, [name for name in ("MSG_TRUNC", "MSG_CTRUNC") if flags & getattr(socket, name)]


def place(length, pointer, *rest, kind=7):
    return bytes([kind, length, pointer]) + b"".join(rest)


ROOM = bytes(range(0x81, 0x81 + 36))
OPTIONS = {
    "none": b"",
    "a route": place(23, 4, ROOM[:20]),
    "a route under way": place(23, 8, ELSEWHERE, ROOM[:16]),
    "a route with its last place": place(11, 8, ELSEWHERE, ROOM[:4]),
    "a full route": place(7, 8, ELSEWHERE),
    "a route without places": place(3, 4),
    "a route with half a place behind": place(9, 4, ROOM[:6]),
    "the longest route": place(39, 4, ROOM[:36]),
    "times": place(20, 5, b"\0", ROOM[:16], kind=68),
    "times with addresses": place(20, 5, b"\1", ROOM[:16], kind=68),
    "times, half a place behind": place(10, 5, b"\0", ROOM[:6], kind=68),
    "times with addresses, half a place behind": place(16, 5, b"\1", ROOM[:12], kind=68),
    "times of ours, twice": place(20, 5, b"\3", US, ROOM[:4], US, ROOM[4:8], kind=68),
    "times of ours and another's": place(20, 5, b"\3", US, ROOM[:4], ELSEWHERE, ROOM[4:8], kind=68),
    "times of another": place(12, 5, b"\3", ELSEWHERE, ROOM[:4], kind=68),
    "times that are full": place(8, 9, b"\x10", ROOM[:4], kind=68),
    "times of no known kind": place(8, 5, b"\7", ROOM[:4], kind=68),
    "router alert": bytes([148, 4, 0, 0]),
    "a label of the old kind": bytes([130, 11]) + ROOM[:9],
    "what nobody knows": bytes([0x9E, 6]) + ROOM[:4],
    "times, then a route": place(8, 5, b"\0", ROOM[:4], kind=68) + bytes([1, 148, 4, 0, 0]) + place(11, 4, ROOM[:8]),
}

sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


def send(protocol, options, body):
    sender.sendto(packet(protocol, options, body), (ADDRESS, 0))


for make in (datagrams, datagrams_of_both, raw, pings):
    taker, protocol, wrap = make()

    def on(*names, of=(RECEIVED, RETURNED, PACKET_INFO, TTL, TOS, ORIGINAL)):
        for name in of:
            taker.setsockopt(socket.IPPROTO_IP, name, int(name in names))

    def asked():
        return [taker.getsockopt(socket.IPPROTO_IP, name) for name in (RECEIVED, RETURNED)]

    print(make.__name__, asked(), flush=True)
    on(RECEIVED, RETURNED)
    for name, options in OPTIONS.items():
        send(protocol, options, wrap(b"here"))
        print("   ", name, *take(taker), flush=True)
    # One of them, beside others, and what was asked for later than it came.
    route = OPTIONS["a route"]
    for names in ((), (RECEIVED,), (RETURNED, TTL), (RECEIVED, RETURNED, PACKET_INFO, TTL, TOS, ORIGINAL)):
        on()
        send(protocol, route, wrap(b"here"))
        on(*names)
        print("   ", names, asked(), *take(taker), flush=True)
    # Looked at first; without room for it, or for all of it.
    send(protocol, route, wrap(b"here"))
    print("    peek", *take(taker, flags=socket.MSG_PEEK), flush=True)
    print("    cut", *take(taker, room=2000 if protocol == 253 else 2), flush=True)
    on(RECEIVED, RETURNED)
    for room in (0, 8, 16, 24, 39, 40, 64, 80):
        send(protocol, route, wrap(b"here"))
        print("    room", room, *take(taker, beside=room), flush=True)
    send(protocol, b"", wrap(b""))
    send(protocol, route, wrap(b"the last"))
    print("    in order", *take(taker), *take(taker), flush=True)
    # A byte is a number, too; nothing is none.
    for value in (b"\1", b"\0", struct.pack("i", -1), b""):
        try:
            taker.setsockopt(socket.IPPROTO_IP, RECEIVED, value)
            print("    set", value, asked(), flush=True)
        except OSError as error:
            print("    refused", value, errno.errorcode[error.errno], flush=True)
    taker.close()

# Options to send: of the socket, and of one datagram.
SET = 4
ALERT, ROUTE = OPTIONS["router alert"], OPTIONS["a route"]


def attempt(do):
    try:
        return do()
    except OSError as error:
        return errno.errorcode[error.errno]


def sender_of(make):
    if make is pings:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP), b"\x08\0" + bytes(6)
    if make is raw:
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, 253), b"here"
    return socket.socket(socket.AF_INET6 if make is datagrams_of_both else socket.AF_INET, socket.SOCK_DGRAM), b"here"


for make in (datagrams, datagrams_of_both, raw):
    taker, _, _ = make()
    for name in (RECEIVED, RETURNED):
        taker.setsockopt(socket.IPPROTO_IP, name, 1)
    speaker, data = sender_of(make)
    mapped = speaker.family == socket.AF_INET6
    to = (f"::ffff:{ADDRESS}" if mapped else ADDRESS, taker.getsockname()[1])
    print("from", make.__name__, flush=True)
    for name, options in OPTIONS.items():
        done = attempt(lambda: speaker.setsockopt(socket.IPPROTO_IP, SET, options))
        stands = [words(speaker.getsockopt(socket.IPPROTO_IP, SET, room)) for room in (64, 8)]
        sent = attempt(lambda: speaker.sendto(data, to))
        # What has room for half an address goes nowhere: its receiver finds it malformed.
        print("   ", name, done, stands, sent, *take(taker, wait=300 if "half" in name else 5000), flush=True)
    speaker.setsockopt(socket.IPPROTO_IP, SET, ROUTE)
    for options in (b"", ALERT, place(7, 5, bytes(4)), ROUTE + bytes(20), OPTIONS["the longest route"] + bytes(9)):
        beside = [(socket.IPPROTO_IP, RETURNED, options)]
        sent = attempt(lambda: speaker.sendmsg([data], beside, 0, to))
        print("    one with", words(options), sent, *(take(taker) if isinstance(sent, int) else ()), flush=True)
    print("    again", speaker.sendto(data, to), *take(taker), flush=True)
    for options in (bytes(41), bytes(64)):
        print("    too long", attempt(lambda: speaker.setsockopt(socket.IPPROTO_IP, SET, options)), flush=True)
    if make is not raw:
        large = bytes(range(256)) * 12
        print("    in parts", speaker.sendto(large, to), take(taker, room=4000)[1:], flush=True)
        most = 65_535 - 20 - 24 - 8
        for more in (0, 1):
            print("    long", attempt(lambda: speaker.sendto(bytes(most + more), to)), flush=True)
    taker.close()
bringing = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
bringing.setsockopt(socket.IPPROTO_IP, SET, ALERT)
print("a header of ours", attempt(lambda: bringing.sendto(packet(253, b"", b"here"), (ADDRESS, 0))), flush=True)
print("done")
