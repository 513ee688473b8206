/** The executable's ELF header and program headers (elf(5)), as far as a start image changes them. */
import { assert } from '../../src/base/errors.ts';
import { PAGE_BYTES } from '../../src/image/pagemap.ts';

const HEADER = { entry: 24, phoff: 32, phentsize: 54, phnum: 56 } as const;
const ENTRY_BYTES = 56;
const PT = { load: 1, interp: 3, phdr: 6, gnuStack: 0x6474_e551 } as const;
export const PF = { x: 1, w: 2, r: 4 } as const;

export interface Segment {
  readonly flags: number;
  readonly offset: number;
  readonly address: number;
  readonly bytes: number;
}

/** What the executable's own header says. */
export interface ExecutableHeader {
  readonly entry: number;
  /** Address of the program headers, which stay where they are. */
  readonly headers: number;
  readonly headerCount: number;
}

/** Throws when the file is not what the compiler makes: a program at fixed addresses with a dynamic linker. */
export function readExecutable(file: DataView): ExecutableHeader {
  const ET_EXEC = 2;
  assert(
    file.getUint32(0, false) === 0x7f45_4c46 && file.getUint16(16, true) === ET_EXEC,
    'an ELF file, not relocatable',
  );
  assert(file.getUint16(HEADER.phentsize, true) === ENTRY_BYTES, 'program headers of the usual size');
  const headerCount = file.getUint16(HEADER.phnum, true);
  const phdr = programHeaders(file).find(({ type }) => type === PT.phdr);
  assert(phdr !== undefined, 'the program headers are in memory');
  return { entry: Number(file.getBigUint64(HEADER.entry, true)), headers: phdr.address, headerCount };
}

function programHeaders(file: DataView) {
  const start = Number(file.getBigUint64(HEADER.phoff, true));
  return Array.from({ length: file.getUint16(HEADER.phnum, true) }, (_, i) => {
    const at = start + i * ENTRY_BYTES;
    return { at, type: file.getUint32(at, true), address: Number(file.getBigUint64(at + 16, true)) };
  });
}

/** A table of program headers that maps `segments` too and names no dynamic linker. */
export function programHeadersWith(file: DataView, segments: readonly Segment[]): Uint8Array {
  const kept = programHeaders(file).filter(({ type }) => type === PT.load || type === PT.gnuStack);
  const table = new Uint8Array((segments.length + kept.length) * ENTRY_BYTES);
  const view = new DataView(table.buffer);
  segments.forEach(({ flags, offset, address, bytes }, i) => {
    const at = i * ENTRY_BYTES;
    view.setUint32(at, PT.load, true);
    view.setUint32(at + 4, flags, true);
    for (const [place, value] of [
      [8, offset],
      [16, address],
      [24, address],
      [32, bytes],
      [40, bytes],
      [48, PAGE_BYTES],
    ] as const) {
      view.setBigUint64(at + place, BigInt(value), true);
    }
  });
  kept.forEach(({ at }, i) => {
    table.set(new Uint8Array(file.buffer, file.byteOffset + at, ENTRY_BYTES), (segments.length + i) * ENTRY_BYTES);
  });
  return table;
}

/** Makes the file start at `entry`, with the program headers at `offset`. */
export function redirect(file: DataView, entry: number, offset: number, tableBytes: number): void {
  file.setBigUint64(HEADER.entry, BigInt(entry), true);
  file.setBigUint64(HEADER.phoff, BigInt(offset), true);
  file.setUint16(HEADER.phnum, tableBytes / ENTRY_BYTES, true);
}
