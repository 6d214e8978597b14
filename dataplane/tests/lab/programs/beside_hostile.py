"""Programs beside a hostile one. What they say to each other is checked, byte for byte.

beside_hostile.py peer HERE THERE            the kernel's sockets, at THERE: answers, and calls HERE
beside_hostile.py here HERE THERE SECONDS    Flumen's sockets, at HERE: a long stream, connections that come, datagrams
"""
import os
import socket
import struct
import sys
import threading
import time

how, here, there = sys.argv[1:4]
family = socket.AF_INET6 if ":" in here else socket.AF_INET
ECHO, CALLED = 7000, 7001
failed = []


def watched(work):
    def watch():
        try:
            work()
        except Exception as error:  # whatever goes wrong is told
            failed.append(f"{work.__name__}: {error!r}")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def whole(one, count):
    got = bytearray()
    while len(got) < count:
        more = one.recv(count - len(got))
        if not more:
            raise EOFError(f"{len(got)} of {count} bytes")
        got += more
    return bytes(got)


def echo(listener):
    def answer(one):
        with one:
            while more := one.recv(65536):
                one.sendall(more)

    while True:
        one, _ = listener.accept()
        threading.Thread(target=answer, args=(one,), daemon=True).start()


def calls(until, count):
    """One connection after the other, each with a text of its own."""
    while time.monotonic() < until:
        text = os.urandom(1 + 37 * count[0] % 20000)
        with socket.create_connection((here, CALLED), timeout=20) as one:
            one.sendall(text)
            assert whole(one, len(text)) == text, "other bytes"
            one.shutdown(socket.SHUT_WR)
            assert one.recv(1) == b"", "an end"
        count[0] += 1


def peer():
    listener = socket.create_server((there, ECHO), family=family)
    datagrams = socket.socket(family, socket.SOCK_DGRAM)
    datagrams.bind((there, ECHO))

    def answer_datagrams():
        while True:
            said, who = datagrams.recvfrom(65536)
            datagrams.sendto(said, who)

    watched(lambda: echo(listener))
    watched(answer_datagrams)
    while True:
        # HERE says when to call, and for how long.
        said, who = listener_of_orders.recvfrom(100)
        count = [0]
        calls(time.monotonic() + float(said), count)
        listener_of_orders.sendto(str(count[0]).encode(), who)


def beside():
    seconds = float(sys.argv[4])
    until = time.monotonic() + seconds
    counts = {"streamed": 0, "datagrams": 0, "lost": 0}
    listener = socket.create_server((here, CALLED), family=family)
    watched(lambda: echo(listener))
    orders = socket.socket(family, socket.SOCK_DGRAM)
    orders.settimeout(seconds + 25)
    orders.sendto(str(seconds).encode(), (there, ECHO + 2))

    def stream():
        with socket.create_connection((there, ECHO), timeout=20) as one:
            while time.monotonic() < until:
                piece = os.urandom(50000)
                one.sendall(piece)
                assert whole(one, len(piece)) == piece, "other bytes"
                counts["streamed"] += len(piece)

    def datagrams():
        one = socket.socket(family, socket.SOCK_DGRAM)
        one.connect((there, ECHO))
        one.settimeout(1)
        number = 0
        while time.monotonic() < until:
            number += 1
            text = struct.pack("!I", number) + os.urandom(number * 13 % 1400)
            one.send(text)
            try:
                while (got := one.recv(65536))[:4] != text[:4]:
                    assert struct.unpack("!I", got[:4])[0] < number, "one from nowhere"
                assert got == text, "other bytes"
                counts["datagrams"] += 1
            except TimeoutError:
                counts["lost"] += 1

    for thread in [watched(stream), watched(datagrams)]:
        thread.join(seconds + 25)
        if thread.is_alive():
            failed.append("a thread that does not end")
    accepted = int(orders.recv(100))
    print("failed", failed, "accepted", accepted, *(f"{name} {count}" for name, count in counts.items()), flush=True)
    os._exit(0)


if how == "peer":
    listener_of_orders = socket.socket(family, socket.SOCK_DGRAM)
    listener_of_orders.bind((there, ECHO + 2))
    peer()
else:
    beside()
