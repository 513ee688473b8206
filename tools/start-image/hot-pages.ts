/**
 * Which pages every process that starts from an image writes: a page of the image that is written costs a fault and a copy, and
 * more than twice that when it was read before.
 */
import { PAGE_BYTES } from '../../src/image/pagemap.ts';
import { O_RDONLY } from '../../src/linux/abi/fcntl.ts';
import { PTRACE_CONT, PTRACE_EVENT_EXIT, PTRACE_O_TRACEEXIT } from '../../src/linux/abi/ptrace.ts';
import { SIGCONT } from '../../src/linux/abi/signal.ts';
import { check } from '../../src/linux/kernel.ts';
import { close, open } from '../../src/linux/syscalls/fs.ts';
import { kill, ptrace } from '../../src/linux/syscalls/process.ts';
import { classify, seize, waitForJobStop, waitForStatus } from '../../src/tracee/stop.ts';
import { isOwnPage, readPagemap } from './capture.ts';

/** Memory by address and size. */
export interface Range {
  readonly address: number;
  readonly bytes: number;
}

/**
 * Runs a program to its end; returns the addresses of the pages in `watched` that it had written by then. Throws SyscallError,
 * and Error when the program does not succeed.
 */
export function findWrittenPages(command: readonly string[], watched: readonly Range[]): Set<number> {
  // The shell waits for us to trace it before it becomes the program.
  const { pid } = Bun.spawn(['/bin/sh', '-c', 'kill -STOP $$; exec "$@"', 'sh', ...command], {
    stdio: ['ignore', 'ignore', 'ignore'],
  });
  waitForJobStop([pid]);
  seize(pid, PTRACE_O_TRACEEXIT);
  check('kill', kill(pid, SIGCONT));
  const written = new Set<number>();
  for (;;) {
    const status = waitForStatus(pid);
    const stop = classify(status);
    if (stop === 'gone') {
      if (status !== 0) throw new Error(`${command.join(' ')} ends with status ${status}`);
      return written;
    }
    if (stop.kind === 'event' && stop.event === PTRACE_EVENT_EXIT) addWritten(pid, watched, written);
    ptrace(PTRACE_CONT, pid, 0, stop.kind === 'signal' ? stop.signal : 0);
  }
}

function addWritten(pid: number, watched: readonly Range[], written: Set<number>): void {
  const pagemap = open(`/proc/${pid}/pagemap`, O_RDONLY);
  for (const { address, bytes } of watched) {
    readPagemap(pagemap, address, bytes / PAGE_BYTES).forEach((word, i) => {
      if (isOwnPage(word)) written.add(address + i * PAGE_BYTES);
    });
  }
  close(pagemap);
}

/** The pages that are in all sets, as ranges by address. */
export function commonRanges([first = new Set(), ...others]: readonly ReadonlySet<number>[]): Range[] {
  const ranges: { address: number; bytes: number }[] = [];
  const pages = [...first].filter((page) => others.every((set) => set.has(page))).sort((a, b) => a - b);
  for (const page of pages) {
    const last = ranges.at(-1);
    if (last !== undefined && last.address + last.bytes === page) last.bytes += PAGE_BYTES;
    else ranges.push({ address: page, bytes: PAGE_BYTES });
  }
  return ranges;
}
