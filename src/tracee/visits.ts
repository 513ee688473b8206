/**
 * Lets stopped threads execute programs that have been laid out for them, all at once, and puts them back to where they
 * were: the part of guest.ts that is done for each thread, as tables of system calls.
 */
import { ABI_64 } from '../agent/abi.ts';
import type { Place, Program, Result } from '../agent/program.ts';
import { setWord } from '../base/bytes.ts';
import { CriuError, SyscallError } from '../base/errors.ts';
import { errnoName } from '../linux/abi/errno.ts';
import { PTRACE_CONT, PTRACE_SETREGS, PTRACE_SETSIGMASK, USER_REGS, USER_REGS_BYTES } from '../linux/abi/ptrace.ts';
import { SIGSTOP } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { type CallTable, KeptTable } from './call-table.ts';
import { type GuestThread, threadDied, writeSignalMask } from './guest-thread.ts';
import { waitForAll } from './many-threads.ts';
import { readRegisters, register, setRegister, writeRegisters } from './registers.ts';
import { classify, resume } from './stop.ts';
import { goToSystemCall, type PutOffStops, waitForSystemCall } from './trampoline.ts';

const SIGSET_BYTES = 8;
/** The agent is 64-bit code in every task. */
const AGENT_CS = Number(ABI_64.codeSegment);
const ALL_SIGNALS = 0xffff_ffff_ffff_ffffn;

/** A thread and its program. */
export interface PlannedVisit {
  readonly thread: GuestThread;
  /** The agent's code, the first op of the program, and the op that ends it by sending the marker. */
  readonly code: number;
  readonly start: number;
  readonly end: number;
  /** The signal that marks the end; undefined when the thread would take any for itself: then it is stepped. */
  readonly marker: number | undefined;
  readonly putOff: PutOffStops;
}

/** Returns when all are back; `failed` is told who is not. */
export function runVisits<V extends PlannedVisit>(
  visits: readonly V[],
  failed: (visit: V, error: CriuError | SyscallError) => void,
): void {
  const marked = visits.filter(({ marker }) => marker !== undefined);
  const lost = new Set<PlannedVisit>();
  const lose = (visit: PlannedVisit, error: CriuError | SyscallError) => {
    lost.add(visit);
    failed(visit as V, error);
  };
  start(marked, lose);
  const running = marked.filter((visit) => !lost.has(visit));
  const tids = running.map(({ thread }) => thread.tid);
  waitForAll(tids, (i, status) => isBack(running[i] as PlannedVisit, status, lose));
  for (const visit of visits) if (visit.marker === undefined) tryStep(visit, lose);
  finish(
    visits.filter((visit) => !lost.has(visit)),
    lose,
  );
}

interface RegisterColumns {
  readonly tid: Place;
  readonly registers: Place;
  readonly mask: Place;
  readonly set: Result;
}

function start(visits: readonly PlannedVisit[], lose: (visit: PlannedVisit, error: SyscallError) => void): void {
  setAll(starting, visits, lose, (table, i, visit, columns) => {
    const at = table.at(i, columns.registers);
    table.view.setBigUint64(table.at(i, columns.mask), maskOf(visit), true);
    setWord(table.view, at + USER_REGS.rip * 8, visit.code);
    setWord(table.view, at + USER_REGS.r15 * 8, visit.start);
    setWord(table.view, at + USER_REGS.orig_rax * 8, -1);
    setWord(table.view, at + USER_REGS.cs * 8, AGENT_CS);
  });
}

const starting = new KeptTable((row) => {
  const columns = planColumns(row);
  const { tid, registers, mask } = columns;
  // Registers before the mask: see guest.ts.
  const set = row.call(SYS.ptrace, PTRACE_SETREGS, row.wordAt(tid), 0, registers);
  row.call(SYS.ptrace, PTRACE_SETSIGMASK, row.wordAt(tid), SIGSET_BYTES, mask);
  row.call(SYS.ptrace, PTRACE_CONT, row.wordAt(tid), 0, 0);
  return { ...columns, set };
});

const planColumns = (row: Program) => ({
  tid: row.words(0),
  registers: row.reserve(USER_REGS_BYTES),
  mask: row.reserve(SIGSET_BYTES),
});

/** Signals are blocked but for the marker. */
const maskOf = ({ marker }: PlannedVisit) =>
  marker === undefined ? ALL_SIGNALS : ALL_SIGNALS & ~(1n << BigInt(marker - 1));

/** Registers and masks are what they were. */
function finish(visits: readonly PlannedVisit[], lose: (visit: PlannedVisit, error: SyscallError) => void): void {
  setAll(finishing, visits, lose, (table, i, { thread }, { mask }) => {
    table.view.setBigUint64(table.at(i, mask), thread.signalMask, true);
  });
}

const finishing = new KeptTable((row) => {
  const columns = planColumns(row);
  const { tid, registers, mask } = columns;
  row.call(SYS.ptrace, PTRACE_SETSIGMASK, row.wordAt(tid), SIGSET_BYTES, mask);
  return { ...columns, set: row.call(SYS.ptrace, PTRACE_SETREGS, row.wordAt(tid), 0, registers) };
});

/** Executes a row for each thread, with its own registers in the column but for what `change` makes of them. */
function setAll(
  kept: KeptTable<RegisterColumns>,
  visits: readonly PlannedVisit[],
  lose: (visit: PlannedVisit, error: SyscallError) => void,
  change: (table: CallTable, row: number, visit: PlannedVisit, columns: RegisterColumns) => void,
): void {
  kept.use(visits.length, (table, columns) => {
    const take = (i: number, index: number) => {
      const result = table.result(i, columns.set);
      const visit = visits[index] as PlannedVisit;
      if (result < 0)
        lose(visit, new SyscallError('ptrace', -result, errnoName(-result), `SETREGS, ${visit.thread.tid}`));
    };
    const fill = (i: number, index: number) => {
      const visit = visits[index] as PlannedVisit;
      const own = visit.thread.registers;
      table.block.set(new Uint8Array(own.buffer, own.byteOffset, USER_REGS_BYTES), table.at(i, columns.registers));
      change(table, i, visit, columns);
    };
    const tids = visits.map(({ thread }) => thread.tid);
    table.runFor(tids, columns.tid, take, fill);
  });
}

/** Whether the marker has come, or nothing will. False: it was let go again. */
function isBack(visit: PlannedVisit, status: number, lose: (visit: PlannedVisit, error: CriuError) => void): boolean {
  const { thread, marker, putOff } = visit;
  const stop = classify(status);
  if (stop === 'gone') {
    lose(visit, threadDied(thread));
    return true;
  }
  if (stop.kind === 'signal' && stop.signal === marker) return true;
  if (stop.kind === 'signal' && stop.signal !== SIGSTOP) {
    lose(visit, threadDied(thread, stop.signal));
    return true;
  }
  // SIGSTOP can't be blocked. It is put off until the thread is itself again.
  resume(thread.tid);
  if (stop.kind === 'signal') putOff.add(thread.tid);
  return false;
}

function tryStep(visit: PlannedVisit, lose: (visit: PlannedVisit, error: CriuError | SyscallError) => void): void {
  try {
    step(visit);
  } catch (error) {
    if (!(error instanceof CriuError || error instanceof SyscallError)) throw error;
    lose(visit, error);
  }
}

/**
 * Runs system call by system call until the one at the end is done: for a thread that catches every marker. A thread that
 * got its own registers at the entry of a call would make the call that they say it was in, a second time.
 */
function step(visit: PlannedVisit): void {
  const { thread, putOff, end } = visit;
  const registers = thread.registers.slice();
  setRegister(registers, 'rip', visit.code);
  setRegister(registers, 'r15', visit.start);
  setRegister(registers, 'orig_rax', -1);
  setRegister(registers, 'cs', AGENT_CS);
  writeRegisters(thread.tid, registers);
  writeSignalMask(thread.tid, maskOf(visit));
  const toNextStop = () => {
    goToSystemCall(thread.tid);
    waitForSystemCall(thread, putOff);
  };
  do {
    toNextStop(); // at its entry
    toNextStop(); // at its exit
  } while (Number(register(readRegisters(thread.tid), 'r15')) < end);
}
