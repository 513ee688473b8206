/**
 * The face of the harness for bun:test: `liveTest` is one round trip as a test, `liveCase` any test that needs the
 * machine. Both skip, and say why, where they can't run; with CRIU_TEST_NO_SKIP=1 that is a failure.
 */
import { test } from 'bun:test';
import { knownOnOriginal, notYet } from '../live/not-yet.ts';
import { findCompiler } from './build-program.ts';
import { isInterop, isOriginal } from './criu-command.ts';
import { cleanUp, type RoundTripOptions, roundTrip, SkippedByProgram } from './harness.ts';

/** A case gives up before the test runner does, so that it can still clean up. */
const caseTimeoutMs = 100_000;
const testTimeoutMs = 120_000;

/** Why no live test can run here, or undefined. */
function findObstacle(): string | undefined {
  if (process.getuid?.() !== 0) return 'checkpointing needs root';
  if (findCompiler() === undefined) return 'there is no C compiler to build the test programs';
  return undefined;
}

/** A test that needs root and a compiler. Its name is the key in the lists of not-yet.ts. */
export function liveCase(name: string, body: () => Promise<void>): void {
  if (isInterop) return;
  const listed = isOriginal ? knownOnOriginal[name] : notYet[name];
  if (listed !== undefined && process.env['RUN_NOT_YET'] !== '1') {
    test.skip(`${name} (${listed})`, () => {});
    return;
  }
  const obstacle = findObstacle();
  if (obstacle !== undefined && process.env['CRIU_TEST_NO_SKIP'] !== '1') {
    test.skip(`${name} (${obstacle})`, () => {});
    return;
  }
  test(name, () => runCase(name, obstacle, body), testTimeoutMs);
}

async function runCase(name: string, obstacle: string | undefined, body: () => Promise<void>): Promise<void> {
  if (obstacle !== undefined) throw new Error(`skipped, but CRIU_TEST_NO_SKIP=1: ${obstacle}`);
  const { promise: timedOut, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`gave up after ${caseTimeoutMs} ms`)), caseTimeoutMs);
  try {
    await Promise.race([body(), timedOut]);
  } catch (error) {
    if (!(error instanceof SkippedByProgram)) throw error;
    console.log(`skipped: ${name}: ${error.message}`);
  } finally {
    clearTimeout(timer);
    await cleanUp();
  }
}

export interface LiveTestOptions extends RoundTripOptions {
  /** Where it happens: a namespace of the test, for example. */
  readonly within?: (body: () => Promise<void>) => Promise<void>;
}

/** One program, dumped and restored three times unless the options say otherwise. */
export function liveTest(name: string, program: string, options: LiveTestOptions = {}): void {
  const { within = (inside) => inside() } = options;
  const body = () => within(() => roundTrip(program, options));
  if (!isInterop) liveCase(name, body);
  else if (options.leaveRunning !== true) test(name, () => runCase(name, findObstacle(), body), testTimeoutMs);
}
