"""Options that show in what calls give, call by call. The same on whoever's sockets.

option_effects.py ADDRESS
"""

import ctypes, errno, fcntl, select, socket, struct, sys, time

ADDRESS = sys.argv[1]
FAMILY = socket.AF_INET6 if ":" in ADDRESS else socket.AF_INET
LEVEL, RECVERR = (41, 25) if FAMILY == socket.AF_INET6 else (0, 11)
PEEK, TRUNC, QUEUE, ZEROCOPY = socket.MSG_PEEK, socket.MSG_TRUNC, socket.MSG_ERRQUEUE, 0x4000000
SO_ERROR, SO_RCVTIMEO, SO_TIMESTAMP, SO_PEEK_OFF, SO_SELECT_ERR_QUEUE, SO_COOKIE, SO_ZEROCOPY, SO_NETNS_COOKIE = (
    4, 20, 29, 42, 45, 57, 60, 71,
)
libc = ctypes.CDLL(None, use_errno=True)


def tried(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


def numbered(*arguments):
    """syscall(2): all arguments are as long as registers."""
    return libc.syscall(*(ctypes.c_long(one) if isinstance(one, int) else one for one in arguments))


def datagrams(address=ADDRESS):
    taker = socket.socket(FAMILY, socket.SOCK_DGRAM)
    taker.bind((address, 0))
    sender = socket.socket(FAMILY, socket.SOCK_DGRAM)
    sender.connect((ADDRESS, taker.getsockname()[1]))
    return sender, taker


def streams():
    door = socket.socket(FAMILY)
    door.bind((ADDRESS, 0))
    door.listen(4)
    sender = socket.create_connection(door.getsockname()[:2])
    taker, _ = door.accept()
    return sender, taker, door


def readable(taker):
    select.select([taker], [], [], 5)
    return taker


def peeks_of_a_stream():
    sender, taker, door = streams()
    print("offset", taker.getsockopt(1, SO_PEEK_OFF))
    for value in (5, -7, 0):
        taker.setsockopt(1, SO_PEEK_OFF, value)
        print("set", taker.getsockopt(1, SO_PEEK_OFF), len(taker.getsockopt(1, SO_PEEK_OFF, 2)))
    sender.send(b"hello world")
    readable(taker).setblocking(False)
    for size, flags in (3, PEEK), (3, PEEK), (2, 0), (9, PEEK), (9, PEEK), (4, TRUNC), (1, PEEK), (9, 0), (9, PEEK):
        print(size, flags, tried(taker.recv, size, flags) if not flags & TRUNC else "thrown away", end=" ")
        if flags & TRUNC:
            print(libc.recv(taker.fileno(), None, size, flags), end=" ")
        print(taker.getsockopt(1, SO_PEEK_OFF))
    taker.settimeout(5)
    sender.send(b"abc")
    print("waits", tried(taker.recv, 2, PEEK), tried(taker.recv, 2, PEEK))
    sender.close()
    print("end", taker.recv(9, PEEK), taker.recv(9), taker.recv(9), taker.getsockopt(1, SO_PEEK_OFF))
    door.setsockopt(1, SO_PEEK_OFF, 4)
    other = socket.create_connection(door.getsockname()[:2])
    print("accepted with", door.accept()[0].getsockopt(1, SO_PEEK_OFF), other.getsockopt(1, SO_PEEK_OFF))


def peeks_of_datagrams(address):
    sender, taker = datagrams(address)
    for message in b"abcde", b"fgh", b"", b"ij":
        sender.send(message)
    readable(taker).setblocking(False)
    time.sleep(0.05)
    taker.setsockopt(1, SO_PEEK_OFF, 0)
    for size, flags in [(2, PEEK)] * 4 + [(9, PEEK)] * 5 + [(2, 0), (9, PEEK | TRUNC)] + [(9, 0)] * 4:
        got = tried(taker.recvmsg, size, 0, flags)
        print(size, flags, got if isinstance(got, str) else (got[0], got[2]), taker.getsockopt(1, SO_PEEK_OFF))
    taker.setsockopt(1, SO_PEEK_OFF, -1)
    sender.send(b"once")
    readable(taker)
    print("off", taker.recv(9, PEEK), taker.recv(9, PEEK), taker.recv(9))
    taker.setsockopt(1, SO_PEEK_OFF, 0)
    sender.send(b"first")
    print("waits", readable(taker).recv(9, PEEK))
    taker.setblocking(True)
    taker.setsockopt(1, SO_RCVTIMEO, struct.pack("qq", 0, 100_000))
    print("in vain", tried(taker.recv, 9, PEEK))


def queue_of_errors():
    """A port that nobody has: the error waits, and stands in the queue."""
    closed = socket.socket(FAMILY, socket.SOCK_DGRAM)
    closed.bind((ADDRESS, 0))
    port = closed.getsockname()[1]
    closed.close()
    for urgent in 0, 1:
        asker = socket.socket(FAMILY, socket.SOCK_DGRAM)
        asker.connect((ADDRESS, port))
        asker.setsockopt(LEVEL, RECVERR, 1)
        asker.setsockopt(1, SO_SELECT_ERR_QUEUE, urgent)
        asker.send(b"x")
        look = select.poll()
        look.register(asker, select.POLLPRI)
        for _ in range(100):
            if look.poll(0):
                break
            time.sleep(0.02)
        events = [event for _, event in look.poll(0)]
        print("queue", urgent, events, select.select([], [], [asker], 0)[2] == [asker], asker.getsockopt(1, SO_ERROR) != 0)
        print([event for _, event in look.poll(0)], asker.recvmsg(9, 200, QUEUE)[0], [event for _, event in look.poll(0)])


def notices_of_copies():
    sender, taker = datagrams()
    print("switches", [tried(sender.setsockopt, 1, SO_ZEROCOPY, value) for value in (2, -1, 0, 1)])
    print(sender.getsockopt(1, SO_ZEROCOPY))
    for bytes_ in b"hello", b"", b"world":
        sender.send(bytes_, ZEROCOPY)
    sender.send(b"plain")
    look = select.poll()
    look.register(sender, 0)
    print("notice", look.poll(1000)[0][1])
    data, beside, flags, _ = sender.recvmsg(9, 200, QUEUE)
    print(data, [(level, kind, rest[:16]) for level, kind, rest in beside], flags, look.poll(0))
    print([len(readable(taker).recv(9)) for _ in range(4)])
    taker.connect(sender.getsockname())
    taker.send(b"not switched on", ZEROCOPY)
    print("none", tried(taker.recvmsg, 9, 200, QUEUE | socket.MSG_DONTWAIT))
    early = socket.socket(FAMILY, socket.SOCK_DGRAM)
    early.setsockopt(1, SO_ZEROCOPY, 1)
    early.connect((ADDRESS, 9))
    print("before connect", early.getsockopt(1, SO_ZEROCOPY))


def old_names():
    """IPV6_2292PKTINFO and IPV6_2292HOPLIMIT, beside the new ones."""
    for options in [2], [8], [2, 8], [49, 51, 66, 2, 8, 74]:
        sender, taker = datagrams()
        for option in options:
            taker.setsockopt(41, option, 1)
        sender.send(b"x")
        _, beside, _, _ = readable(taker).recvmsg(9, 400)
        print(options, [(level, kind, len(data)) for level, kind, data in beside])
        for level, kind, data in beside:
            if kind == 2:
                print(socket.inet_ntop(FAMILY, data[:16]) == ADDRESS, struct.unpack("i", data[16:])[0] > 0)
            if kind == 8:
                print(struct.unpack("i", data))


def stamps():
    def stamp(taker, request):
        divisor = 1e6 if request & 1 == 0 else 1e9
        try:
            seconds, part = struct.unpack("qq", fcntl.ioctl(taker, request, bytes(16)))
        except OSError as error:
            return errno.errorcode[error.errno]
        return abs(seconds + part / divisor - time.time()) < 2

    requests = 0x8906, 0x8907, 0x80108906, 0x80108907
    sender, taker = datagrams()
    sender.send(b"x")
    readable(taker)
    print("stamps", [stamp(taker, request) for request in requests])
    taker.recv(9)
    print([stamp(taker, request) for request in requests])
    sender, taker = datagrams()
    taker.setsockopt(1, SO_TIMESTAMP, 1)
    sender.send(b"x")
    readable(taker).recvmsg(9, 99)
    print([stamp(taker, request) for request in requests])
    sender, taker, door = streams()
    sender.send(b"x")
    taker.recv(9)
    print([stamp(one, request) for one in (taker, door) for request in requests])


def times():
    sender, taker, _ = streams()
    for seconds, micros in (-1, 0), (0, 1), (0, 4000), (0, 4001), (3, 5), (3, 999_999), (1 << 62, 0), (0, 0):
        for name in SO_RCVTIMEO, SO_RCVTIMEO + 1, 66, 67:
            taker.setsockopt(1, name, struct.pack("qq", seconds, micros))
            print(name, seconds, micros, struct.unpack("qq", taker.getsockopt(1, name, 16)), len(taker.getsockopt(1, name, 9)))
    taker.setsockopt(1, SO_RCVTIMEO, struct.pack("qq", -1, 0))
    print(tried(taker.recv, 1))
    for value in struct.pack("qq", 1, -1), struct.pack("qq", 1, 1_000_000), bytes(15), bytes(8):
        print(tried(taker.setsockopt, 1, SO_RCVTIMEO, value))


def cookies():
    sender, taker = datagrams()
    for name in SO_COOKIE, SO_NETNS_COOKIE:
        got = tried(taker.getsockopt, 1, name, 8)
        print(name, len(got), any(got), tried(taker.getsockopt, 1, name, 4), tried(taker.setsockopt, 1, name, 1))


def other_names():
    """Names of functions that few programs use, and system calls by number."""
    sender, taker, _ = streams()
    fd, room = taker.fileno(), ctypes.create_string_buffer(64)
    print("names", libc.__write(sender.fileno(), b"abcdef", 6), libc.__send(sender.fileno(), b"gh", 2, 0))
    readable(taker)
    print(libc.__read(fd, room, 3), room.value, libc.sockatmark(fd), libc.__fcntl(fd, fcntl.F_GETFL, 0) & 0o4000)
    asked = struct.pack("ihh", fd, 1, 0)
    print(libc.__poll(asked, 1, 0), libc.__dup2(fd, 200), libc.__read(200, room, 3), room.value, libc.__close(200))
    print("numbers", numbered(1, sender.fileno(), b"ijklmnop", 8))
    readable(taker)
    mask = struct.pack("Q", 0)
    print(numbered(7, asked, 1, 0), numbered(271, asked, 1, struct.pack("qq", 0, 0), mask, 8))
    ready = ctypes.create_string_buffer(bytes(128))
    ready[fd // 8] = bytes([1 << fd % 8])
    print(numbered(23, fd + 1, ready, None, None, struct.pack("qq", 0, 0)), ready[fd // 8][0] == 1 << fd % 8)
    print(numbered(270, fd + 1, ready, None, None, struct.pack("qq", 0, 0), None), numbered(270, 0, None, None, None, struct.pack("qq", 0, 0), None))
    print(numbered(16, fd, 0x541B, room) , struct.unpack("i", room[:4]), numbered(72, fd, 1, 0) >= 0)
    again = numbered(32, fd)
    print(numbered(0, again, room, 4), room.value[:4], numbered(33, fd, 201), numbered(3, again))
    vector = struct.pack("QQ", ctypes.addressof(room), 4)
    print(numbered(19, 201, vector, 1), room.value[:4], numbered(20, fd, vector, 1), numbered(3, 201))
    print(readable(sender).recv(9))
    pool = numbered(291, 0)
    print(numbered(233, pool, 1, fd, struct.pack("=IQ", 4, 77)), numbered(232, pool, room, 2, 0), struct.unpack("=IQ", room[:12]))
    print(numbered(281, pool, room, 2, 0, None, 8), numbered(441, pool, room, 2, struct.pack("qq", 0, 0), mask, 8))
    print(numbered(281, pool, room, 2, 0, mask, 5), errno.errorcode[ctypes.get_errno()], numbered(3, pool))


peeks_of_a_stream()
peeks_of_datagrams(ADDRESS)
peeks_of_datagrams("::" if FAMILY == socket.AF_INET6 else "0.0.0.0")
queue_of_errors()
notices_of_copies()
if FAMILY == socket.AF_INET6:
    old_names()
stamps()
times()
cookies()
other_names()
print("done")
