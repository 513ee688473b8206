/**
 * Which pages every process that starts from an image touches: a page of the image that is written costs a fault and a copy, and
 * more than twice that when it was read before; one that is read costs a fault for each 64 KiB.
 */
import { PAGE_BYTES } from '../../src/image/pagemap.ts';
import { O_RDONLY } from '../../src/linux/abi/fcntl.ts';
import { PTRACE_CONT, PTRACE_EVENT_EXIT, PTRACE_O_TRACEEXIT } from '../../src/linux/abi/ptrace.ts';
import { SIGCONT } from '../../src/linux/abi/signal.ts';
import { check } from '../../src/linux/kernel.ts';
import { close, open } from '../../src/linux/syscalls/fs.ts';
import { kill, ptrace } from '../../src/linux/syscalls/process.ts';
import { classify, seize, waitForJobStop, waitForStatus } from '../../src/tracee/stop.ts';
import { isOwnPage, isPresent, readPagemap } from './capture.ts';

/** Memory by address and size. */
export interface Range {
  readonly address: number;
  readonly bytes: number;
}

/** Pages and windows by address. */
export interface Touched {
  readonly written: ReadonlySet<number>;
  /** Of 64 KiB, what the kernel maps at once around a page that is read (mm/memory.c, fault_around_bytes). */
  readonly read: ReadonlySet<number>;
}

export const WINDOW_BYTES = 64 << 10;

/**
 * Runs a program to its end; returns what it had touched by then of `watched`. `fd` is its descriptor 3. Throws
 * SyscallError, and Error when the program does not succeed.
 */
export function findTouchedPages(command: readonly string[], watched: readonly Range[], fd?: number): Touched {
  // The shell waits for us to trace it before it becomes the program.
  const { pid } = Bun.spawn(['/bin/sh', '-c', 'kill -STOP $$; exec "$@"', 'sh', ...command], {
    stdio: ['ignore', 'ignore', 'ignore', ...(fd === undefined ? [] : [fd])],
  });
  waitForJobStop([pid]);
  seize(pid, PTRACE_O_TRACEEXIT);
  check('kill', kill(pid, SIGCONT));
  const touched = { written: new Set<number>(), read: new Set<number>() };
  for (;;) {
    const status = waitForStatus(pid);
    const stop = classify(status);
    if (stop === 'gone') {
      if (status !== 0) throw new Error(`${command.join(' ')} ends with status ${status}`);
      return touched;
    }
    if (stop.kind === 'event' && stop.event === PTRACE_EVENT_EXIT) addTouched(pid, watched, touched);
    ptrace(PTRACE_CONT, pid, 0, stop.kind === 'signal' ? stop.signal : 0);
  }
}

function addTouched(
  pid: number,
  watched: readonly Range[],
  touched: { written: Set<number>; read: Set<number> },
): void {
  const pagemap = open(`/proc/${pid}/pagemap`, O_RDONLY);
  for (const { address, bytes } of watched) {
    readPagemap(pagemap, address, bytes / PAGE_BYTES).forEach((word, i) => {
      const page = address + i * PAGE_BYTES;
      if (isOwnPage(word)) touched.written.add(page);
      else if (isPresent(word)) touched.read.add(Math.max(address, page - (page % WINDOW_BYTES)));
    });
  }
  close(pagemap);
}

/** Ranges by address. */
export interface Pages {
  readonly written: readonly Range[];
  readonly read: readonly Range[];
}

/** What runs of a command touch. */
export interface HotPages {
  /** All of them, whatever they are for. */
  readonly always: Pages;
  /** Those for one kind of process at least. */
  readonly sometimes: Pages;
}

/** `kinds`: the runs for each kind of process, at least one of each. */
export function hotPages(kinds: readonly (readonly Touched[])[]): HotPages {
  const inAll = (all: ReadonlySet<number>, set: ReadonlySet<number>) => all.intersection(set);
  const written = kinds.map((runs) => runs.map((run) => run.written).reduce(inAll));
  const read = kinds.map((runs) => runs.map((run) => run.read).reduce(inAll));
  const pagesIn = (count: number): Pages => ({
    written: rangesIn(written, count, PAGE_BYTES),
    read: rangesIn(read, count, WINDOW_BYTES),
  });
  return { always: pagesIn(kinds.length), sometimes: pagesIn(1) };
}

/** What is in at least so many of the sets, each of so many bytes. What is side by side is one range. */
export function rangesIn(sets: readonly ReadonlySet<number>[], count: number, bytes: number): Range[] {
  const times = new Map<number, number>();
  for (const set of sets) for (const address of set) times.set(address, (times.get(address) ?? 0) + 1);
  const ranges: { address: number; bytes: number }[] = [];
  for (const address of [...times.keys()].sort((a, b) => a - b)) {
    if ((times.get(address) ?? 0) < count) continue;
    const last = ranges.at(-1);
    if (last !== undefined && address <= last.address + last.bytes) last.bytes = address + bytes - last.address;
    else ranges.push({ address, bytes });
  }
  return ranges;
}

export const pagesOf = ({ address, bytes }: Range): number[] =>
  Array.from({ length: bytes / PAGE_BYTES }, (_, i) => address + i * PAGE_BYTES);
