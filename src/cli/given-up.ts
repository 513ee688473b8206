/** Work that somebody ends by a signal: it is given up in good order. */
import { CriuError } from '../base/errors.ts';
import { SIGHUP, SIGINT, SIGTERM, signalName } from '../linux/abi/signal.ts';
import type { Interrupted } from '../linux/interrupts.ts';

export const ENDING_SIGNALS = [SIGINT, SIGTERM, SIGHUP];

/** The error that says so, with the exit status of a shell: 128 and the signal. */
export function givenUp({ signal }: Interrupted, outcome: string): CriuError {
  return new CriuError({ action: `given up because of ${signalName(signal)}; ${outcome}`, exitCode: 128 + signal });
}
