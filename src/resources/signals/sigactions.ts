/**
 * What a process does on each signal: rt_sigaction(2), one answer for each of the 62 signals that can have one. Threads
 * share them. The image keeps them in signal order, without SIGKILL and SIGSTOP.
 *
 * Lost: nothing.
 */

import { ABI_32, ABI_64, type Abi } from '../../agent/abi.ts';
import { CHECKS, kindFor, Ops } from '../../agent/ops.ts';
import type { Place, Program } from '../../agent/program.ts';
import { times } from '../../base/bytes.ts';
import { CriuError } from '../../base/errors.ts';
import type { SaEntry } from '../../image/gen/sa.ts';
import {
  _NSIG,
  KERNEL_SIGACTION,
  KERNEL_SIGACTION_32,
  KERNEL_SIGACTION_32_BYTES,
  KERNEL_SIGACTION_BYTES,
  SIG_DFL,
  SIG_IGN,
  SIGCHLD,
  SIGKILL,
  SIGSET_BYTES,
  SIGSTOP,
  signalName,
} from '../../linux/abi/signal.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import type { VisitResult } from '../../tracee/guest.ts';
import { putU32, putU64 } from '../task/words.ts';

/** The signals in image order. */
export const SETTABLE_SIGNALS: readonly number[] = times(_NSIG, (i) => i + 1).filter(
  (signal) => signal !== SIGKILL && signal !== SIGSTOP,
);

export interface SigactionsToken {
  readonly actions: Place;
}

/** Asks for all actions. */
export function inspectSigactions(program: Program): SigactionsToken {
  const actions = program.reserve(SETTABLE_SIGNALS.length * KERNEL_SIGACTION_BYTES);
  SETTABLE_SIGNALS.forEach((signal, i) => {
    program.call(SYS.rt_sigaction, signal, 0, program.at(actions, i * KERNEL_SIGACTION_BYTES), SIGSET_BYTES);
  });
  return { actions };
}

/**
 * The entries of `task_core_entry.sigactions`. Most actions are the default, which is one object for all of them. Which
 * kind of stack frame a handler gets the kernel does not tell; it is that of the task.
 */
export function describeSigactions(token: SigactionsToken, result: VisitResult, abi: Abi): SaEntry[] {
  const bytes = result.bytes(token.actions);
  const words = new BigUint64Array(bytes.slice().buffer);
  const compat_sigaction = abi.bits === 32;
  const byDefault: SaEntry = { ...DEFAULT, compat_sigaction };
  const entries: SaEntry[] = [];
  for (let i = 0; i < SETTABLE_SIGNALS.length; i++) {
    const first = (i * KERNEL_SIGACTION_BYTES) / 8;
    const sigaction = words[first + KERNEL_SIGACTION.handler / 8] ?? 0n;
    const flags = words[first + KERNEL_SIGACTION.flags / 8] ?? 0n;
    const restorer = words[first + KERNEL_SIGACTION.restorer / 8] ?? 0n;
    const mask = words[first + KERNEL_SIGACTION.mask / 8] ?? 0n;
    const isDefault = sigaction === 0n && flags === 0n && restorer === 0n && mask === 0n;
    entries.push(isDefault ? byDefault : { sigaction, flags, restorer, mask, compat_sigaction });
  }
  return entries;
}

/**
 * Sets all actions, and before that throws away what was queued while the task was built: SIGCHLD of zombies, SIGHUP and
 * SIGCONT of groups that lost their leader. Ignoring a signal removes it from all queues of the process, blocked or not
 * (kernel/signal.c, do_sigaction).
 *
 * Preconditions: all signals are blocked; the task's zombies are dead; no restored signal is queued yet.
 */
export function planSigactions(program: Program, entries: readonly SaEntry[]): void {
  if (entries.length !== SETTABLE_SIGNALS.length) {
    throw new CriuError({
      object: 'core image',
      action: `has ${entries.length} signal actions instead of ${SETTABLE_SIGNALS.length}`,
      why: 'the image is damaged or older than criu 2.11',
    });
  }
  if (last === undefined || !areSame(last.entries, entries)) last = { entries, ops: planAll(entries) };
  const { ops } = last;
  const places = new Map<Uint8Array, Place>();
  const placeOf = (action: Uint8Array): Place => {
    const place = places.get(action) ?? program.data(action);
    places.set(action, place);
    return place;
  };
  program.append(ops, ops.references.map(placeOf));
}

/**
 * The actions of the task before, and the ops for them, which refer to actions: most tasks of a tree have the
 * same. The entries of each run are objects of its own.
 */
let last: { readonly entries: readonly SaEntry[]; readonly ops: Ops<Uint8Array> } | undefined;

/** Entries that are the same in several tasks are one object. */
const areSame = (one: readonly SaEntry[], other: readonly SaEntry[]) => one.every((entry, i) => entry === other[i]);

function planAll(entries: readonly SaEntry[]): Ops<Uint8Array> {
  const ops = new Ops<Uint8Array>();
  const plan = (because: string, abi: Abi, signal: number, action: Uint8Array) =>
    ops.add(kindFor(abi), abi.calls.rt_sigaction, CHECKS.must, [signal, action, 0, SIGSET_BYTES], because);
  const ignore = sigactionBytes(IGNORE);
  const byDefault = sigactionBytes(DEFAULT);
  for (const signal of SETTABLE_SIGNALS) {
    // By default SIGCHLD is ignored too, but children that end later become zombies.
    plan(`clear ${signalName(signal)}`, ABI_64, signal, signal === SIGCHLD ? byDefault : ignore);
  }
  const actions = new Map<string, Uint8Array>();
  let before: { readonly entry: SaEntry; readonly action: Uint8Array } | undefined;
  entries.forEach((entry, i) => {
    const signal = SETTABLE_SIGNALS[i] ?? 0;
    // The call tells the kernel which kind of stack frame the handler gets (kernel/signal.c, sigaction_compat_abi).
    const abi = entry.compat_sigaction === true ? ABI_32 : ABI_64;
    const action = before !== undefined && isSame(entry, before.entry) ? before.action : actionOf(actions, abi, entry);
    plan(`set the action of ${signalName(signal)}`, abi, signal, action);
    before = { entry, action };
  });
  return ops;
}

function isSame(one: SaEntry, other: SaEntry): boolean {
  return (
    one.sigaction === other.sigaction &&
    one.flags === other.flags &&
    one.restorer === other.restorer &&
    one.mask === other.mask &&
    one.compat_sigaction === other.compat_sigaction
  );
}

/** Most actions are equal: the bytes of each different one are there once. */
function actionOf(actions: Map<string, Uint8Array>, abi: Abi, entry: SaEntry): Uint8Array {
  const key = `${abi.bits} ${entry.sigaction} ${entry.flags} ${entry.restorer} ${entry.mask}`;
  let action = actions.get(key);
  if (action === undefined) {
    action = abi.bits === 32 ? sigactionBytes32(entry) : sigactionBytes(entry);
    actions.set(key, action);
  }
  return action;
}

type Action = Pick<SaEntry, 'sigaction' | 'flags' | 'restorer' | 'mask'>;

const IGNORE: Action = { sigaction: BigInt(SIG_IGN), flags: 0n, restorer: 0n, mask: 0n };
const DEFAULT: Action = { sigaction: BigInt(SIG_DFL), flags: 0n, restorer: 0n, mask: 0n };

function sigactionBytes(action: Action): Uint8Array {
  const bytes = new Uint8Array(KERNEL_SIGACTION_BYTES);
  putU64(bytes, KERNEL_SIGACTION.handler, action.sigaction);
  putU64(bytes, KERNEL_SIGACTION.flags, action.flags);
  putU64(bytes, KERNEL_SIGACTION.restorer, action.restorer);
  putU64(bytes, KERNEL_SIGACTION.mask, action.mask);
  return bytes;
}

function sigactionBytes32(action: Action): Uint8Array {
  const bytes = new Uint8Array(KERNEL_SIGACTION_32_BYTES);
  putU32(bytes, KERNEL_SIGACTION_32.handler, Number(action.sigaction));
  putU32(bytes, KERNEL_SIGACTION_32.flags, Number(action.flags));
  putU32(bytes, KERNEL_SIGACTION_32.restorer, Number(action.restorer));
  putU64(bytes, KERNEL_SIGACTION_32.mask, action.mask);
  return bytes;
}
