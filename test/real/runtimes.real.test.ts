/** Runtimes of languages: threads, timers, compilers at work, sockets and children, each with a program of its own. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Needs, type RealProgram, realTest, startScript, travel, waitForText } from '../harness/real-program.ts';

/**
 * A program that counts in files: each part of it writes "NAME N" lines into the file "counts", and must go on after a
 * restore, with a number that is higher than before.
 */
function countingTest(
  name: string,
  needs: Needs,
  file: string,
  source: string,
  command: string,
  parts: string[],
): void {
  realTest(name, needs, async (dir) => {
    writeFileSync(join(dir, file), source);
    const program = startScript(dir, command);
    await waitForCounts(program, parts, 3);
    for (const round of [1, 2]) {
      await travel(program);
      const reached = Math.max(...(await readCounts(program)).values());
      await waitForCounts(program, parts, reached + round);
    }
  });
}

async function readCounts(program: RealProgram): Promise<Map<string, number>> {
  const text = await Bun.file(join(program.dir, 'counts')).text();
  const lines = text.split('\n').map((line) => line.split(' '));
  return new Map(lines.map(([part = '', count = '0']) => [part, Number(count)]));
}

async function waitForCounts(program: RealProgram, parts: readonly string[], count: number): Promise<void> {
  for (const part of parts) await waitForText(program, 'counts', new RegExp(`^${part} ${count}$`, 'm'));
}

const javaSource = `
import java.io.*; import java.nio.file.*; import java.util.concurrent.*;
public class Main {
  static synchronized void say(String part, int n) {
    try { Files.writeString(Path.of("counts"), part + " " + n + "\\n", StandardOpenOption.CREATE, StandardOpenOption.APPEND); }
    catch (IOException e) { throw new UncheckedIOException(e); }
  }
  static long sink;
  static void loop(String part) {
    byte[][] garbage = new byte[64][];
    for (int n = 1; ; n++) {
      for (int i = 0; i < 20000; i++) { garbage[i % 64] = new byte[512]; sink += garbage[i % 64].length ^ i; }
      say(part, n);
      try { Thread.sleep(100); } catch (InterruptedException e) { say(part + "-interrupted", n); return; }
    }
  }
  public static void main(String[] args) throws Exception {
    for (int t = 0; t < 20; t++) { String part = "thread" + t; new Thread(() -> loop(part), part).start(); }
    ScheduledExecutorService pool = Executors.newScheduledThreadPool(2);
    int[] n = { 0 };
    pool.scheduleAtFixedRate(() -> say("timer", ++n[0]), 50, 100, TimeUnit.MILLISECONDS);
    java.net.ServerSocket server = new java.net.ServerSocket(0, 5, java.net.InetAddress.getLoopbackAddress());
    server.accept();
  }
}`;
countingTest(
  'a JVM goes on with its threads and timers',
  { java: 'openjdk-17-jdk-headless' },
  'Main.java',
  javaSource,
  'exec java Main.java',
  ['thread0', 'thread19', 'timer'],
);

const pythonSource = `
import asyncio, mmap, multiprocessing, os, socket, subprocess, threading, time
lock = threading.Lock()
def say(part, n):
    with lock, open('counts', 'a') as counts: counts.write(f'{part} {n}\\n')
def thread():
    n = 0
    while True: n += 1; say('thread', n); time.sleep(0.1)
def worker(queue):
    while True: queue.put(os.getpid()); time.sleep(0.1)
def from_worker(queue):
    n = 0
    while True: queue.get(); n += 1; say('queue', n)
def from_child():
    child = subprocess.Popen(['sh', '-c', 'while sleep 0.1; do echo x; done'], stdout=subprocess.PIPE)
    for n, line in enumerate(child.stdout, 1): say('child', n)
async def main():
    a, b = socket.socketpair()
    reader, _ = await asyncio.open_connection(sock=a)
    _, writer = await asyncio.open_connection(sock=b)
    n = 0
    while True:
        writer.write(b'x' * 100000); await writer.drain()
        await reader.readexactly(100000)
        n += 1; say('asyncio', n); await asyncio.sleep(0.1)
if __name__ == '__main__':
    queue = multiprocessing.Queue()
    multiprocessing.Process(target=worker, args=(queue,), daemon=True).start()
    for target, args in (thread, ()), (from_worker, (queue,)), (from_child, ()):
        threading.Thread(target=target, args=args, daemon=True).start()
    asyncio.run(main())
`;
countingTest(
  'Python goes on with threads, asyncio and children',
  { python3: 'python3' },
  'main.py',
  pythonSource,
  'exec python3 main.py',
  ['thread', 'queue', 'child', 'asyncio'],
);

const nodeSource = `
const { appendFileSync } = require('node:fs');
const { Worker, isMainThread } = require('node:worker_threads');
const { fork, spawn } = require('node:child_process');
const net = require('node:net');
const say = (part, n) => appendFileSync('counts', part + ' ' + n + '\\n');
if (process.argv[2] === 'child') setInterval(() => process.send('x'), 100);
else if (!isMainThread) { let n = 0; setInterval(() => say('worker', ++n), 100); }
else {
  let timer = 0; setInterval(() => say('timer', ++timer), 100);
  new Worker(__filename);
  let messages = 0; fork(__filename, ['child']).on('message', () => say('fork', ++messages));
  let lines = 0; spawn('sh', ['-c', 'while sleep 0.1; do echo x; done']).stdout.on('data', () => say('spawn', ++lines));
  const server = net.createServer((socket) => socket.pipe(socket)).listen('node.sock', () => {
    let answers = 0;
    const client = net.connect('node.sock');
    client.on('data', () => { say('socket', ++answers); setTimeout(() => client.write('x'), 100); });
    client.write('x');
  });
}`;
const nodeParts = ['timer', 'worker', 'fork', 'spawn', 'socket'];
countingTest(
  'Node.js goes on with timers, workers, children and sockets',
  { node: 'nodejs' },
  'main.cjs',
  nodeSource,
  'exec node main.cjs',
  nodeParts,
);
countingTest(
  'Bun goes on with timers, workers, children and sockets',
  {},
  'main.cjs',
  nodeSource,
  `exec ${process.execPath} main.cjs`,
  nodeParts,
);

const goSource = `
package main
import ("fmt"; "net"; "os"; "sync"; "time")
var lock sync.Mutex
func say(part string, n int) {
	lock.Lock(); defer lock.Unlock()
	f, _ := os.OpenFile("counts", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	fmt.Fprintf(f, "%s %d\\n", part, n); f.Close()
}
func main() {
	ticker := time.NewTicker(100 * time.Millisecond)
	results := make(chan int)
	for i := 0; i < 50; i++ { go func() { for n := 1; ; n++ { results <- n; time.Sleep(100 * time.Millisecond) } }() }
	go func() { got := 0; for range results { got++; if got % 50 == 0 { say("goroutines", got / 50) } } }()
	listener, _ := net.Listen("unix", "go.sock")
	go func() { c, _ := listener.Accept(); b := make([]byte, 9); for { n, _ := c.Read(b); c.Write(b[:n]) } }()
	go func() { c, _ := net.Dial("unix", "go.sock"); b := make([]byte, 9); for n := 1; ; n++ { c.Write([]byte("x")); c.Read(b); say("socket", n); time.Sleep(100 * time.Millisecond) } }()
	n := 0
	for range ticker.C { n++; say("ticker", n) }
}`;
countingTest(
  'a Go program goes on with its goroutines',
  { go: 'golang-go' },
  'main.go',
  goSource,
  'export GOCACHE=$PWD/cache GOFLAGS=-mod=mod; go build -o main main.go && rm -rf cache; exec ./main',
  ['goroutines', 'socket', 'ticker'],
);

const rubySource = `
say = ->(part, n) { File.write('counts', "#{part} #{n}\\n", mode: 'a') }
Thread.new { n = 0; loop { say.('thread', n += 1); sleep 0.1 } }
IO.popen('while sleep 0.1; do echo x; done') { |io| n = 0; io.each_line { say.('child', n += 1) } }
`;
countingTest('Ruby goes on with threads and children', { ruby: 'ruby' }, 'main.rb', rubySource, 'exec ruby main.rb', [
  'thread',
  'child',
]);

const perlSource = `
use Time::HiRes 'ualarm'; $| = 1;
sub say_count { open my $f, '>>', 'counts'; print $f "@_\\n" }
$SIG{ALRM} = sub { say_count('alarm', ++$a) }; ualarm(100000, 100000);
open my $child, '-|', 'while sleep 0.1; do echo x; done';
while (1) { my $line = <$child>; say_count('child', ++$b) if defined $line }
`;
countingTest('Perl goes on with alarms and children', { perl: 'perl' }, 'main.pl', perlSource, 'exec perl main.pl', [
  'alarm',
  'child',
]);

const cSource = `
#include <stdio.h>
#include <unistd.h>
int main(void) { for (int n = 1; ; n++) { FILE *f = fopen("counts", "a"); fprintf(f, "main %d\\n", n); fclose(f); usleep(100000); } }
`;
countingTest(
  'a static program with glibc goes on',
  { gcc: 'gcc' },
  'main.c',
  cSource,
  'gcc -static -o main main.c && exec ./main',
  ['main'],
);
countingTest(
  'a static program with musl goes on',
  { 'musl-gcc': 'musl-tools' },
  'main.c',
  cSource,
  'musl-gcc -static -o main main.c && exec ./main',
  ['main'],
);
countingTest(
  'a program under valgrind goes on',
  { gcc: 'gcc', valgrind: 'valgrind' },
  'main.c',
  cSource,
  'gcc -o main main.c && exec valgrind -q ./main',
  ['main'],
);
countingTest(
  'a shell script with background jobs goes on',
  { bash: 'bash' },
  'main.sh',
  'count() { for ((n = 1; ; n++)); do echo "$1 $n" >> counts; sleep 0.1; done; }; count first & count second | cat & wait',
  'exec bash main.sh',
  ['first', 'second'],
);
