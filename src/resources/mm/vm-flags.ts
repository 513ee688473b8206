/**
 * vm_flags of mappings, as the kernel has them (include/linux/mm.h): which code of VmFlags stands for which bit. The bits are
 * no interface, though they have stayed for many years. So mappings of our own are looked at before they are relied upon.
 */
import { perRun } from '../../base/per-run.ts';
import {
  MADV_DONTDUMP,
  MADV_DONTFORK,
  MADV_HUGEPAGE,
  MADV_NOHUGEPAGE,
  MADV_RANDOM,
  MADV_SEQUENTIAL,
  MADV_WIPEONFORK,
  MAP_ANONYMOUS,
  MAP_DROPPABLE,
  MAP_GROWSDOWN,
  MAP_PRIVATE,
  MLOCK_ONFAULT,
  PROT_READ,
  PROT_WRITE,
} from '../../linux/abi/mman.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { syscall } from '../../linux/kernel.ts';
import { getpid } from '../../linux/syscalls/process.ts';
import { MAPPING_RECORD, tryReadTaskMappings } from '../../linux/task-mappings.ts';
import type { VmFlag } from '../../proc/smaps.ts';

/**
 * By number of the bit. What is not here has more to it than a code (page sizes, keys), or bits that differ between kernels:
 * who has it is read by smaps.
 */
const BITS: Readonly<Record<number, VmFlag>> = {
  0: 'rd',
  1: 'wr',
  2: 'ex',
  3: 'sh',
  4: 'mr',
  5: 'mw',
  6: 'me',
  7: 'ms',
  8: 'gd',
  10: 'pf',
  11: 'gu',
  13: 'lo',
  14: 'io',
  15: 'sr',
  16: 'rr',
  17: 'dc',
  18: 'de',
  19: 'lf',
  20: 'ac',
  21: 'nr',
  23: 'sf',
  25: 'wf',
  26: 'dd',
  27: 'sd',
  28: 'mm',
  29: 'hg',
  30: 'nh',
  31: 'mg',
  40: 'dp',
};

const bitOf = (code: VmFlag): bigint => 1n << BigInt(Object.keys(BITS).find((bit) => BITS[Number(bit)] === code) ?? 64);
const wordOf = (codes: readonly VmFlag[]): bigint => codes.reduce((word, code) => word | bitOf(code), 0n);

const HIGH = 2 ** 32;
/** The same in each run. */
const sets = new Map<number, ReadonlySet<VmFlag> | undefined>();

/** The codes of the bits of a word in two halves; equal sets are one object. Undefined when only smaps tells. */
export function flagsOf(low: number, high: number): ReadonlySet<VmFlag> | undefined {
  const key = low + high * HIGH;
  let set = sets.get(key);
  if (set === undefined) {
    set = parseWord((BigInt(high) << 32n) | BigInt(low));
    sets.set(key, set);
  }
  return set;
}

function parseWord(word: bigint): ReadonlySet<VmFlag> | undefined {
  const codes = new Set<VmFlag>();
  for (let bit = 0; word >> BigInt(bit) !== 0n; bit++) {
    if (((word >> BigInt(bit)) & 1n) === 0n) continue;
    const code = BITS[bit];
    if (code === undefined) return undefined;
    codes.add(code);
  }
  return codes;
}

/** Whether mappings of ours have the bits that they should have. */
export const areBitsKnown = perRun(checkBits);

const PAGE = 4096;
const PLAIN: readonly VmFlag[] = ['rd', 'wr', 'mr', 'mw', 'me'];
/** They depend on how the kernel accounts for memory. */
const NOT_COMPARED: readonly VmFlag[] = ['ac', 'nr', 'sd'];

type Advice = readonly [advice: number, code: VmFlag];
const SAMPLES: readonly { flags: number; codes: readonly VmFlag[]; advice: readonly Advice[]; isLocked?: boolean }[] = [
  {
    flags: MAP_PRIVATE,
    codes: [],
    advice: [
      [MADV_RANDOM, 'rr'],
      [MADV_DONTFORK, 'dc'],
      [MADV_DONTDUMP, 'dd'],
      [MADV_HUGEPAGE, 'hg'],
      [MADV_WIPEONFORK, 'wf'],
    ],
    isLocked: true,
  },
  {
    flags: MAP_PRIVATE | MAP_GROWSDOWN,
    codes: ['gd'],
    advice: [
      [MADV_SEQUENTIAL, 'sr'],
      [MADV_NOHUGEPAGE, 'nh'],
    ],
  },
  { flags: MAP_DROPPABLE, codes: ['dp', 'wf', 'dd'], advice: [] },
];

function checkBits(): boolean {
  const samples = SAMPLES.map(({ flags, codes, advice, isLocked }) => {
    const address = syscall(SYS.mmap, 0, PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    const all = [...PLAIN, ...codes];
    if (address < 0) return { address, word: 0n };
    // What the kernel refuses is not compared: then nobody has it.
    for (const [one, code] of advice) if (syscall(SYS.madvise, address, PAGE, one) === 0) all.push(code);
    if (isLocked === true && syscall(SYS.mlock2, address, PAGE, MLOCK_ONFAULT) === 0) all.push('lo', 'lf');
    return { address, word: wordOf(all) };
  });
  const made = samples.filter(({ address }) => address > 0);
  const seen = tryReadTaskMappings(getpid());
  for (const { address } of made) syscall(SYS.munmap, address, PAGE);
  const compared = ~wordOf(NOT_COMPARED);
  return seen !== undefined && made.every(({ address, word }) => (wordAt(seen.records, address) & compared) === word);
}

/** The word of the mapping that begins there. Nothing else has such flags, so that none has become one with it. */
function wordAt(records: Uint32Array, address: number): bigint {
  const [low, high] = [address % HIGH, Math.floor(address / HIGH)];
  for (let at = 0; at < records.length; at += MAPPING_RECORD.halves) {
    if (records[at] !== low || records[at + 1] !== high) continue;
    const flags = at + MAPPING_RECORD.flags;
    return (BigInt(records[flags + 1] ?? 0) << 32n) | BigInt(records[flags] ?? 0);
  }
  return 0n;
}
