"""Every option of a list, and every ioctl, on sockets of each kind in each condition: errors, lengths, values. The same on
whoever's sockets, but for those that the list says differ, whose lines say so.

option_walk.py ADDRESS4 ADDRESS6 LIST

The list has a line for each: level, number, name, and the kinds of sockets for which it differs; level "ioctl" for requests.
"""

import ctypes, errno, select, socket, struct, sys

FAMILIES = {"4": (socket.AF_INET, sys.argv[1]), "6": (socket.AF_INET6, sys.argv[2])}
libc = ctypes.CDLL(None, use_errno=True)
libc.ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]

# What a value says beyond its length is the host's, the route's or the moment's: the kernel's loopback has another MTU, a
# connection another history, a name another address.
SECRET = {
    (1, 28),  # SO_PEERNAME
    (1, 49),  # SO_INCOMING_CPU
    (1, 55),  # SO_MEMINFO
    (1, 57),  # SO_COOKIE
    (1, 71),  # SO_NETNS_COOKIE
    (0, 14),  # IP_MTU
    (0, 52),  # IP_PROTOCOL: the port
    (41, 24),  # IPV6_MTU
    (41, 61),  # IPV6_PATHMTU
    (6, 11),  # TCP_INFO
    (6, 13),  # TCP_CONGESTION
}
# And of a connection: what its buffers grew to, and what its segments carry.
OF_CONNECTIONS = {
    (1, 7),  # SO_SNDBUF
    (1, 8),  # SO_RCVBUF
    (6, 2),  # TCP_MAXSEG
    (6, 10),  # TCP_WINDOW_CLAMP
}
# The kernel's loopback is interface 1, and is under no port.
INTERFACES = {(41, 17)}  # IPV6_MULTICAST_IF
LENGTHS = [0, 1, 3, 64]


def read(fd, level, name, room, secret):
    value = ctypes.create_string_buffer(b"\xee" * max(room, 1), max(room, 1))
    length = ctypes.c_uint32(room)
    if libc.getsockopt(fd, level, name, value, ctypes.byref(length)) < 0:
        return errno.errorcode[ctypes.get_errno()]
    if secret:
        return f"{length.value} bytes"
    return f"[{value.raw[: length.value].hex()}]"


def write(fd, level, name, value):
    return "ok" if libc.setsockopt(fd, level, name, value, len(value)) == 0 else errno.errorcode[ctypes.get_errno()]


def opened(kind, condition):
    """A socket in this condition, and what must stay open beside it."""
    family, address = FAMILIES[kind[3]]
    one = socket.socket(family, socket.SOCK_STREAM if kind.startswith("TCP") else socket.SOCK_DGRAM)
    if condition == "connected" and kind.startswith("TCP"):
        one.connect(DOORS[kind].getsockname()[:2])
        return one, [DOORS[kind].accept()[0]]
    one.bind((address, 0))
    if condition == "listening":
        one.listen(4)
    if condition == "connected":
        one.connect(one.getsockname()[:2])
    return one, []


DOORS = {}
for kind in "TCP4", "TCP6":
    DOORS[kind], _ = opened(kind, "listening")


def walked(kind, condition, level, name):
    one, beside = opened(kind, condition)
    fd = one.fileno()
    option = level, name
    secret = option in SECRET or option in OF_CONNECTIONS and kind.startswith("TCP") and condition == "connected"
    said = [f"get {room} {read(fd, level, name, room, secret)}" for room in (0, 1, 4, 64)]
    for number in [0, -1] if option in INTERFACES else [0, 1, -1]:
        done = write(fd, level, name, struct.pack("i", number))
        said.append(f"set {number} {done}" + (f" {read(fd, level, name, 64, secret)}" if done == "ok" else ""))
    one.close()
    [other.close() for other in beside]
    one, beside = opened(kind, condition)
    for length in LENGTHS:
        said.append(f"set {length} bytes {write(one.fileno(), level, name, bytes(length))}")
    one.close()
    [other.close() for other in beside]
    return ", ".join(said)


def requested(kind, condition, request):
    """An ioctl: with five bytes that wait, where some can."""
    one, beside = opened(kind, condition)
    if condition == "connected":
        (beside[0] if beside else one).send(b"waits")
        for _ in range(100):
            if select.select([one], [], [], 0.05)[0]:
                break
    argument = ctypes.create_string_buffer(bytes(64))
    if 0x8910 < request < 0x8950 and request != 0x8912 and request != 0x894B:
        argument[:2] = b"lo"
    if request == 0x8910:
        argument[16] = 1
    result = libc.ioctl(one.fileno(), request, argument)
    if result < 0:
        said = errno.errorcode[ctypes.get_errno()]
    elif request == 0x8912:
        said = f"{result}"  # the list is as long as there are interfaces
    else:
        said = f"{result} {argument.raw[:40].hex()}"
    one.close()
    [other.close() for other in beside]
    return said


for line in open(sys.argv[3]):
    level, number, name, apart = line.rstrip("\n").split("\t")
    for kind in "TCP4", "TCP6", "UDP4", "UDP6":
        for condition in ("bound", "listening", "connected") if kind.startswith("TCP") else ("bound", "connected"):
            if level == "ioctl":
                said = requested(kind, condition, int(number))
            else:
                said = walked(kind, condition, int(level), int(number))
            differs = "differs: " if kind in apart.split() else ""
            print(f"{differs}{name} ({level}, {number}) of {kind} {condition}: {said}")
print("done")
