/** Compares the vdso that a tree had with the one of this kernel, before any process exists. */
import { CriuError } from '../../base/errors.ts';
import { VMA_AREA_VDSO } from '../../image/vma-status.ts';
import { memoryAt } from '../../linux/kernel.ts';
import type { RestoreTree } from '../../restore/restore-tree.ts';
import { MappedFiles } from './fill-memory.ts';
import { cut } from './pages-image.ts';
import type { VdsoPiece } from './restore-vdso.ts';
import { findMovedSymbols, parseVdsoSymbols } from './vdso-symbols.ts';

/**
 * Throws CriuError when the functions of the dumped vdso are not where this kernel's vdso, mapped in criu itself at
 * `own`, has them. One task is looked at: all of a tree have run on the same kernel.
 */
export function checkVdso(tree: RestoreTree, own: VdsoPiece | undefined): void {
  const task = tree.tasks.find(({ mm }) => mm.vmas.some(({ status }) => (status & VMA_AREA_VDSO) !== 0));
  const vma = task?.mm.vmas.find(({ status }) => (status & VMA_AREA_VDSO) !== 0);
  if (task === undefined || vma === undefined || own === undefined) return;
  const bytes = vma.end - vma.start;
  const [run, ...others] = cut(task.runs, vma.start, bytes) ?? [];
  if (run === undefined || others.length > 0) return;
  using files = new MappedFiles();
  const theirs = files.view(run);
  const ours = memoryAt(own.start, own.end - own.start);
  if (Buffer.compare(theirs, ours) === 0) return;
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
