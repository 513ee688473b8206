/**
 * Everything that is read of stopped threads from outside, for all of them at once: tables of system calls, one row for
 * each thread. Most threads of a process are alike, so what is the same as in the thread before is the same object.
 */

import type { Program } from '../../agent/program.ts';
import { byteString } from '../../base/bytes.ts';
import { CriuError } from '../../base/errors.ts';
import type { AlikeThread, FrozenThread } from '../../dump/frozen-tree.ts';
import { errnoName } from '../../linux/abi/errno.ts';
import {
  NT_X86_XSTATE,
  PTRACE_GETREGS,
  PTRACE_GETREGSET,
  PTRACE_GETSIGMASK,
  USER_REGS_BYTES,
} from '../../linux/abi/ptrace.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { check } from '../../linux/kernel.ts';
import type { ThreadRecords } from '../../linux/task-threads.ts';
import { type Status, StatusParser } from '../../proc/status.ts';
import { type CallTable, KeptTable } from '../../tracee/call-table.ts';
import { FileColumn } from '../../tracee/file-column.ts';
import { register, setRegister } from '../../tracee/registers.ts';
import { SecondCore } from '../../tracee/second-core.ts';
import { suspendSeccomp } from '../../tracee/stop.ts';
import { xstateBytesMax } from '../registers/xstate.ts';
import { askRseq, readRseq } from '../rseq/rseq.ts';
import { findExamples } from './listed-threads.ts';
import { askSyscallDispatch, readSyscallDispatch } from './syscall-dispatch.ts';

const STATUS_BYTES = 4096;
const CGROUP_BYTES = 2048;

/** A thread that we have stopped. */
export interface Stopped {
  readonly pid: number;
  readonly tid: number;
}

/** The threads of a task, the first one first, and what the kernel has listed of them. */
export interface StoppedTask {
  readonly pid: number;
  readonly tids: readonly number[];
  readonly records?: ThreadRecords | undefined;
}

/** A thread that is like one before it, for which no file is read. */
interface Listed {
  /** The index of that one. */
  readonly example: number;
  readonly records: ThreadRecords;
}

/**
 * Reads stopped threads of ours; their seccomp filters are out of the way afterwards. A thread inside of a restartable
 * sequence goes on, as after any signal, at its abort address: its `registers` say so.
 */
export function readThreads(tasks: readonly StoppedTask[]): FrozenThread[] {
  const threads: Stopped[] = [];
  const listed: (Listed | undefined)[] = [];
  for (const { pid, tids, records } of tasks) {
    const first = threads.length;
    const examples = records === undefined ? [] : findExamples(tids, records);
    tids.forEach((tid, i) => {
      const example = examples[i];
      threads.push({ pid, tid });
      listed.push(records && example !== undefined ? { example: first + example, records } : undefined);
    });
  }
  return probingTable().use(threads.length, (table, columns) =>
    readingFiles.use(threads.length, (files, fileColumns) =>
      new ThreadProbe(table, columns, files, fileColumns).read(threads, listed),
    ),
  );
}

class ThreadProbe {
  /** What belongs to the thread of ours that traces them. */
  readonly #table: CallTable;
  readonly #columns: ThreadColumns;
  readonly #files: CallTable;
  readonly #fileColumns: FileColumns;
  readonly #statuses = new StatusParser();
  /** Of the thread before, and the last one that was not the same. */
  #xstate: Uint8Array = new Uint8Array(0);
  #otherXstate: Uint8Array = new Uint8Array(0);
  #cgroup = new Uint8Array(0);
  #cgroupText: string | undefined = undefined;

  constructor(table: CallTable, columns: ThreadColumns, files: CallTable, fileColumns: FileColumns) {
    this.#table = table;
    this.#columns = columns;
    this.#files = files;
    this.#fileColumns = fileColumns;
  }

  read(threads: readonly Stopped[], listed: readonly (Listed | undefined)[]): FrozenThread[] {
    const [table, files] = [this.#table, this.#files];
    const [tidAt, pidAt] = [table.at(0, this.#columns.tid), table.at(0, this.#columns.pid)];
    const { status, cgroup } = this.#fileColumns;
    const found: FrozenThread[] = [];
    using core = SecondCore.tryStart(listed.reduce((count, one) => count + (one === undefined ? 1 : 0), 0));
    const rowsMax = Math.min(table.rows, files.rows);
    for (let done = 0; done < threads.length; done += rowsMax) {
      const rows = Math.min(rowsMax, threads.length - done);
      let fileRows = 0;
      for (let row = 0; row < rows; row++) {
        const thread = threads[done + row] as Stopped;
        table.view.setUint32(row * table.rowBytes + tidAt, thread.tid, true);
        table.view.setUint32(row * table.rowBytes + pidAt, thread.pid, true);
        if (listed[done + row] !== undefined) continue;
        status.setPath(files, fileRows, statusPath(thread));
        cgroup.setPath(files, fileRows++, cgroupPath(thread));
      }
      table.run(rows);
      files.run(fileRows, core);
      let fileRow = 0;
      for (let row = 0; row < rows; row++) {
        const thread = threads[done + row] as Stopped;
        const one = listed[done + row];
        const seen = one === undefined ? this.#readFiles(fileRow++, thread) : likeExample(thread, one, found);
        found.push(this.#thread(row, thread, seen));
      }
    }
    return found;
  }

  #readFiles(row: number, thread: Stopped): SeenInFiles {
    const bytes = this.#fileColumns.status.bytes(this.#files, row, statusPath(thread));
    if (typeof bytes === 'number') throw unreadable(statusPath(thread), bytes);
    const status = this.#statuses.parse(bytes, statusPath(thread));
    return { status, cgroup: this.#cgroupOf(row, thread), alike: undefined };
  }

  #thread(row: number, stopped: Stopped, seen: SeenInFiles): FrozenThread {
    const { pid, tid } = stopped;
    const { rseq, dispatch, ...columns } = this.#columns;
    const table = this.#table;
    check('ptrace', table.result(row, columns.gotRegisters), `GETREGS, ${tid}`);
    check('ptrace', table.result(row, columns.gotMask), `GETSIGMASK, ${tid}`);
    const registersAt = table.at(row, columns.registers);
    const registers = new BigUint64Array(table.block.slice(registersAt, registersAt + USER_REGS_BYTES).buffer);
    const { entry, abortAddress } = readRseq(table, row, rseq, pid, register(registers, 'rip'));
    if (abortAddress !== undefined) setRegister(registers, 'rip', abortAddress);
    if (seen.status.seccomp !== 0) suspendSeccomp(tid);
    return {
      pid,
      tid,
      registers,
      signalMask: table.view.getBigUint64(table.at(row, columns.mask), true),
      status: seen.status,
      xstate: this.#xstateOf(row, tid),
      rseq: entry,
      dispatch: readSyscallDispatch(table, row, dispatch),
      cgroup: seen.cgroup,
      alike: seen.alike,
    };
  }

  #xstateOf(row: number, tid: number): Uint8Array {
    const table = this.#table;
    const { gotXstate, xstateIov, xstate } = this.#columns;
    check('ptrace', table.result(row, gotXstate), `GETREGSET xstate, ${tid}`);
    const at = table.at(row, xstate);
    const bytes = table.block.subarray(at, at + table.view.getUint32(table.at(row, xstateIov) + 8, true));
    if (areEqual(bytes, this.#xstate)) return this.#xstate;
    const isOther = areEqual(bytes, this.#otherXstate);
    const state = isOther ? this.#otherXstate : bytes.slice();
    this.#otherXstate = this.#xstate;
    this.#xstate = state;
    return state;
  }

  #cgroupOf(row: number, stopped: Stopped): string {
    const path = cgroupPath(stopped);
    const bytes = this.#fileColumns.cgroup.bytes(this.#files, row, path);
    // Without control groups there is no such file.
    if (typeof bytes === 'number') return '';
    if (this.#cgroupText === undefined || Buffer.compare(bytes, this.#cgroup) !== 0) {
      this.#cgroup = bytes.slice();
      this.#cgroupText = byteString(bytes);
    }
    return this.#cgroupText;
  }
}

/** What the files of /proc say of a thread. */
interface SeenInFiles {
  readonly status: Status;
  readonly cgroup: string;
  readonly alike: AlikeThread | undefined;
}

/** The same of one that is like another. */
function likeExample({ tid }: Stopped, { example, records }: Listed, found: readonly FrozenThread[]): SeenInFiles {
  const other = found[example] as FrozenThread;
  const start = records.start(tid) ?? 0;
  const isNamesake = records.hasSameName(start, records.start(other.tid) ?? 0);
  const name = isNamesake ? other.status.name : records.name(start);
  const status = { ...other.status, name, pid: tid, nsPid: [tid] };
  return { status, cgroup: other.cgroup, alike: { example: other, words: records.words, start } };
}

// Its list of children is read by this path too, so the kernel knows the names already.
const statusPath = ({ pid, tid }: Stopped) => `/proc/${pid}/task/${tid}/status`;
const cgroupPath = ({ pid, tid }: Stopped) => `/proc/${pid}/task/${tid}/cgroup`;

type ThreadColumns = ReturnType<typeof planColumns>;

function planColumns(row: Program, xstateBytes: number) {
  const [tid, pid] = [row.words(0), row.words(0)];
  const thread = row.wordAt(tid);
  const [registers, mask, xstate] = [row.reserve(USER_REGS_BYTES), row.reserve(8), row.reserve(xstateBytes)];
  const xstateIov = row.words(0, 0);
  const gotRegisters = row.call(SYS.ptrace, PTRACE_GETREGS, thread, 0, registers);
  const gotMask = row.call(SYS.ptrace, PTRACE_GETSIGMASK, thread, 8, mask);
  // The kernel overwrites the length with its own.
  row.store64(xstateIov, xstate);
  row.store64(row.at(xstateIov, 8), xstate.bytes);
  const gotXstate = row.call(SYS.ptrace, PTRACE_GETREGSET, thread, NT_X86_XSTATE, xstateIov);
  return {
    tid,
    pid,
    registers,
    gotRegisters,
    mask,
    gotMask,
    xstate,
    xstateIov,
    gotXstate,
    rseq: askRseq(row, row.wordAt(pid), thread),
    dispatch: askSyscallDispatch(row, thread),
  };
}

type FileColumns = ReturnType<typeof planFiles>;

function planFiles(row: Program) {
  return { status: new FileColumn(row, STATUS_BYTES), cgroup: new FileColumn(row, CGROUP_BYTES) };
}

/** The same in each run on processors with so much state; a start image may be of another one. */
let probing: { readonly xstateBytes: number; readonly table: KeptTable<ThreadColumns> } | undefined;

function probingTable(): KeptTable<ThreadColumns> {
  const xstateBytes = xstateBytesMax();
  if (probing?.xstateBytes !== xstateBytes) {
    probing = { xstateBytes, table: new KeptTable((row) => planColumns(row, xstateBytes)) };
  }
  return probing.table;
}

const readingFiles = new KeptTable(planFiles);

function unreadable(path: string, result: number): CriuError {
  return new CriuError({ object: path, action: `cannot be read (${errnoName(-result)})`, why: 'the task has gone' });
}

/** The length first: a single thread has nothing to be compared with, and the first use of Buffer takes 0.2 ms. */
function areEqual(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && Buffer.compare(one, other) === 0;
}
