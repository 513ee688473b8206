"""The program of the demo, for machines without a C compiler: the same as ledger.c, in Python."""
import mmap
import os
import struct
import sys
import threading
import time

secret = os.urandom(8).hex()
journal = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
shared = mmap.mmap(-1, 4096)
child = os.fork()
if child == 0:
    ticks = 0
    while True:
        ticks += 1
        struct.pack_into("q", shared, 0, ticks)
        time.sleep(0.01)

ticks_of_threads = [0, 0, 0]


def count(index):
    while True:
        ticks_of_threads[index] += 1
        time.sleep(0.01)


for index in range(3):
    threading.Thread(target=count, args=(index,), daemon=True).start()
memory = {number: secret + str(number) for number in range(20000)}
tick = 0
while True:
    tick += 1
    good = all(text == secret + str(number) for number, text in memory.items())
    line = "tick=%d pid=%d child=%d childTicks=%d threads=%s memory=%s secret=%s\n" % (
        tick, os.getpid(), child, struct.unpack_from("q", shared, 0)[0], ",".join(map(str, ticks_of_threads)),
        "good" if good else "DAMAGED", secret)
    os.write(journal, line.encode())
    time.sleep(0.1)
