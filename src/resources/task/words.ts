/** Little-endian words of kernel structures, by byte offset. */

export function u32(bytes: Uint8Array, offset = 0): number {
  return view(bytes).getUint32(offset, true);
}

export function i32(bytes: Uint8Array, offset = 0): number {
  return view(bytes).getInt32(offset, true);
}

export function u64(bytes: Uint8Array, offset = 0): bigint {
  return view(bytes).getBigUint64(offset, true);
}

/** A signed 64-bit word that is known to be small: seconds, nanoseconds. */
export function small64(bytes: Uint8Array, offset = 0): number {
  return Number(view(bytes).getBigInt64(offset, true));
}

export function putU32(bytes: Uint8Array, offset: number, value: number): void {
  view(bytes).setUint32(offset, value, true);
}

export function putU64(bytes: Uint8Array, offset: number, value: number | bigint): void {
  view(bytes).setBigUint64(offset, BigInt.asUintN(64, BigInt(value)), true);
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
