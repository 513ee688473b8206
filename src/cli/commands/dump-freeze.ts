/** A tree is frozen for a dump, or to look at it: how long that may take, and how it ends early. */
import { errorText } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { type Freezer, notInTime } from '../../dump/freeze.ts';
import type { FrozenTree } from '../../dump/frozen-tree.ts';
import { SIGALRM } from '../../linux/abi/signal.ts';
import { holdWaits, Interrupted, setAlarm } from '../../linux/interrupts.ts';
import type { CriuOptions } from '../../options/criu-options.ts';
import { ENDING_SIGNALS, givenUp } from '../given-up.ts';
import type { DumpNetwork } from './dump-network.ts';

const DEFAULT_TIMEOUT_SECONDS = 10;

export const freezeTimeoutMs = ({ timeoutSeconds }: Readonly<CriuOptions>): number =>
  (timeoutSeconds > 0 ? timeoutSeconds : DEFAULT_TIMEOUT_SECONDS) * 1000;

/** A dump ends in good order on these; SIGALRM is the end of --timeout. */
export const DUMP_SIGNALS = [...ENDING_SIGNALS, SIGALRM];

/** Freezes a tree; only as long as that takes, signals interrupt a wait. Throws CriuError and Interrupted. */
export function freezeInTime(freezer: Freezer, rootPid: number, timeoutMs: number): FrozenTree {
  setAlarm(Math.ceil(timeoutMs / 1000));
  const tree = freezer.freeze(rootPid);
  setAlarm(0);
  holdWaits();
  return tree;
}

/** What is told of an error that may be an interruption. The tree goes on as before. */
export function failureOf(error: unknown): unknown {
  if (!(error instanceof Interrupted)) return error;
  return error.signal === SIGALRM ? notInTime() : givenUp(error, 'the tree runs as before');
}

/** After a failure, which is what the user has to know of. */
export function tryUnlock(network: DumpNetwork, log: Logger): void {
  try {
    network.unlock();
  } catch (error) {
    log.error(errorText(error));
  }
}
