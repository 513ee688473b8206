/**
 * The functions that a vdso offers: the dynamic symbols of its ELF file, which is mapped as it is (man 7 vdso). Pure.
 *
 * Programs keep the addresses of these functions. So a task can use another vdso only when they are all at the same
 * places; the code itself may differ, because the kernel patches it for the CPU.
 */

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const DT_STRTAB = 5;
const DT_SYMTAB = 6;
const SYMBOL_BYTES = 24;
const PROGRAM_HEADER_BYTES = 56;
const MAGIC = 0x464c457f;

/** Offsets of the functions by name; undefined when the bytes are no 64-bit ELF file with dynamic symbols. */
export function parseVdsoSymbols(image: Uint8Array): Map<string, number> | undefined {
  try {
    return readSymbols(new DataView(image.buffer, image.byteOffset, image.length));
  } catch (error) {
    if (error instanceof RangeError) return undefined; // something points outside
    throw error;
  }
}

function readSymbols(view: DataView): Map<string, number> | undefined {
  if (view.getUint32(0, true) !== MAGIC || view.getUint8(4) !== 2) return undefined;
  const u64 = (at: number) => Number(view.getBigUint64(at, true));
  const headers = u64(32);
  let base = 0;
  let dynamic: { at: number; bytes: number } | undefined;
  for (let i = 0, at = headers; i < view.getUint16(56, true); i++, at += PROGRAM_HEADER_BYTES) {
    const type = view.getUint32(at, true);
    if (type === PT_LOAD) base = u64(at + 16) - u64(at + 8);
    if (type === PT_DYNAMIC) dynamic = { at: u64(at + 8), bytes: u64(at + 32) };
  }
  if (dynamic === undefined) return undefined;
  let symbols = 0;
  let strings = 0;
  for (let at = dynamic.at; at < dynamic.at + dynamic.bytes; at += 16) {
    const tag = u64(at);
    if (tag === 0) break;
    if (tag === DT_SYMTAB) symbols = u64(at + 8) - base;
    if (tag === DT_STRTAB) strings = u64(at + 8) - base;
  }
  // The table of names follows that of the symbols, whose length is told nowhere.
  if (symbols <= 0 || strings <= symbols) return undefined;
  const found = new Map<string, number>();
  for (let at = symbols; at + SYMBOL_BYTES <= strings; at += SYMBOL_BYTES) {
    const name = readName(view, strings + view.getUint32(at, true));
    const isDefined = view.getUint16(at + 6, true) !== 0;
    if (name !== '' && isDefined) found.set(name, u64(at + 8) - base);
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
