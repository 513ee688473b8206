/**
 * /proc/PID/auxv: the auxiliary vector that the kernel gave the program, man 3 getauxval; binary, pairs of 64 bits.
 */
import { malformed } from './text.ts';

/** Type (AT_*) and value. */
export type AuxvPair = readonly [type: bigint, value: bigint];

const PAIR_BYTES = 16;

/** Parses /proc/PID/auxv up to AT_NULL, which is left out; no pairs for a kernel thread. Throws CriuError. */
export function parseAuxv(bytes: Uint8Array, file = '/proc/PID/auxv'): AuxvPair[] {
  if (bytes.length % PAIR_BYTES !== 0) {
    throw malformed({ file, line: 0, text: `${bytes.length} bytes` }, 'a multiple of 16 bytes');
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const pairs: AuxvPair[] = [];
  for (let at = 0; at < bytes.length; at += PAIR_BYTES) {
    const type = view.getBigUint64(at, true);
    if (type === 0n) break;
    pairs.push([type, view.getBigUint64(at + 8, true)]);
  }
  return pairs;
}
