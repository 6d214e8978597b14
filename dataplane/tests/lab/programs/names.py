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


def in_kernel(protocol, address, port):
    wanted = socket.inet_aton(address)[::-1].hex().upper() + f":{port:04X}"
    return any(line.split()[1] == wanted for line in list(open(f"/proc/net/{protocol}"))[1:])


def whose(name):
    protocol, at = name.split(":", 1)
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
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
        listener = socket.create_server(split(name))
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
