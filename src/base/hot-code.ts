/**
 * What the runtime's compilers are told. A criu that was started plainly has thresholds that are a hundred times the usual
 * ones, for most code of a small dump or restore runs once or twice. Where there are thousands of descriptors, mappings or
 * threads, code for each of them is worth being compiled, beside it on another CPU. In a start image it has been compiled.
 */
import { invocation } from './invocation.ts';
import { perRun } from './per-run.ts';

/** From so many things of a kind on. */
const MANY = 500;
/** Times the usual thresholds; the best of 1 to 100 with 1,000 sockets, 10,000 files and 10,000 mappings. */
const SCALE = 4;

const compilers = perRun(() => ({ areTold: false }));

/** To be called when it is known how many things of a kind there are. On Node.js it does nothing. */
export function expectMany(count: number): void {
  if (count < MANY || compilers().areTold || invocation().isWarm) return;
  compilers().areTold = true;
  globalThis.Bun?.unsafe.setJITPolicy(SCALE);
}
