"""Hangs epoll sets, as many as it is told, at the bell of its own library, as any user may, and hears what comes all the same.

many_waiters.py ADDRESS SETS
"""

import ctypes, os, resource, select, socket, sys, threading, time

NOBODY, SETS, ROUNDS = 65534, int(sys.argv[2]), 200
PIDFD_OPEN, PIDFD_GETFD = 434, 438

_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
os.setgid(NOBODY)
os.setuid(NOBODY)
libc = ctypes.CDLL(None, use_errno=True)

taker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
taker.bind((sys.argv[1], 0))
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.connect(taker.getsockname())

# The library's descriptors are closed to the program, but for a second number that the kernel makes of them.
mine = libc.syscall(PIDFD_OPEN, os.getpid(), 0)
bells = []
for number in map(int, os.listdir("/proc/self/fd")):
    try:
        if "eventfd" in os.readlink(f"/proc/self/fd/{number}"):
            bells.append(libc.syscall(PIDFD_GETFD, mine, number, 0))
    except FileNotFoundError:  # of the listing itself
        pass
assert bells and min(bells) > 0, (bells, os.strerror(ctypes.get_errno()))
sets = [select.epoll() for _ in range(SETS)]
for bell in bells:
    for one in sets:
        one.register(bell, select.EPOLLIN)


def send():
    for _ in range(ROUNDS):
        time.sleep(0.005)
        sender.send(b"news")


threading.Thread(target=send, daemon=True).start()
waits = select.poll()
waits.register(taker, select.POLLIN)
for heard in range(ROUNDS):
    assert waits.poll(20_000), f"nothing after {heard}"
    assert taker.recv(100) == b"news"
print("heard all", flush=True)
time.sleep(600)
