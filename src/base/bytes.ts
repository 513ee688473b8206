/**
 * Byte strings: one character of 0-255 for each byte, the way all text of kernel and images is kept in this project.
 *
 * Buffer, and lists by Array.from, are not used before they pay: their first use costs the runtime 0.2 ms each.
 */

/** From here on Buffer is faster, and a call must not get too many arguments. */
const LONG_BYTES = 16 * 1024;
/** With so many bytes made into strings, and back, the first use of Buffer has paid: it needs a tenth of the time. */
const MANY_BYTES = 64 * 1024;
/** Over each run; it only chooses the faster way. */
let made = 0;

/** Bytes as a byte string. */
export function byteString(bytes: Uint8Array): string {
  made += bytes.length;
  if (made < MANY_BYTES && bytes.length < LONG_BYTES)
    return String.fromCharCode.apply(null, bytes as unknown as number[]);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

/** Of the same array, in each run. */
let viewed: { bytes: Uint8Array; buffer: Buffer } | undefined;

/** The bytes from `start` to `end` as a byte string: for many pieces of one array, without a view for each. */
export function byteStringAt(bytes: Uint8Array, start: number, end: number): string {
  made += end - start;
  if (made < MANY_BYTES) return byteString(bytes.subarray(start, end));
  if (viewed?.bytes !== bytes) viewed = { bytes, buffer: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length) };
  return viewed.buffer.toString('latin1', start, end);
}

/** The bytes of a byte string. Of other characters the low eight bits are taken. */
export function bytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  putText(text, bytes, 0);
  return bytes;
}

/** Turns what the runtime has decoded from UTF-8 into a byte string. */
export function toByteString(text: string): string {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) > 0x7f) return Buffer.from(text, 'utf8').toString('latin1');
  }
  return text;
}

/** The other way, for what the runtime gives to programs: it takes text, so a name that is not UTF-8 gets lost. */
export function fromByteString(bytes: string): string {
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/** Writes these bytes into others, from `at` on. */
export function putText(text: string, target: Uint8Array, at: number): void {
  made += text.length;
  if (made < MANY_BYTES && text.length < LONG_BYTES) {
    for (let i = 0; i < text.length; i++) target[at + i] = text.charCodeAt(i);
  } else Buffer.from(target.buffer, target.byteOffset, target.byteLength).write(text, at, 'latin1');
}

/** Stores a 32-bit word. A DataView would make the runtime give a small array a buffer of its own, which is slow. */
export function putWord(target: Uint8Array, at: number, word: number): void {
  target[at] = word;
  target[at + 1] = word >>> 8;
  target[at + 2] = word >>> 16;
  target[at + 3] = word >>> 24;
}

/** 32-bit words as bytes. */
export function bytesOfWords(...words: number[]): Uint8Array {
  const bytes = new Uint8Array(words.length * 4);
  for (let i = 0; i < words.length; i++) putWord(bytes, i * 4, words[i] ?? 0);
  return bytes;
}

/** The values of `make` for 0 to `count` - 1. */
export function times<T>(count: number, make: (index: number) => T): T[] {
  const list: T[] = [];
  for (let i = 0; i < count; i++) list.push(make(i));
  return list;
}

export const TWO_32 = 2 ** 32;

/** Stores a 64-bit word, modulo 2^64. Numbers go in two halves: thousands of ops are written, and a bigint each is slow. */
export function setWord(view: DataView, at: number, value: number | bigint): void {
  if (typeof value === 'bigint') {
    view.setBigUint64(at, BigInt.asUintN(64, value), true);
    return;
  }
  view.setUint32(at, value, true);
  view.setUint32(at + 4, Math.floor(value / TWO_32), true);
}

/** Adds an address to 64-bit words of a block, at `offset` plus each of `places`, which hold numbers below 2^32. */
export function relocate(view: DataView, offset: number, address: number, places: readonly number[]): void {
  const high = Math.floor(address / TWO_32);
  const low = address - high * TWO_32;
  for (let i = 0; i < places.length; i++) {
    const at = offset + (places[i] ?? 0);
    const sum = low + view.getUint32(at, true);
    view.setUint32(at, sum, true);
    view.setUint32(at + 4, sum < TWO_32 ? high : high + 1, true);
  }
}

/** The same for `rows` copies of a program of `rowBytes`, one after the other in a block that is at `address`. */
export function relocateRows(
  block: Uint8Array,
  places: readonly number[],
  rowBytes: number,
  rows: number,
  address: number,
): void {
  const words = new Uint32Array(block.buffer, block.byteOffset, block.length >> 2);
  for (let i = 0; i < places.length; i++) {
    let at = (places[i] ?? 0) >> 2;
    let value = address + (words[at] ?? 0);
    for (let row = 0; row < rows; row++) {
      words[at] = value;
      words[at + 1] = value / TWO_32;
      at += rowBytes >> 2;
      value += rowBytes;
    }
  }
}
