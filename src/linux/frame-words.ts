/**
 * Words of 64 bits of which each says which page frame there is, as /proc/PID/pagemap and page tables have them among other
 * things. Only the frames are kept, so that what is the same can be seen by comparing bytes. There may be a million
 * words, for which JavaScript takes a hundred times longer than these instructions.
 */
import { once } from '../base/per-run.ts';
import { addressOf, callable, placeCode } from './kernel.ts';

/** C function(first word, end, three words: of `WordFormat`) */
const KEEP_FRAMES = [
  0x4c, 0x8b, 0x02, // mov r8, [rdx]
  0x4c, 0x8b, 0x4a, 0x08, // mov r9, [rdx+8]
  0x4c, 0x8b, 0x52, 0x10, // mov r10, [rdx+16]
  0x45, 0x31, 0xdb, // xor r11d, r11d
  0x48, 0x8b, 0x07, // next: mov rax, [rdi]
  0x31, 0xc9, // xor ecx, ecx
  0x4c, 0x85, 0xc0, // test rax, r8
  0x49, 0x0f, 0x45, 0xca, // cmovnz rcx, r10
  0x4c, 0x85, 0xc8, // test rax, r9
  0x49, 0x0f, 0x45, 0xcb, // cmovnz rcx, r11
  0x48, 0x21, 0xc8, // and rax, rcx
  0x48, 0x89, 0x07, // mov [rdi], rax
  0x48, 0x83, 0xc7, 0x08, // add rdi, 8
  0x48, 0x39, 0xf7, // cmp rdi, rsi
  0x72, 0xde, // jb next
  0xc3, // ret
]; // biome-ignore format: one instruction a line

const keep = once(() => callable(placeCode(KEEP_FRAMES)));

/** Which words name a frame that other tasks may have as well: those with one of the bits `there`, and none of `own`. */
export interface WordFormat {
  readonly there: bigint;
  readonly own: bigint;
  /** The bits that tell frames apart. */
  readonly frame: bigint;
}

/** Of so many words at the begin of the array only the frames are left, and zeros where there is none. */
export function keepFrames(words: Uint32Array, count: number, { there, own, frame }: WordFormat): void {
  if (count === 0) return;
  const address = addressOf(words);
  keep()(address, address + 8 * count, addressOf(BigUint64Array.of(there, own, frame)), 0, 0, 0, 0);
}
