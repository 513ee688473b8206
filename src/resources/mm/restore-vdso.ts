/**
 * The vdso group ([vvar], [vvar_vclock] since Linux 6.13, [vdso]): one block of code and data that the kernel maps into
 * every process. A restored task keeps the one its kernel gave it, moved to where the task had its own.
 */
import type { Program } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import type { VmaEntry } from '../../image/gen/vma.ts';
import { VMA_AREA_VDSO, VMA_AREA_VVAR } from '../../image/vma-status.ts';
import { MREMAP_FIXED, MREMAP_MAYMOVE } from '../../linux/abi/mman.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { parseMaps } from '../../proc/maps.ts';
import type { Range } from './address-space.ts';

/** One piece of the group and where it is now. */
export interface VdsoPiece extends Range {
  readonly name: string;
}

/** The pieces in the text of a task's maps, in order of address. Of the hundreds of lines that we have ourselves, no other is parsed. */
export function vdsoPieces(maps: string): VdsoPiece[] {
  const lines = maps.split('\n').filter((line) => line.includes('[v'));
  return parseMaps(lines.join('\n'))
    .filter(({ path }) => path === '[vdso]' || path.startsWith('[vvar'))
    .map(({ start, end, path }) => ({ start, end, name: path }));
}

const bytesOf = (ranges: readonly Range[]) => ranges.reduce((sum, { start, end }) => sum + end - start, 0);

/** Moves the pieces, one after the other, to `address`; returns them as they are then. */
export function planMoveVdso(program: Program, pieces: readonly VdsoPiece[], address: number): VdsoPiece[] {
  let to = address;
  return pieces.map(({ start, end, name }) => {
    const bytes = end - start;
    if (start !== to) {
      program.must(`move ${name}`, SYS.mremap, start, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    }
    const moved = { start: to, end: to + bytes, name };
    to += bytes;
    return moved;
  });
}

/** Room for the group while it is parked, in bytes. */
export const VDSO_ROOM = 16 * 4096;

/**
 * Moves the task's own group to where the image has it, or unmaps it when the task had none.
 * Throws CriuError when the group of this kernel does not fit the dumped one.
 */
export function planPlaceVdso(program: Program, pieces: readonly VdsoPiece[], vmas: readonly VmaEntry[]): VdsoPiece[] {
  const vvars = vmas.filter((vma) => (vma.status & VMA_AREA_VVAR) !== 0);
  const vdsos = vmas.filter((vma) => (vma.status & VMA_AREA_VDSO) !== 0);
  if (vdsos.length === 0) {
    for (const { start, end, name } of pieces) program.must(`unmap ${name}`, SYS.munmap, start, end - start);
    return [];
  }
  const isCode = (piece: VdsoPiece) => piece.name === '[vdso]';
  const code = pieces.filter(isCode);
  const data = pieces.filter((piece) => !isCode(piece));
  if (bytesOf(code) !== bytesOf(vdsos) || bytesOf(data) !== bytesOf(vvars)) {
    throw new CriuError({
      action: "cannot use this kernel's vdso for the task",
      why: `its sizes differ: ${bytesOf(code)} and ${bytesOf(data)} bytes here, ${bytesOf(vdsos)} and ${bytesOf(vvars)} in the images`,
      remedy: 'restore on the kernel version that the task was dumped on',
    });
  }
  const place = (some: readonly VdsoPiece[], targets: readonly VmaEntry[]) =>
    targets[0] === undefined ? [] : planMoveVdso(program, some, targets[0].start);
  return [...place(data, vvars), ...place(code, vdsos)];
}
