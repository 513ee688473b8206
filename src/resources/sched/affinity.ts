/**
 * CPUs that a thread chose to run on: sched_setaffinity(2). The kernel doesn't tell a choice from what the cpuset allows,
 * so a mask is taken as chosen when it is smaller than the cpuset of the thread. Otherwise nothing is kept: a task that
 * may use every CPU of this machine should do so on the next one.
 */

import type { Program } from '../../agent/program.ts';
import { perRun } from '../../base/per-run.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { tryReadFile } from '../../linux/syscalls/fs.ts';
import { tryHexBigint } from '../../proc/text.ts';

const onlineMask = perRun(() => parseList(text('/sys/devices/system/cpu/online') ?? ''));
/** What a thread has that may run everywhere: so most have it, and it is parsed once. */
const everywhere = perRun<{ line?: string }>(() => ({}));

/** @param cpusAllowed the line of /proc/PID/status. Undefined: the thread has all that it may have. */
export function chosenAffinity(tid: number, cpusAllowed: string): Uint8Array | undefined {
  if (cpusAllowed === everywhere().line) return undefined;
  const mask = parseMask(cpusAllowed);
  if (mask === 0n || isSubset(onlineMask(), mask)) {
    everywhere().line = cpusAllowed;
    return undefined;
  }
  const cpuset = cpusetMask(tid);
  if (cpuset !== undefined && isSubset(cpuset & onlineMask(), mask)) return undefined;
  return maskBytes(mask);
}

/** The CPUs of the cpuset that a thread is in; undefined when there are no cpusets. */
function cpusetMask(tid: number): bigint | undefined {
  const lines = (text(`/proc/${tid}/cgroup`) ?? '').split('\n');
  const [legacy, unified] = [/^\d+:([^:]*,)?cpuset(,[^:]*)?:(.*)$/, /^0::(.*)$/].map((pattern) =>
    lines.map((line) => pattern.exec(line)?.at(-1)).find((path) => path !== undefined),
  );
  if (legacy !== undefined) return nearest('/sys/fs/cgroup/cpuset', legacy, 'cpuset.effective_cpus');
  return unified === undefined ? undefined : nearest('/sys/fs/cgroup', unified, 'cpuset.cpus.effective');
}

/** The controller may be off in the last folders of a path: then the cpuset is that of the folder above. */
function nearest(mount: string, path: string, name: string): bigint | undefined {
  for (let folder = path === '/' ? '' : path; ; folder = folder.slice(0, folder.lastIndexOf('/'))) {
    const list = text(`${mount}${folder}/${name}`);
    if (list !== undefined) return parseList(list);
    if (folder === '') return undefined;
  }
}

function text(path: string): string | undefined {
  const content = tryReadFile(path);
  return typeof content === 'string' ? content.trim() : undefined;
}

const isSubset = (part: bigint, whole: bigint) => (part & ~whole) === 0n;

/** Parses groups of hexadecimal digits, highest first: "f,ffffffff". 0 when the text is something else. */
export function parseMask(groups: string): bigint {
  return tryHexBigint(groups.replaceAll(',', '')) ?? 0n;
}

/** Parses "0-3,8". Pieces of another form are left out. */
export function parseList(list: string): bigint {
  let mask = 0n;
  for (const piece of list.split(',')) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(piece);
    if (match === null) continue;
    const [first, last] = [Number(match[1]), Number(match[2] ?? match[1])];
    if (last >= first) mask |= ((1n << BigInt(last - first + 1)) - 1n) << BigInt(first);
  }
  return mask;
}

/** As sched_setaffinity takes it: whole words of 64 bits, lowest CPU first. */
export function maskBytes(mask: bigint): Uint8Array {
  const words: bigint[] = [];
  for (let rest = mask; rest !== 0n; rest >>= 64n) words.push(BigInt.asUintN(64, rest));
  return new Uint8Array(new BigUint64Array(words).buffer);
}

/** A machine with fewer CPUs, or a smaller cpuset, says EINVAL: then the thread runs where it may. */
export function planAffinity(program: Program, mask: Uint8Array | undefined): void {
  if (mask !== undefined) program.call(SYS.sched_setaffinity, 0, mask.length, program.data(mask));
}
