"""A program that talks to itself and looks at once, without waiting: to_itself.py ADDRESS. Says what was there."""
import errno
import socket
import sys

address = sys.argv[1]
ROUNDS = 200
found = {"connection": 0, "bytes": 0, "end": 0, "datagram": 0, "error": 0, "over": 0}


def at_once(what, look):
    try:
        if look():
            found[what] += 1
            return
    except BlockingIOError:
        pass


listener = socket.create_server((address, 0))
listener.setblocking(False)
for _ in range(ROUNDS):
    client = socket.create_connection(listener.getsockname())
    try:
        server, _ = listener.accept()
        found["connection"] += 1
    except BlockingIOError:
        listener.setblocking(True)
        server, _ = listener.accept()
        listener.setblocking(False)
    server.setblocking(False)
    client.send(b"to myself")
    at_once("bytes", lambda: server.recv(100) == b"to myself")
    client.close()
    at_once("end", lambda: server.recv(100) in (b"", b"to myself"))
    server.close()

# The other end is closed before the answer: reading finds the end, and only who asks hears of the reset behind it.
for _ in range(ROUNDS):
    client = socket.create_connection(listener.getsockname())
    listener.setblocking(True)
    server, _ = listener.accept()
    client.close()
    server.send(b"too late")
    at_once("over", lambda: server.recv(100) == b"" and server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EPIPE)
    server.close()

receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind((address, 0))
receiver.setblocking(False)
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(ROUNDS):
    sender.sendto(b"to myself", receiver.getsockname())
    at_once("datagram", lambda: receiver.recv(100) == b"to myself")

# Nobody is there: the error of a datagram is there when the next one is sent.
nowhere = receiver.getsockname()
receiver.close()
for _ in range(ROUNDS):
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(nowhere)
    sender.send(b"is somebody there")
    try:
        sender.send(b"hello")
    except ConnectionRefusedError:
        found["error"] += 1
    sender.close()

# A processor that others use may keep either side waiting; that nobody waits at all shows in most rounds or in none.
print(*(f"{what}: {'as a rule' if count > ROUNDS // 2 else count}" for what, count in found.items()), sep=", ")
