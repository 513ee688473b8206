/**
 * Stopping, waiting for and letting go of many threads: what stop.ts does to one, as tables of system calls.
 */

import { Program } from '../agent/program.ts';
import { ERRNO } from '../linux/abi/errno.ts';
import {
  PTRACE_DETACH,
  PTRACE_INTERRUPT,
  PTRACE_O_TRACESYSGOOD,
  PTRACE_PEEKUSR,
  PTRACE_SEIZE,
  USER_REGS,
} from '../linux/abi/ptrace.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { __WALL, WNOHANG } from '../linux/abi/wait.ts';
import { check } from '../linux/kernel.ts';
import { CallTable, KeptTable, rowsFor } from './call-table.ts';
import type { RegisterName } from './registers.ts';
import { ENDED, waitForStatus } from './stop.ts';

/**
 * Seizes threads, and interrupts those that could be: they will stop soon. `onResult` gets what PTRACE_SEIZE said, 0 or
 * −errno, in the order of the threads.
 */
export function seizeAll(
  tids: readonly number[],
  onResult: (index: number, result: number) => void,
  options = 0,
): void {
  seizing.use(tids.length, (table, { tid, flags, seized }) => {
    const fill = (i: number) => table.view.setUint32(table.at(i, flags), options | PTRACE_O_TRACESYSGOOD, true);
    table.runFor(tids, tid, (i, index) => onResult(index, table.result(i, seized)), fill);
  });
}

const seizing = new KeptTable((row) => {
  const [tid, flags] = [row.words(0), row.words(0)];
  const seized = row.call(SYS.ptrace, PTRACE_SEIZE, row.wordAt(tid), 0, row.wordAt(flags));
  // It says ESRCH when the thread is not ours.
  row.call(SYS.ptrace, PTRACE_INTERRUPT, row.wordAt(tid), 0, 0);
  return { tid, flags, seized };
});

/**
 * Waits for all threads, in whatever order they stop or end. `arrived` gets the status word; when it says false, it has
 * let the thread go, which is waited for again.
 */
export function waitForAll(tids: readonly number[], arrived: (index: number, status: number) => boolean): void {
  waiting.use(tids.length, (table, { tid, status, waited }) => {
    let missing = tids.map((_, index) => index);
    while (missing.length > 0) {
      const rest: number[] = [];
      table.runFor(
        missing.map((index) => tids[index] ?? 0),
        tid,
        (i, number) => {
          const index = missing[number] ?? 0;
          const result = table.result(i, waited);
          const isEnd = result === -ERRNO.ECHILD;
          if (result < 0 && !isEnd) check('wait4', result, `${tids[index]}`);
          if (result === 0 || !arrived(index, isEnd ? ENDED : table.view.getInt32(table.at(i, status), true)))
            rest.push(index);
        },
      );
      missing = rest;
      // Threads stop about in the order of the list: when the last one has, nearly all of the others have too.
      const last = missing.pop();
      if (last !== undefined && !arrived(last, waitForStatus(tids[last] ?? 0))) missing.push(last);
    }
  });
}

const waiting = new KeptTable((row) => {
  const [tid, status] = [row.words(0), row.reserve(8)];
  return { tid, status, waited: row.call(SYS.wait4, row.wordAt(tid), status, WNOHANG | __WALL, 0) };
});

/** Which of the numbers are those of threads, dead ones included: others say ESRCH to signal 0, which does nothing. */
export function whichExist(tids: readonly number[]): Set<number> {
  const row = new Program();
  const tid = row.words(0);
  const asked = row.call(SYS.kill, row.wordAt(tid), 0);
  const table = new CallTable(row, rowsFor(tids.length));
  const existing = new Set<number>();
  table.runFor(tids, tid, (i, index) => {
    if (table.result(i, asked) !== -ERRNO.ESRCH) existing.add(tids[index] ?? 0);
  });
  return existing;
}

/** One register of each of many stopped threads, up to 2^53. */
export function readRegisterOfAll(tids: readonly number[], name: RegisterName): number[] {
  const row = new Program();
  const [tid, value] = [row.words(0), row.words(0)];
  row.call(SYS.ptrace, PTRACE_PEEKUSR, row.wordAt(tid), USER_REGS[name] * 8, value);
  const table = new CallTable(row, rowsFor(tids.length));
  const values: number[] = [];
  table.runFor(tids, tid, (i) => values.push(Number(table.view.getBigUint64(table.at(i, value), true))));
  return values;
}

/** PTRACE_DETACH for stopped threads. */
export function detachAll(tids: readonly number[]): void {
  detaching.use(tids.length, (table, { tid }) => table.runFor(tids, tid, () => {}));
}

const detaching = new KeptTable((row) => {
  const tid = row.words(0);
  row.call(SYS.ptrace, PTRACE_DETACH, row.wordAt(tid), 0, 0);
  return { tid };
});
