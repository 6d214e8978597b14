"""When it came: which times stand beside what is received, for each option that asks for them. The same on whoever's sockets.

stamps.py ADDRESS
"""

import socket, struct, time

from pairs import datagrams, streams

STAMP, STAMP_NANOS, STAMPING = 29, 35, 37
STAMP_NEW, STAMP_NANOS_NEW, STAMPING_NEW = 63, 64, 65
RX_SOFTWARE, SOFTWARE = 1 << 3, 1 << 4


def told(kind, data, sent):
    """The kind of a time, how many there are, and whether the first is of now."""
    words = struct.unpack(f"{len(data) // 8}q", data)
    divisor = 1e6 if kind in (STAMP, STAMP_NEW) else 1e9
    first = words[0] + words[1] / divisor
    return kind, len(words), sent - 1 < first < time.time() + 1, any(words[2:])


for make in (datagrams, streams):
    for options in (
        [],
        [(STAMP, 1)],
        [(STAMP_NANOS, 1)],
        [(STAMP, 1), (STAMP_NANOS, 1)],
        [(STAMP, 1), (STAMP, 0)],
        [(STAMP_NEW, 1)],
        [(STAMP_NANOS_NEW, 1)],
        [(STAMPING, RX_SOFTWARE | SOFTWARE)],
        [(STAMPING_NEW, RX_SOFTWARE | SOFTWARE)],
        [(STAMPING, RX_SOFTWARE)],
        [(STAMPING, RX_SOFTWARE | SOFTWARE), (STAMPING, 0)],
        [(STAMP, 1), (STAMPING, RX_SOFTWARE | SOFTWARE)],
    ):
        sender, taker, end = make()
        for name, value in options:
            taker.setsockopt(socket.SOL_SOCKET, name, value)
        time.sleep(0.05)  # the kernel stamps from a moment after somebody asks
        sent = time.time()
        sender.send(b"now")
        data, beside, flags, _ = taker.recvmsg(100, 200)
        print(make.__name__, options, data, [told(kind, rest, sent) for _, kind, rest in beside], flush=True)
        sender.close()
        taker.close()
        end()
print("done")
