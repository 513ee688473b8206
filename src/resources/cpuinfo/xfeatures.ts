/** State components of XSAVE (Intel SDM volume 1, 13.1) by name. */

const NAMES: Readonly<Record<number, string>> = {
  0: 'x87 registers',
  1: 'SSE registers',
  2: 'AVX registers',
  3: 'MPX bound registers',
  4: 'MPX configuration',
  5: 'AVX-512 mask registers',
  6: 'AVX-512 upper halves',
  7: 'AVX-512 registers 16 to 31',
  9: 'protection keys (PKRU)',
  11: 'user shadow stack state',
  17: 'AMX tile configuration',
  18: 'AMX tile data',
};

/** Names of the components whose bits are set. */
export function xfeatureNames(mask: bigint): string[] {
  const bits = Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => ((mask >> BigInt(bit)) & 1n) === 1n);
  return bits.map((bit) => NAMES[bit] ?? `FPU state component ${bit}`);
}
