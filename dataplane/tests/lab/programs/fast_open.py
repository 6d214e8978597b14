"""TCP_FASTOPEN_CONNECT and TCP_NOTSENT_LOWAT: says what calls and poll answer. The same on whoever's sockets.

fast_open.py ADDRESS
"""

import errno, fcntl, select, socket, struct, sys

ADDRESS = sys.argv[1]
FAST_OPEN, FAST_OPEN_CONNECT, NO_COOKIE, NOT_SENT_LOW, INFO = 23, 30, 34, 25, 11
SIOCOUTQNSD = 0x894B
SYN_DATA = 0x20


def say(what, *more):
    print(what, *more, flush=True)


def tried(call):
    try:
        return call()
    except OSError as error:
        return errno.errorcode[error.errno]


def ready(sock):
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLOUT | select.POLLPRI | select.POLLRDHUP)
    return [bits for _, bits in poll.poll(0)]


def listener(no_cookie=0):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, NO_COOKIE, no_cookie)
    sock.setsockopt(socket.IPPROTO_TCP, FAST_OPEN, 5)
    sock.bind((ADDRESS, 0))
    sock.listen(8)
    return sock


def fresh(blocking, no_cookie=0):
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_TCP, FAST_OPEN_CONNECT, 1)
    sock.setsockopt(socket.IPPROTO_TCP, NO_COOKIE, no_cookie)
    sock.setblocking(blocking)
    return sock


def went_with_the_syn(sock):
    return bool(sock.getsockopt(socket.IPPROTO_TCP, INFO, 6)[5] & SYN_DATA)


def read(sock, count):
    got = b""
    while len(got) < count:
        got += sock.recv(count - len(got))
    return got


door = listener()
name = door.getsockname()

# The option.
sock = socket.socket()
say("option", sock.getsockopt(socket.IPPROTO_TCP, FAST_OPEN_CONNECT))
for value in (1, 2, -1, 0, 1):
    done = tried(lambda: sock.setsockopt(socket.IPPROTO_TCP, FAST_OPEN_CONNECT, value))
    say("option", value, done, sock.getsockopt(socket.IPPROTO_TCP, FAST_OPEN_CONNECT))

# No cookie is known: a handshake as any, which asks for one.
sock.connect(name)
say("asked", sock.getpeername() == name, tried(lambda: sock.setsockopt(socket.IPPROTO_TCP, FAST_OPEN_CONNECT, 0)))
server, _ = door.accept()
sock.send(b"first")
say("asked", read(server, 5), went_with_the_syn(sock))

# A cookie is known: nothing leaves before the first write.
for blocking in (False, True):
    sock = fresh(blocking)
    say("deferred", tried(lambda: sock.connect(name)), ready(sock))
    say("deferred", tried(sock.getpeername), sock.getsockname()[0] == ADDRESS, ready(door))
    if not blocking:
        # (Who waits, waits for ever on Linux.)
        say("again", tried(lambda: sock.connect(name)))
        say("nothing to read", tried(lambda: sock.recv(1)))
    say("written", sock.send(b"question"))
    server, _ = door.accept()
    say("served", read(server, 8), went_with_the_syn(sock))
    server.send(b"answer")
    select.select([sock], [], [], 20)
    say("answered", sock.recv(100), ready(sock), sock.getpeername() == name)
    say("connected", tried(lambda: sock.connect(name)) in (None, "EISCONN"))

# More than goes with the SYN, by one who waits.
sock = fresh(True)
sock.connect(name)
say("much", sock.send(bytes(50_000)))
server, _ = door.accept()
say("much", len(read(server, 50_000)), went_with_the_syn(sock))

# Nothing is written before the close; a write of nothing opens.
sock = fresh(True)
sock.connect(name)
sock.close()
say("closed", ready(door))
sock = fresh(True)
sock.connect(name)
say("a write of nothing", sock.send(b""))
server, _ = door.accept()
say("opened", sock.getpeername() == name)

# Without cookies.
free = listener(1)
sock = fresh(True, 1)
sock.connect(free.getsockname())
say("without a cookie", ready(sock))
sock.send(b"question")
server, _ = free.accept()
say("without a cookie", read(server, 8), went_with_the_syn(sock))

# What may wait unsent, while the peer does not read.
sock = socket.create_connection(name)
server, _ = door.accept()
sock.setsockopt(socket.IPPROTO_TCP, NOT_SENT_LOW, 16_384)
sock.setblocking(False)


def unsent():
    return struct.unpack("i", fcntl.ioctl(sock, SIOCOUTQNSD, bytes(4)))[0]


say("unsent", sock.getsockopt(socket.IPPROTO_TCP, NOT_SENT_LOW), ready(sock))
written = 0
while True:
    count = tried(lambda: sock.send(bytes(4096)))
    if isinstance(count, str):
        break
    written += count
say("full", count, ready(sock), unsent() * 2 >= 16_384, unsent() < 4 * 65_536)
while not ready(sock):
    written -= len(server.recv(65_536))
say("room", ready(sock), unsent() * 2 < 16_384)
server.settimeout(20)
while written > 0:
    written -= len(server.recv(65_536))
say("read", written)
