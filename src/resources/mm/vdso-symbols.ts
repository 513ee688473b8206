/**
 * The functions that a vdso offers: the dynamic symbols of its ELF file, which is mapped as it is (man 7 vdso). Pure.
 *
 * Programs keep the addresses of these functions. So a task can use another vdso only when they are all at the same
 * places; the code itself may differ, because the kernel patches it for the CPU.
 */
import {
  DT_STRTAB,
  DT_SYMTAB,
  ELF_32,
  ELF_64,
  ELF_MAGIC,
  ELFCLASS64,
  PT_DYNAMIC,
  PT_LOAD,
} from '../../linux/abi/elf.ts';

/** Offsets of the functions by name; undefined when the bytes are no ELF file with dynamic symbols. */
export function parseVdsoSymbols(image: Uint8Array): Map<string, number> | undefined {
  try {
    return readSymbols(new DataView(image.buffer, image.byteOffset, image.length));
  } catch (error) {
    if (error instanceof RangeError) return undefined; // something points outside
    throw error;
  }
}

function readSymbols(view: DataView): Map<string, number> | undefined {
  if (view.getUint32(0, true) !== ELF_MAGIC) return undefined;
  const is64 = view.getUint8(4) === ELFCLASS64;
  const { header, segment, symbol } = is64 ? ELF_64 : ELF_32;
  const word = (at: number) => (is64 ? Number(view.getBigUint64(at, true)) : view.getUint32(at, true));
  const wordBytes = is64 ? 8 : 4;
  let base = 0;
  let dynamic: { at: number; bytes: number } | undefined;
  for (let i = 0, at = word(header.e_phoff); i < view.getUint16(header.e_phnum, true); i++, at += segment.bytes) {
    const type = view.getUint32(at + segment.p_type, true);
    if (type === PT_LOAD) base = word(at + segment.p_vaddr) - word(at + segment.p_offset);
    if (type === PT_DYNAMIC) dynamic = { at: word(at + segment.p_offset), bytes: word(at + segment.p_filesz) };
  }
  if (dynamic === undefined) return undefined;
  let symbols = 0;
  let strings = 0;
  for (let at = dynamic.at; at < dynamic.at + dynamic.bytes; at += 2 * wordBytes) {
    const tag = word(at);
    if (tag === 0) break;
    if (tag === DT_SYMTAB) symbols = word(at + wordBytes) - base;
    if (tag === DT_STRTAB) strings = word(at + wordBytes) - base;
  }
  // The table of names follows that of the symbols, whose length is told nowhere.
  if (symbols <= 0 || strings <= symbols) return undefined;
  const found = new Map<string, number>();
  for (let at = symbols; at + symbol.bytes <= strings; at += symbol.bytes) {
    const name = readName(view, strings + view.getUint32(at + symbol.st_name, true));
    const isDefined = view.getUint16(at + symbol.st_shndx, true) !== 0;
    if (name !== '' && isDefined) found.set(name, word(at + symbol.st_value) - base);
  }
  return found.size === 0 ? undefined : found;
}

function readName(view: DataView, start: number): string {
  let name = '';
  for (let at = start; view.getUint8(at) !== 0; at++) name += String.fromCharCode(view.getUint8(at));
  return name;
}

/** Functions of `wanted` that are not at the same place in `here`, by name. */
export function findMovedSymbols(wanted: ReadonlyMap<string, number>, here: ReadonlyMap<string, number>): string[] {
  return [...wanted].filter(([name, offset]) => here.get(name) !== offset).map(([name]) => name);
}
