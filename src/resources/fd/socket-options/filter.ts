/**
 * Classic BPF programs (struct sock_filter of linux/filter.h: code, jt, jf, k) as images have them: one 64-bit word for
 * each instruction, code in the top 16 bits, then jt, jf, and k below.
 */
import { SOCK_FILTER_BYTES } from '../../../linux/abi/seccomp.ts';

/** Instructions of the kernel → words of the image. */
export function packFilter(program: Uint8Array): bigint[] {
  const view = new DataView(program.buffer, program.byteOffset, program.byteLength);
  const words: bigint[] = [];
  for (let at = 0; at + SOCK_FILTER_BYTES <= program.length; at += SOCK_FILTER_BYTES) {
    const jumps = (view.getUint8(at + 2) << 8) | view.getUint8(at + 3);
    const high = (BigInt(view.getUint16(at, true)) << 16n) | BigInt(jumps);
    words.push((high << 32n) | BigInt(view.getUint32(at + 4, true)));
  }
  return words;
}

/** Words of the image → instructions of the kernel. */
export function unpackFilter(words: readonly bigint[]): Uint8Array {
  const program = new Uint8Array(words.length * SOCK_FILTER_BYTES);
  const view = new DataView(program.buffer);
  words.forEach((word, index) => {
    const at = index * SOCK_FILTER_BYTES;
    view.setUint16(at, Number(word >> 48n), true);
    view.setUint8(at + 2, Number((word >> 40n) & 0xffn));
    view.setUint8(at + 3, Number((word >> 32n) & 0xffn));
    view.setUint32(at + 4, Number(word & 0xffff_ffffn), true);
  });
  return program;
}
