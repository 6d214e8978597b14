"""What becomes of calls when the service dies: service_death.py ADDRESS PEER PORT SILENT [LAST WORD].

One thread for each call that waits, or asks again and again without waiting; and a child that waits. (Of all, or of those whose
name ends with a word.) Says "blocked", then what
each call came to, one a line; then "all ended". Goes on until a new socket reaches the peer, and says "again".
"""
import errno
import os
import select
import socket
import sys
import threading
import time

here, peer, port, silent = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
family, both = (socket.AF_INET6, "::") if ":" in here else (socket.AF_INET, "0.0.0.0")


def connected():
    return socket.create_connection((peer, port))


def listener(address):
    made = socket.socket(family)
    made.bind((address, 0))
    made.listen()
    return made


def named(address):
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.bind((address, 0))
    return made


def opening():
    made = socket.socket(family)
    made.setblocking(False)
    try:
        made.connect((silent, port))
    except BlockingIOError:
        pass
    made.setblocking(True)
    return made


def send_all():
    full = connected()
    while True:
        full.send(bytes(65536))


def without_waiting(call, fresh):
    """Asks until something is there."""
    while True:
        try:
            there = call()
            if not fresh or there:
                return there
        except BlockingIOError:
            pass
        time.sleep(0.01)


def bits(events):
    """What is common to poll and epoll."""
    return "hung up" if all(event & (select.POLLHUP | select.POLLERR) for _, event in events) and events else str(events)


def in_poll(timeout):
    one, poll = connected(), select.poll()
    poll.register(one, select.POLLIN)
    ask = lambda: poll.poll(timeout)
    return bits(without_waiting(ask, True) if timeout == 0 else ask())


def in_epoll(timeout, how):
    one, two, epoll = connected(), listener(here), select.epoll()
    epoll.register(one, select.EPOLLIN | how)
    epoll.register(two, select.EPOLLIN | how)
    ask = lambda: epoll.poll(timeout)
    return bits(without_waiting(ask, True) if timeout == 0 else ask())


def in_select():
    one = connected()
    return "readable" if select.select([one], [], [])[0] == [one] else "not readable"


def in_child():
    one = connected()
    pid = os.fork()
    if pid == 0:
        try:
            one.recv(1)
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return errno.errorcode.get(code, code)


CALLS = {
    "recv": lambda: connected().recv(1),
    "recv without waiting": lambda c=[]: without_waiting(lambda: c[0].recv(1, socket.MSG_DONTWAIT), False) if c.append(connected()) is None else None,
    "recv whole": lambda: connected().recv(100, socket.MSG_WAITALL),
    "send": send_all,
    "send while it opens": lambda: opening().send(b"x"),
    "connect": lambda: socket.create_connection((silent, port)),
    "accept": lambda: listener(here).accept(),
    "accept of both": lambda: listener(both).accept(),
    "recv of datagrams": lambda: named(here).recv(1),
    "recv of datagrams of both": lambda: named(both).recv(1),
    "poll": lambda: in_poll(None),
    "poll without waiting": lambda: in_poll(0),
    "select": in_select,
    "epoll": lambda: in_epoll(None, 0),
    "epoll by edges": lambda: in_epoll(None, select.EPOLLET),
    "epoll without waiting": lambda: in_epoll(0, 0),
    "recv in a child": in_child,
}


def run(name, call):
    try:
        became = call()
    except OSError as error:
        became = errno.errorcode[error.errno]
    os.write(1, f"{name}: {became}\n".encode())  # a line in one piece, whoever writes beside


# The child first: as few threads as can be when it is made.
threads = [threading.Thread(target=run, args=one) for one in reversed(CALLS.items()) if one[0].endswith(tuple(sys.argv[5:]) or "")]
for thread in threads:
    thread.start()
time.sleep(2)
print("blocked", flush=True)
for thread in threads:
    thread.join()
print("all ended", flush=True)
while True:
    try:
        again = connected()
        again.send(b"again")
        break
    except OSError as error:
        print("not yet:", errno.errorcode.get(error.errno), flush=True)
        time.sleep(0.2)
print("again", flush=True)
