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

/** Offsets in ELF files of 64 bits, and of 32 bits (man 5 elf). */
const LAYOUT_64 = {
  headers: 32,
  count: 56,
  header: 56,
  offset: 8,
  vaddr: 16,
  fileSize: 32,
  symbol: 24,
  value: 8,
  section: 6,
};
const LAYOUT_32 = {
  headers: 28,
  count: 44,
  header: 32,
  offset: 4,
  vaddr: 8,
  fileSize: 16,
  symbol: 16,
  value: 4,
  section: 14,
};
const MAGIC = 0x464c457f;

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
  if (view.getUint32(0, true) !== MAGIC) return undefined;
  const is64 = view.getUint8(4) === 2;
  const layout = is64 ? LAYOUT_64 : LAYOUT_32;
  const word = (at: number) => (is64 ? Number(view.getBigUint64(at, true)) : view.getUint32(at, true));
  const wordBytes = is64 ? 8 : 4;
  const headers = word(layout.headers);
  let base = 0;
  let dynamic: { at: number; bytes: number } | undefined;
  for (let i = 0, at = headers; i < view.getUint16(layout.count, true); i++, at += layout.header) {
    const type = view.getUint32(at, true);
    if (type === PT_LOAD) base = word(at + layout.vaddr) - word(at + layout.offset);
    if (type === PT_DYNAMIC) dynamic = { at: word(at + layout.offset), bytes: word(at + layout.fileSize) };
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
  for (let at = symbols; at + layout.symbol <= strings; at += layout.symbol) {
    const name = readName(view, strings + view.getUint32(at, true));
    const isDefined = view.getUint16(at + layout.section, true) !== 0;
    if (name !== '' && isDefined) found.set(name, word(at + layout.value) - base);
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
