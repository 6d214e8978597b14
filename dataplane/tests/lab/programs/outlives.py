"""A program that outlives services: outlives.py ADDRESS.

Opens sockets whenever there is a service, closes them when it dies, and says each time what it has of services: arenas and pages that
are mapped, and descriptors. Beside it a thread waits in an epoll set, and one asks without waiting.
"""
import os
import select
import socket
import sys
import threading
import time

here = sys.argv[1]
family = socket.AF_INET6 if ":" in here else socket.AF_INET
events = select.epoll()


def loop():
    while True:
        if events.poll(0.2):
            time.sleep(0.01)


def asks():
    while True:
        events.poll(0)
        time.sleep(0.001)


def named(kind):
    one = socket.socket(family, kind)
    while True:
        try:
            one.bind((here, 0))
            return one
        except OSError:
            time.sleep(0.02)


def mapped():
    lines = open("/proc/self/maps").read().splitlines()
    return [sum(what in line for line in lines) for what in ("flumen-arena", "flumen-page")]


for work in (loop, asks):
    threading.Thread(target=work, daemon=True).start()
number = 0
while True:
    listener, datagrams = named(socket.SOCK_STREAM), named(socket.SOCK_DGRAM)
    listener.listen()
    events.register(listener, select.EPOLLIN)
    client = socket.socket(family)
    client.connect(listener.getsockname())
    server = listener.accept()[0]
    waits = select.poll()
    waits.register(datagrams, select.POLLIN)
    waits.poll(1)
    # What was left goes when whoever was at it has ended what it did, and something is closed.
    for _ in range(1000):
        os.close(os.dup(0))
        if mapped() == [1, 1]:
            break
        time.sleep(0.01)
    print("round", number, "has", *mapped(), len(os.listdir("/proc/self/fd")), flush=True)
    number += 1
    waits.poll()
    events.unregister(listener)
    for one in (listener, datagrams, client, server):
        one.close()
