"""SIGIO and SIGURG, as fcntl(2) has them: says which signals came, and what they said. The same on whoever's sockets.

signals.py ADDRESS
"""

import fcntl, os, signal, socket, struct, sys, threading

ADDRESS = sys.argv[1]
F_SETSIG, F_GETSIG, F_SETOWN_EX, F_GETOWN_EX = 10, 11, 15, 16
FIOASYNC, FIOSETOWN, SIOCSPGRP, FIOGETOWN, SIOCGPGRP = 0x5452, 0x8901, 0x8902, 0x8903, 0x8904
CHOSEN = signal.SIGRTMIN + 3
ALL = {signal.SIGIO, signal.SIGURG, CHOSEN}
IN, OUT, ERROR, PRIORITY, HANG_UP = (1, 0x41), (2, 0x304), (4, 0x8), (5, 0x82), (6, 0x18)


def say(what, *more):
    print(what, *more, flush=True)


def owned(sock, owner=None, chosen=True, on=True):
    fcntl.fcntl(sock, fcntl.F_SETOWN, os.getpid() if owner is None else owner)
    if chosen:
        fcntl.fcntl(sock, F_SETSIG, CHOSEN)
    if on:
        fcntl.fcntl(sock, fcntl.F_SETFL, fcntl.fcntl(sock, fcntl.F_GETFL) | os.O_ASYNC)
    return sock


def take():
    info = signal.sigtimedwait(ALL, 20)
    assert info, "no signal came"
    return info


def await_chosen(what, *wanted):
    """Waits for the chosen signal with each of these codes and bands, and says which came until then."""
    seen, left = set(), set(wanted)
    while left or signal.sigpending() & ALL:
        info = take()
        name = signal.Signals(info.si_signo).name if info.si_signo != CHOSEN else "chosen"
        seen.add((name, info.si_code, info.si_band if name == "chosen" else 0))
        left -= {(info.si_code, info.si_band)} if name == "chosen" else set()
    say(what, sorted(seen))


def await_plain(what, number):
    info = take()
    say(what, info.si_signo == number, info.si_code, info.si_pid, info.si_uid)


def quiet(what):
    say(what, "and nothing else" if not signal.sigpending() & ALL else signal.sigpending())


def listener(kind=socket.SOCK_STREAM):
    sock = socket.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((ADDRESS, 0))
    if kind == socket.SOCK_STREAM:
        sock.listen(8)
    return sock


def pair():
    with listener() as door:
        one = socket.create_connection(door.getsockname())
        other, _ = door.accept()
    assert fcntl.fcntl(other, fcntl.F_GETOWN) == 0, "it is another one's"
    assert fcntl.fcntl(other, F_GETSIG) == 0 and not fcntl.fcntl(other, fcntl.F_GETFL) & os.O_ASYNC
    return one, other


def read(sock, count):
    got = b""
    while len(got) < count:
        got += sock.recv(count - len(got))
    return got


def go_on(fd):
    """What a program that was executed does with what it inherited."""
    sock, peer = (socket.socket(fileno=number) for number in fd)
    say("after exec", fcntl.fcntl(sock, fcntl.F_GETOWN) == os.getpid(), fcntl.fcntl(sock, F_GETSIG) == CHOSEN)
    peer.send(b"x")
    await_chosen("after exec", IN)
    sys.exit()


signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
if len(sys.argv) > 2:
    go_on([int(number) for number in sys.argv[2:]])

# A group of its own: the others in it would not expect signals.
os.setpgid(0, 0)

# What is set can be read.
door = listener()
door.setblocking(False)
owned(door, chosen=False)
say("owner", fcntl.fcntl(door, fcntl.F_GETOWN) == os.getpid(), fcntl.fcntl(door, F_GETSIG))
say("flag", bool(fcntl.fcntl(door, fcntl.F_GETFL) & os.O_ASYNC))
for request in (FIOGETOWN, SIOCGPGRP):
    say("ioctl", struct.unpack("i", fcntl.ioctl(door, request, b"1234"))[0] == os.getpid())
for wrong in (0x3FFFFFFF, -0x3FFFFFFF):
    try:
        fcntl.fcntl(door, fcntl.F_SETOWN, wrong)
    except OSError as error:
        say("nobody", error.errno)

# A listener, with SIGIO itself.
client = socket.create_connection(door.getsockname())
await_plain("a connection waits", signal.SIGIO)
server, _ = door.accept()
say("a connection has no owner", fcntl.fcntl(server, fcntl.F_GETOWN), fcntl.fcntl(server, fcntl.F_GETFL) & os.O_ASYNC)
client.send(b"x")
read(server, 1)
quiet("without an owner")

# A connection, with a signal that says what there is.
owned(server)
client.send(b"abc")
await_chosen("data", IN)
read(server, 3)
client.shutdown(socket.SHUT_WR)
await_chosen("the end", IN)
server.close()

# Out of band, with and without O_ASYNC.
one, other = pair()
owned(other, on=False)
one.send(b"!", socket.MSG_OOB)
await_plain("urgent", signal.SIGURG)
say("urgent", other.recv(1, socket.MSG_OOB))
owned(other)
one.send(b"?", socket.MSG_OOB)
await_chosen("urgent, and more", PRIORITY, IN)
say("urgent", other.recv(1, socket.MSG_OOB))

# A reset is an error.
one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
one.close()
await_chosen("a reset", ERROR)

# We close one direction, the peer the other.
one, other = pair()
owned(other)
other.shutdown(socket.SHUT_WR)
assert one.recv(1) == b""
one.close()
await_chosen("both directions are over", HANG_UP, IN)

# A socket that was owned before anybody knew whose it is.
early = owned(socket.socket())
early.setblocking(False)
fcntl.fcntl(door, fcntl.F_SETOWN, 0)
early.connect_ex(door.getsockname())
await_chosen("connected", OUT)
door.setblocking(True)
server, _ = door.accept()
server.send(b"abc")
await_chosen("and served", IN)
quiet("and served")

# Room, after a write that found none.
early.setblocking(False)
written = 0
try:
    while True:
        written += early.send(bytes(1 << 16))
except BlockingIOError:
    pass
read(server, written)
await_chosen("room", OUT)

# Off and on again, by ioctl.
early.setblocking(True)
fcntl.ioctl(early, FIOASYNC, struct.pack("i", 0))
server.send(b"abc")
read(early, 6)
quiet("off")
fcntl.ioctl(early, FIOASYNC, struct.pack("i", 1))
fcntl.ioctl(early, FIOSETOWN, struct.pack("i", -os.getpgrp()))
say("group", fcntl.fcntl(early, F_GETOWN_EX, bytes(8)) == struct.pack("ii", 2, os.getpgrp()))
fcntl.ioctl(early, SIOCSPGRP, struct.pack("i", os.getpid()))
server.send(b"abc")
await_chosen("on", IN)

# Nobody any more.
fcntl.fcntl(early, fcntl.F_SETOWN, 0)
server.send(b"abc")
read(early, 6)
quiet("nobody")

# Datagrams.
here, there = listener(socket.SOCK_DGRAM), listener(socket.SOCK_DGRAM)
owned(here)
there.sendto(b"abc", here.getsockname())
await_chosen("a datagram", IN)

# A process group, and a thread.
one, other = pair()
owned(other, -os.getpgrp())
one.send(b"x")
say("a group", take().si_signo == CHOSEN)
read(other, 1)


def wait_in_thread(started):
    started.append(threading.get_native_id())
    heard.append(take().si_signo == CHOSEN)


started, heard = [], []
thread = threading.Thread(target=wait_in_thread, args=(started,))
thread.start()
while not started:
    pass
fcntl.fcntl(other, F_SETOWN_EX, struct.pack("ii", 0, started[0]))
say("a thread", fcntl.fcntl(other, F_GETOWN_EX, bytes(8)) == struct.pack("ii", 0, started[0]))
one.send(b"x")
thread.join(20)
say("a thread", heard)
read(other, 1)

# Another name for it.
one, other = pair()
owned(other)
copy = other.dup()
other.close()
one.send(b"x")
await_chosen("a copy", IN)
read(copy, 1)

# The child has it alone from now on.
go, gone = os.pipe()
child = os.fork()
if child == 0:
    os.close(gone)
    os.read(go, 1)
    await_chosen("a child", IN)
    os._exit(0)
fcntl.fcntl(copy, fcntl.F_SETOWN, child)
copy.close()
one.send(b"x")
os.close(gone)
say("a child", os.waitpid(child, 0)[1])

# And who is executed has it still.
one, other = pair()
owned(other)
for sock in (one, other):
    os.set_inheritable(sock.fileno(), True)
os.execv(sys.executable, [sys.executable, sys.argv[0], ADDRESS, str(other.fileno()), str(one.fileno())])
