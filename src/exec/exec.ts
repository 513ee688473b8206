/**
 * `criu exec`: one system call in the context of another task, by an agent program in its main thread. The other
 * threads run on meanwhile.
 *
 * Lost: nothing of the task, except what the call itself changes. A call that blocks holds the main thread as long.
 */
import { Program } from '../agent/program.ts';
import { assert, CriuError } from '../base/errors.ts';
import { errnoName } from '../linux/abi/errno.ts';
import { PROT_EXEC } from '../linux/abi/mman.ts';
import { readFile, tryReadFile } from '../linux/syscalls/fs.ts';
import { getpid } from '../linux/syscalls/process.ts';
import { parseMaps } from '../proc/maps.ts';
import { parseStatus } from '../proc/status.ts';
import { writeSyscallDispatch } from '../resources/task/syscall-dispatch.ts';
import { readThreads } from '../resources/task/thread-probe.ts';
import { Guest } from '../tracee/guest.ts';
import type { GuestThread } from '../tracee/guest-thread.ts';
import { detach, interrupt, seize, waitForTrap } from '../tracee/stop.ts';
import type { Call } from './parse-call.ts';

export interface CallResult {
  /** What the kernel returned: the result, or −errno. */
  readonly value: number;
  /** Content of the buffers, by the number of the argument (from 0). */
  readonly buffers: readonly { readonly index: number; readonly bytes: Uint8Array }[];
}

/** Throws CriuError when the task cannot be stopped or gives the agent no place. */
export function callInTask(pid: number, call: Call): CallResult {
  const object = `task ${pid}`;
  if (pid === getpid()) throw new CriuError({ object, action: 'is criu itself' });
  const state = tryReadFile(`/proc/${pid}/status`);
  if (typeof state === 'number') throw new CriuError({ object, action: 'no such task', crErrno: -state });
  if (parseStatus(state).state === 'Z') throw new CriuError({ object, action: 'is dead already, a zombie' });
  // The guest tells stops at system calls from traps of the program.
  if (seize(pid) === 'gone' || stopThread(pid) === 'gone') throw new CriuError({ object, action: 'has just ended' });
  try {
    return callInStopped(pid, call);
  } finally {
    detach(pid);
  }
}

function stopThread(pid: number): 'stopped' | 'gone' {
  interrupt(pid);
  return waitForTrap(pid) === 'gone' ? 'gone' : 'stopped';
}

function callInStopped(pid: number, call: Call): CallResult {
  const [thread] = readThreads([{ pid, tids: [pid] }]);
  assert(thread !== undefined, 'one thread was asked for');
  const { dispatch, status } = thread;
  if (dispatch !== undefined) writeSyscallDispatch(pid, undefined);
  try {
    return visit(thread, status.sigCgt, call);
  } finally {
    if (dispatch !== undefined) writeSyscallDispatch(pid, dispatch);
  }
}

function visit(thread: GuestThread, caughtSignals: bigint, call: Call): CallResult {
  const program = new Program();
  const places = call.args.map((arg) => {
    if (arg.kind === 'number') return arg.value;
    return arg.kind === 'text' ? program.string(arg.text) : program.reserve(arg.bytes);
  });
  const result = program.call(call.nr, ...places);
  using guest = new Guest(thread, placesFor(thread.pid), caughtSignals);
  const [seen] = guest.run([{ thread, program }]);
  if (seen === undefined) throw new RangeError('one visit has one result');
  const buffers = places.flatMap((place, index) => {
    if (typeof place === 'bigint' || call.args[index]?.kind !== 'buffer') return [];
    return [{ index, bytes: seen.bytes(place).slice() }];
  });
  return { value: seen.result(result), buffers };
}

/** Private executable mappings, the vdso first. */
function placesFor(pid: number): { start: number; end: number }[] {
  const mappings = parseMaps(readFile(`/proc/${pid}/maps`));
  const isFit = ({ prot, isShared, path }: (typeof mappings)[number]) =>
    (prot & PROT_EXEC) !== 0 && !isShared && path !== '' && path !== '[vsyscall]';
  const fit = mappings.filter(isFit);
  return [...fit.filter(({ path }) => path === '[vdso]'), ...fit.filter(({ path }) => path.startsWith('/'))];
}

/** "Syscall write (1) returned -9 (EBADF)". */
export function describeResult(call: Call, value: number): string {
  const error = value < 0 && value >= -4095 ? ` (${errnoName(-value)})` : '';
  return `Syscall ${call.name} (${call.nr}) returned ${value}${error}`;
}

const LINE = 16;

/** Bytes as lines of 16: offset, hexadecimal, text. */
export function hexDump(bytes: Uint8Array): string[] {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += LINE) {
    const part = [...bytes.subarray(at, at + LINE)];
    const hex = part.map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    const text = part.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.')).join('');
    lines.push(`${at.toString(16).padStart(8, '0')}: ${hex.padEnd(LINE * 3 - 1)} |${text}|`);
  }
  return lines;
}
