/** Much of one thing. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Conversation, realTest, startScript, type TravelOptions, travel } from '../harness/real-program.ts';

/** A Python program with a function `check(round)`; it is called after each restore and must print "good". */
function extremeTest(name: string, source: string, options: TravelOptions = {}): void {
  realTest(name, { python3: 'python3' }, async (dir) => {
    writeFileSync(
      join(dir, 'main.py'),
      `${source}\nwhile True:\n    check(int(input()))\n    print('good', flush=True)\n`,
    );
    const program = startScript(dir, `ulimit -n 12000; ${Conversation.script('main', 'python3 main.py')} wait`);
    const main = new Conversation(program, 'main');
    await main.ask('0', /^good$/m);
    for (const round of [1, 2]) {
      await travel(program, options);
      await main.ask(String(round), /^good$/m);
    }
  });
}

extremeTest(
  'ten thousand open files keep their positions',
  `
import os
for n in range(100):
    with open(f'file{n}', 'w') as f: f.write('x' * 20000)
fds = [os.open(f'file{n % 100}', os.O_RDONLY) for n in range(10000)]
for n, fd in enumerate(fds): os.lseek(fd, n, os.SEEK_SET)
def check(round):
    for n, fd in enumerate(fds):
        assert os.lseek(fd, 0, os.SEEK_CUR) == n + round - (round > 0), (fd, n)
        if round > 0: os.read(fd, 1)
`,
);

extremeTest(
  'two hundred TCP connections inside the tree go on',
  `
import socket
server = socket.create_server(('127.0.0.1', 0), backlog=256)
pairs = []
for n in range(200):
    client = socket.create_connection(server.getsockname())
    pairs.append((client, server.accept()[0]))
def check(round):
    for n, (client, accepted) in enumerate(pairs):
        if round > 0: assert accepted.recv(100) == f'{n} in round {round - 1}'.encode()
        client.send(f'{n} in round {round}'.encode())
`,
  { dumpArgs: ['--tcp-established'], restoreArgs: ['--tcp-established'] },
);

extremeTest(
  'a thousand threads wait for a thousand conditions',
  `
import threading
threading.stack_size(65536)
gates = [threading.Semaphore(0) for n in range(1000)]
done = threading.Semaphore(0)
def wait(gate):
    while True: gate.acquire(); done.release()
for gate in gates: threading.Thread(target=wait, args=(gate,), daemon=True).start()
def check(round):
    for gate in gates: gate.release()
    for gate in gates: done.acquire()
`,
);

extremeTest(
  'a deep tree of processes answers through all of its pipes',
  `
import os
down = os.pipe(); up = os.pipe()
first, last = down[1], up[0]
for n in range(100):
    next_down, next_up = os.pipe(), os.pipe()
    if os.fork() == 0: down, up = next_down, next_up; continue
    while n or not 'root':
        os.write(next_down[1], os.read(down[0], 1)); os.write(up[1], os.read(next_up[0], 1))
    break
else:
    while True: os.write(up[1], os.read(down[0], 1))
def check(round):
    os.write(next_down[1], b'x'); assert os.read(next_up[0], 1) == b'x'
`,
);
