"""Names sockets: names.py tcp:ADDRESS:PORT… [epoll ADDRESS:PORT ADDRESS:PORT]. Says of each name whose the socket is, or the error.

After "epoll": two listeners, and a client of each, talk in one epoll set.
"""
import errno
import select
import socket
import sys


def split(name):
    address, port = name.rsplit(":", 1)
    return address, int(port)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def in_kernel(protocol, address, port):
    bytes = socket.inet_pton(family_of(address), address)
    words = "".join(bytes[at : at + 4][::-1].hex().upper() for at in range(0, len(bytes), 4))
    file = f"/proc/net/{protocol}{6 if len(bytes) == 16 else ''}"
    return any(line.split()[1] == f"{words}:{port:04X}" for line in list(open(file))[1:])


def whose(name):
    protocol, at = name.split(":", 1)
    family = family_of(split(at)[0])
    one = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    try:
        one.bind(split(at))
        if protocol == "tcp":
            one.listen()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "kernel" if in_kernel(protocol, *split(at)) else "Flumen"


def talk(names, rounds=100):
    epoll, sockets, servers, said = select.epoll(), {}, {}, {}

    def watch(one):
        one.setblocking(False)
        sockets[one.fileno()] = one
        epoll.register(one, select.EPOLLIN)

    for name in names:
        listener = socket.create_server(split(name), family=family_of(split(name)[0]))
        watch(listener)
        servers[listener.fileno()] = None
        client = socket.create_connection(split(name))
        watch(client)
        said[client.fileno()] = 0
        client.send(b"ping")
    while min(said.values()) < rounds:
        events = epoll.poll(20)
        if not events:
            return "silence"
        for fd, _ in events:
            if fd in servers:
                servers[fd] = sockets[fd].accept()[0]
                watch(servers[fd])
                continue
            sockets[fd].send(sockets[fd].recv(100))
            if fd in said:
                said[fd] += 1
    return "talked"


names = sys.argv[1:]
places = names.index("epoll") if "epoll" in names else len(names)
for name in names[:places]:
    print(name, whose(name))
if names[places + 1 :]:
    print(talk(names[places + 1 :]))
