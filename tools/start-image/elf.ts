/** The executable's ELF header and program headers (elf(5)), as far as a start image changes them. */
import { assert } from '../../src/base/errors.ts';
import { PAGE_BYTES } from '../../src/image/pagemap.ts';
import { ELF_64, ELF_MAGIC, ET_EXEC, PT_GNU_STACK, PT_LOAD, PT_PHDR } from '../../src/linux/abi/elf.ts';

const { header: HEADER, segment: SEGMENT } = ELF_64;

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
  assert(file.getUint32(0, true) === ELF_MAGIC, 'an ELF file');
  assert(file.getUint16(HEADER.e_type, true) === ET_EXEC, 'an ELF file, not relocatable');
  assert(file.getUint16(HEADER.e_phentsize, true) === SEGMENT.bytes, 'program headers of the usual size');
  const headerCount = file.getUint16(HEADER.e_phnum, true);
  const phdr = programHeaders(file).find(({ type }) => type === PT_PHDR);
  assert(phdr !== undefined, 'the program headers are in memory');
  return { entry: Number(file.getBigUint64(HEADER.e_entry, true)), headers: phdr.address, headerCount };
}

function programHeaders(file: DataView) {
  const start = Number(file.getBigUint64(HEADER.e_phoff, true));
  return Array.from({ length: file.getUint16(HEADER.e_phnum, true) }, (_, i) => {
    const at = start + i * SEGMENT.bytes;
    const address = Number(file.getBigUint64(at + SEGMENT.p_vaddr, true));
    return { at, type: file.getUint32(at + SEGMENT.p_type, true), address };
  });
}

/** A table of program headers that maps `segments` too and names no dynamic linker. */
export function programHeadersWith(file: DataView, segments: readonly Segment[]): Uint8Array {
  const kept = programHeaders(file).filter(({ type }) => type === PT_LOAD || type === PT_GNU_STACK);
  const table = new Uint8Array((segments.length + kept.length) * SEGMENT.bytes);
  const view = new DataView(table.buffer);
  segments.forEach(({ flags, offset, address, bytes }, i) => {
    const at = i * SEGMENT.bytes;
    view.setUint32(at + SEGMENT.p_type, PT_LOAD, true);
    view.setUint32(at + SEGMENT.p_flags, flags, true);
    for (const [place, value] of [
      [SEGMENT.p_offset, offset],
      [SEGMENT.p_vaddr, address],
      [SEGMENT.p_paddr, address],
      [SEGMENT.p_filesz, bytes],
      [SEGMENT.p_memsz, bytes],
      [SEGMENT.p_align, PAGE_BYTES],
    ] as const) {
      view.setBigUint64(at + place, BigInt(value), true);
    }
  });
  kept.forEach(({ at }, i) => {
    table.set(new Uint8Array(file.buffer, file.byteOffset + at, SEGMENT.bytes), (segments.length + i) * SEGMENT.bytes);
  });
  return table;
}

/** Makes the file start at `entry`, with the program headers at `offset`. */
export function redirect(file: DataView, entry: number, offset: number, tableBytes: number): void {
  file.setBigUint64(HEADER.e_entry, BigInt(entry), true);
  file.setBigUint64(HEADER.e_phoff, BigInt(offset), true);
  file.setUint16(HEADER.e_phnum, tableBytes / SEGMENT.bytes, true);
}
