/**
 * `criu check --tree PID`: whether a dump with these options would do. It asks all that a dump asks, and the tree stands still
 * for that moment; nothing is written.
 */
import { Freezer } from '../../dump/freeze.ts';
import { FreezerCgroup } from '../../dump/freezer-cgroup.ts';
import type { FrozenTree } from '../../dump/frozen-tree.ts';
import { checkDump } from '../../dump/inspect-tree.ts';
import { monotonicNs } from '../../linux/clock.ts';
import { forgetSignals, holdSignals, noteSignals } from '../../linux/interrupts.ts';
import { readFile } from '../../linux/syscalls/fs.ts';
import { Aftermath } from '../../resources/fd/aftermath.ts';
import { shortRunId } from '../../resources/network-lock/network-lock.ts';
import type { CommandContext } from '../command-context.ts';
import { DUMP_SIGNALS, failureOf, freezeInTime, freezeTimeoutMs, tryUnlock } from './dump-freeze.ts';
import { DumpNetwork } from './dump-network.ts';
import { dumpOptions, networkOptions } from './dump-options.ts';

/** Returns the exit status 0. Throws CriuErrors with everything that speaks against a dump. */
export function checkTreeOf(context: CommandContext): number {
  const { options, log } = context;
  const cgroup = options.freezeCgroup === undefined ? undefined : new FreezerCgroup(options.freezeCgroup);
  const timeoutMs = freezeTimeoutMs(options);
  const freezer = new Freezer(log.child('seize'), timeoutMs, cgroup);
  using _signals = { [Symbol.dispose]: () => forgetSignals(DUMP_SIGNALS) };
  const runId = shortRunId(readFile('/proc/sys/kernel/random/uuid'));
  const aftermath = new Aftermath();
  // Scripts are for work that is done.
  using network = new DumpNetwork(networkOptions(context, runId, () => {}));
  noteSignals(DUMP_SIGNALS);
  const begin = monotonicNs();
  let tree: FrozenTree;
  try {
    tree = freezeInTime(freezer, options.treePid, timeoutMs);
    checkDump(tree, { ...dumpOptions(context, cgroup), runId, aftermath, ...network.freeze() }, log);
  } catch (error) {
    throw failureOf(error);
  } finally {
    holdSignals();
    tryUnlock(network, log);
    aftermath.rollback();
    freezer.release();
  }
  const others = tree.tasks.length - 1;
  const what = others === 0 ? 'can be dumped. It' : `can be dumped with its ${others} descendants. They`;
  log.message(`${tree.root.label} ${what} stood still for ${((monotonicNs() - begin) / 1e6).toFixed(1)} ms.`);
  return 0;
}
