/**
 * The last steps of a restore: every thread gets the registers it had, the agent disappears, and the tasks run.
 *
 * Until here all tasks are under PTRACE_O_EXITKILL: if criu dies, nothing is left of them.
 */
import type { Abi } from '../agent/abi.ts';
import { Program } from '../agent/program.ts';
import { assert, CriuError } from '../base/errors.ts';
import type { CoreEntry } from '../image/gen/core.ts';
import type { ThreadInfoX86, UserX86FpregsEntry } from '../image/gen/core-x86.ts';
import {
  NT_X86_XSTATE,
  PTRACE_GETREGSET,
  PTRACE_SETREGS,
  PTRACE_SETREGSET,
  PTRACE_SETSIGMASK,
  PTRACE_SYSCALL,
  USER_REGS_BYTES,
} from '../linux/abi/ptrace.ts';
import { SIGTRAP } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { check } from '../linux/kernel.ts';
import { ptrace, ptraceRegset } from '../linux/syscalls/process.ts';
import { putRegisters } from '../resources/registers/registers.ts';
import { writeTls } from '../resources/registers/tls.ts';
import { assembleXstate } from '../resources/registers/xstate.ts';
import { CallTable, rowsFor } from '../tracee/call-table.ts';
import { readMemory } from '../tracee/memory.ts';
import { readRegisters, register, setRegister, writeRegisters } from '../tracee/registers.ts';
import type { Steps } from '../tracee/steps.ts';
import { waitForStop } from '../tracee/stop.ts';
import type { RestoreTask, RestoreThread } from './restore-tree.ts';

const probe = new Uint8Array(64 * 1024);

/** Size of the XSAVE area that PTRACE_SETREGSET of this kernel takes. */
function xstateSize(tid: number): number {
  return check('ptrace', ptraceRegset(PTRACE_GETREGSET, tid, NT_X86_XSTATE, probe), `GETREGSET, ${tid}`);
}

/** From so many threads on it pays that they inherit it. */
const MANY_ALIKE = 8;

/** The FPU state that most threads of a task have but the leader, when they are many. */
function commonFpu({ threads }: RestoreTask): UserX86FpregsEntry | undefined {
  const counts = new Map<UserX86FpregsEntry, number>();
  let common: UserX86FpregsEntry | undefined;
  let most = MANY_ALIKE - 1;
  for (let i = 1; i < threads.length; i++) {
    const fpregs = (threads[i] as RestoreThread).core.thread_info?.fpregs;
    if (fpregs === undefined) continue;
    // Images that are alike share their parts.
    const count = (counts.get(fpregs) ?? 0) + 1;
    counts.set(fpregs, count);
    if (count > most) [common, most] = [fpregs, count];
  }
  return common;
}

/** Gives a stopped leader what most of the threads that it is to make have: they inherit it, and the agent leaves it alone. */
export function lendFpu(task: RestoreTask): void {
  const fpregs = commonFpu(task);
  if (fpregs === undefined) return;
  const { pid } = task;
  const area = assembleXstate(fpregs, new Map(), xstateSize(pid));
  check('ptrace', ptraceRegset(PTRACE_SETREGSET, pid, NT_X86_XSTATE, area), `SETREGSET, ${pid}`);
}

/** Gives all threads of stopped tasks the registers, FPU state and signal mask of their images. */
export function writeThreadStates(tasks: readonly RestoreTask[]): void {
  const lacking = tasks.flatMap((task) => {
    const lent = task.threads.length > MANY_ALIKE ? commonFpu(task) : undefined;
    const hasIt = ({ thread_info: info }: CoreEntry) => info?.fpregs === lent && info?.xstate_ext.length === 0;
    return lent === undefined ? task.threads : task.threads.filter(({ core }, i) => i === 0 || !hasIt(core));
  });
  writeFpuStates(lacking);
  writeRegisterStates(tasks.flatMap(({ threads }) => threads));
}

function infoOf({ tid, core: { thread_info } }: RestoreThread): ThreadInfoX86 {
  if (thread_info !== undefined) return thread_info;
  throw new CriuError({ object: `core-${tid}.img`, action: 'has no registers', why: 'thread_info is missing' });
}

function writeFpuStates(threads: readonly RestoreThread[]): void {
  const bytes = xstateSize(threads[0]?.tid ?? 0);
  const row = new Program();
  const [tid, xstate, iov] = [row.words(0), row.reserve(bytes), row.words(0, bytes)];
  row.store64(iov, xstate);
  const set = row.call(SYS.ptrace, PTRACE_SETREGSET, row.wordAt(tid), NT_X86_XSTATE, iov);
  const table = new CallTable(row, rowsFor(threads.length));
  let fpregs: UserX86FpregsEntry | undefined;
  let area: Uint8Array = new Uint8Array(0);
  /** What each row has from the thread before. */
  const areas: Uint8Array[] = [];
  const fill = (i: number, index: number) => {
    const info = infoOf(threads[index] as RestoreThread);
    if (info.fpregs !== fpregs || info.xstate_ext.length > 0) {
      const extended = new Map(info.xstate_ext.map(({ bit, content }) => [bit, content]));
      area = assembleXstate(info.fpregs, extended, bytes);
      fpregs = info.fpregs;
    }
    if (areas[i] !== area) table.block.set(area, table.at(i, xstate));
    areas[i] = area;
  };
  const tids = threads.map((thread) => thread.tid);
  const take = (i: number, index: number) =>
    check('ptrace', table.result(i, set), `FPU state of thread ${tids[index]}`);
  table.runFor(tids, tid, take, fill);
}

function writeRegisterStates(threads: readonly RestoreThread[]): void {
  const row = new Program();
  const [tid, registers, mask] = [row.words(0), row.reserve(USER_REGS_BYTES), row.reserve(SIGSET_BYTES)];
  const calls = [
    row.call(SYS.ptrace, PTRACE_SETREGS, row.wordAt(tid), 0, registers),
    row.call(SYS.ptrace, PTRACE_SETSIGMASK, row.wordAt(tid), SIGSET_BYTES, mask),
  ];
  const table = new CallTable(row, rowsFor(threads.length));
  const words = new BigUint64Array(table.block.buffer, 0, table.block.length >> 3);
  const fill = (i: number, index: number) => {
    const thread = threads[index] as RestoreThread;
    const { thread_core, tc } = thread.core;
    putRegisters(words, table.at(i, registers) / 8, infoOf(thread).gpregs);
    words[table.at(i, mask) / 8] = thread_core?.blk_sigset ?? tc?.blk_sigset ?? 0n;
  };
  const take = (i: number, index: number) => {
    const { tid: number, core } = threads[index] as RestoreThread;
    for (const call of calls) check('ptrace', table.result(i, call), `registers of thread ${number}`);
    writeTls(number, core.thread_info?.tls ?? []);
  };
  table.runFor(
    threads.map((thread) => thread.tid),
    tid,
    take,
    fill,
  );
}

const SIGSET_BYTES = 8;

/** So much of a mapping is searched. */
const SEARCH_BYTES_MAX = 1 << 20;

/** An instruction for system calls in executable memory of the task: in the first of the ranges that has one. */
export function findSyscall(
  pid: number,
  executable: readonly { start: number; end: number }[],
  { callInstruction: [first, second] }: Abi,
): number | undefined {
  for (const { start, end } of executable) {
    const code = readMemory(pid, start, Math.min(end - start, SEARCH_BYTES_MAX));
    for (let at = code.indexOf(first); at >= 0; at = code.indexOf(first, at + 1)) {
      if (code[at + 1] === second) return start + at;
    }
  }
  return undefined;
}

/** Removes the agent's home from a task: munmap by its leader, through an instruction outside of it. */
export function unmapHome(
  pid: number,
  syscallAt: number,
  home: { address: number; bytes: number },
  { calls, argumentRegisters: [first, second] }: Abi,
): Steps {
  const go = () => check('ptrace', ptrace(PTRACE_SYSCALL, pid), `SYSCALL, ${pid}`);
  const arrive = () => {
    const stop = waitForStop(pid);
    const isThere = stop !== 'gone' && stop.kind === 'signal' && (stop.signal & ~0x80) === SIGTRAP;
    assert(isThere, `task ${pid} stops at munmap`);
  };
  return [
    () => {
      const registers = readRegisters(pid);
      setRegister(registers, 'rip', syscallAt);
      setRegister(registers, 'rax', calls.munmap);
      setRegister(registers, first, home.address);
      setRegister(registers, second, home.bytes);
      setRegister(registers, 'orig_rax', -1n);
      writeRegisters(pid, registers);
      go();
    },
    () => {
      arrive();
      go();
    },
    () => {
      arrive();
      check('munmap', Number(BigInt.asIntN(64, register(readRegisters(pid), 'rax'))), `the agent of task ${pid}`);
    },
  ];
}
