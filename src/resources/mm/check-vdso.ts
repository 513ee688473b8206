/** Compares the vdso that a tree had with the one of this kernel. */
import { CriuError } from '../../base/errors.ts';
import { VMA_AREA_VDSO } from '../../image/vma-status.ts';
import { AT_SYSINFO_EHDR } from '../../linux/abi/auxvec.ts';
import { memoryAt } from '../../linux/kernel.ts';
import { readFile, tryReadFileBytes } from '../../linux/syscalls/fs.ts';
import { getpid } from '../../linux/syscalls/process.ts';
import { parseAuxv } from '../../proc/auxv.ts';
import type { RestoreTask } from '../../restore/restore-tree.ts';
import { tryReadMemory } from '../../tracee/memory.ts';
import { MappedFiles } from './fill-memory.ts';
import { cut } from './pages-image.ts';
import { vdsoPieces } from './restore-vdso.ts';
import { findMovedSymbols, parseVdsoSymbols } from './vdso-symbols.ts';

/**
 * Throws CriuError when the functions of the dumped vdso are not where the one of this kernel has them, which `readOurs` reads
 * when it is told what is looked for; undefined when there is none. `tasks` are of one kind (agent/abi.ts), each of which has
 * a vdso of its own. One of them is looked at: all of a tree have run on the same kernel.
 */
export function checkVdso(
  tasks: readonly RestoreTask[],
  readOurs: (theirs: Uint8Array) => Uint8Array | undefined,
): void {
  const task = tasks.find(({ special }) => special.some(({ status }) => (status & VMA_AREA_VDSO) !== 0));
  const vma = task?.special.find(({ status }) => (status & VMA_AREA_VDSO) !== 0);
  if (task === undefined || vma === undefined) return;
  const bytes = vma.end - vma.start;
  const [run, ...others] = cut(task.runs, vma.start, bytes) ?? [];
  if (run === undefined || others.length > 0) return;
  using files = new MappedFiles();
  const theirs = files.view(run);
  const ours = readOurs(theirs);
  if (ours === undefined || isSame(theirs, ours)) return;
  const wanted = parseVdsoSymbols(theirs);
  const moved = wanted === undefined ? [] : findMovedSymbols(wanted, parseVdsoSymbols(ours) ?? new Map());
  if (moved.length === 0) return;
  throw new CriuError({
    object: task.label,
    action: "cannot be restored: this kernel's vdso is another one",
    why: `in it ${moved.join(', ')} are elsewhere or missing, and the task may call them where they were`,
    remedy: 'restore on the kernel version that the task was dumped on',
  });
}

/**
 * That of our own process, which has 64 bits. criu has hundreds of mappings to be read, so it is looked first at where the kernel
 * has put it; a start image may have been mapped over it since then.
 */
export function readOwnVdso(theirs: Uint8Array): Uint8Array | undefined {
  const quick = readOwnMemory(theirs.length);
  if (quick !== undefined && isSame(theirs, quick)) return quick;
  const code = vdsoPieces(readFile('/proc/self/maps')).find(({ name }) => name === '[vdso]');
  return code === undefined ? undefined : memoryAt(code.start, code.end - code.start);
}

/** So many bytes from where our vdso was, if they can be read. */
function readOwnMemory(bytes: number): Uint8Array | undefined {
  const auxv = tryReadFileBytes('/proc/self/auxv');
  const pair =
    typeof auxv === 'number' ? undefined : parseAuxv(auxv).find(([type]) => type === BigInt(AT_SYSINFO_EHDR));
  return pair === undefined ? undefined : tryReadMemory(getpid(), Number(pair[1]), bytes);
}

/** Two pages or three: for so little the first use of Buffer would take longer. Both begin with a page. */
function isSame(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return false;
  const words = new Uint32Array(one.buffer, one.byteOffset, one.length >> 2);
  const others = new Uint32Array(other.buffer, other.byteOffset, other.length >> 2);
  for (let i = 0; i < words.length; i++) if (words[i] !== others[i]) return false;
  return true;
}
