/** How many CPUs this machine may have. */
import { readFile } from './syscalls/fs.ts';

/** "0-3" or "0,2-5": the numbers go up to the last one. */
export function possibleCpus(): number {
  return Number(/(\d+)\s*$/.exec(readFile('/sys/devices/system/cpu/possible'))?.[1] ?? 0) + 1;
}
