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
  const names: string[] = [];
  for (let bit = 0, rest = mask; rest > 0n; bit++, rest >>= 1n) {
    if ((rest & 1n) === 1n) names.push(NAMES[bit] ?? `FPU state component ${bit}`);
  }
  return names;
}
