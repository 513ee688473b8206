/**
 * /proc/PID/smaps: maps, and after each line what the kernel counts of that area; fs/proc/task_mmu.c show_smap().
 *
 * The keys grow with every kernel: those not wanted here are skipped. Reading smaps makes the kernel walk all page
 * tables, so use it where maps is not enough, as for VmFlags.
 */
import { type MapsEntry, MapsScanner } from './maps.ts';

/** One virtual memory area with what is used of its counters. */
export interface SmapsEntry extends MapsEntry {
  /** Page size of the area: 4, or that of hugetlb; in kB of 1024 bytes. */
  readonly kernelPageSizeKb: number;
  /** Memory protection key, 0 without pkeys. */
  readonly protectionKey: number;
  /** Two-letter codes, see VM_FLAG_MEANINGS; equal sets are one object. Codes of newer kernels are kept. */
  readonly vmFlags: ReadonlySet<string>;
}

/** The codes of VmFlags up to Linux 6.19, and those of old kernels: code to name of the kernel's flag. */
export const VM_FLAG_MEANINGS = {
  rd: 'VM_READ',
  wr: 'VM_WRITE',
  ex: 'VM_EXEC',
  sh: 'VM_SHARED',
  mr: 'VM_MAYREAD',
  mw: 'VM_MAYWRITE',
  me: 'VM_MAYEXEC',
  ms: 'VM_MAYSHARE',
  gd: 'VM_GROWSDOWN',
  pf: 'VM_PFNMAP',
  gu: 'VM_MAYBE_GUARD',
  dw: 'VM_DENYWRITE',
  lo: 'VM_LOCKED',
  io: 'VM_IO',
  sr: 'VM_SEQ_READ',
  rr: 'VM_RAND_READ',
  dc: 'VM_DONTCOPY',
  de: 'VM_DONTEXPAND',
  lf: 'VM_LOCKONFAULT',
  ac: 'VM_ACCOUNT',
  nr: 'VM_NORESERVE',
  ht: 'VM_HUGETLB',
  sf: 'VM_SYNC',
  nl: 'VM_NONLINEAR',
  ar: 'VM_ARCH_1',
  wf: 'VM_WIPEONFORK',
  dd: 'VM_DONTDUMP',
  bt: 'VM_ARM64_BTI',
  sd: 'VM_SOFTDIRTY',
  mm: 'VM_MIXEDMAP',
  hg: 'VM_HUGEPAGE',
  nh: 'VM_NOHUGEPAGE',
  mg: 'VM_MERGEABLE',
  mp: 'VM_MPX',
  mt: 'VM_MTE',
  um: 'VM_UFFD_MISSING',
  uw: 'VM_UFFD_WP',
  ui: 'VM_UFFD_MINOR',
  ss: 'VM_SHADOW_STACK',
  dp: 'VM_DROPPABLE',
  sl: 'VM_SEALED',
  '??': 'a flag that the running kernel has no code for',
} as const;

/** A code of VmFlags that this table knows. */
export type VmFlag = keyof typeof VM_FLAG_MEANINGS;

/** Parses /proc/PID/smaps. Throws CriuError, naming `file` and line, when the text is not the kernel's. */
export function parseSmaps(text: string, file = '/proc/PID/smaps'): SmapsEntry[] {
  const entries: SmapsEntry[] = [];
  const scanner = new MapsScanner(text, file);
  const flagSets = new Map<string, ReadonlySet<string>>();
  // All areas have a key, or none: then it is searched once, not to the end of the text for each.
  const hasKeys = text.includes(PROTECTION_KEY);
  while (!scanner.isAtEnd()) {
    const { start, end, prot, isShared, offset, device, inode, path, rawPath, isDeleted } = scanner.scanEntry();
    const first = scanner.position;
    // The flags come last; of some twenty lines before them two are of interest.
    const flagsAt = text.indexOf(VM_FLAGS, first);
    if (flagsAt < 0) throw scanner.fail(first, 'a line "VmFlags:"');
    const kernelPageSizeKb = counter(scanner, PAGE_SIZE, first, flagsAt);
    const protectionKey = hasKeys ? counter(scanner, PROTECTION_KEY, first, flagsAt) : 0;
    const flagsEnd = endOfLine(text, flagsAt);
    const vmFlags = flagSet(text.slice(flagsAt + VM_FLAGS.length, flagsEnd), flagSets);
    scanner.position = flagsEnd + 1;
    while (isCounterLine(text, scanner.position)) scanner.position = endOfLine(text, scanner.position) + 1;
    entries.push({
      start,
      end,
      prot,
      isShared,
      offset,
      device,
      inode,
      path,
      rawPath,
      isDeleted,
      kernelPageSizeKb,
      protectionKey,
      vmFlags,
    });
  }
  return entries;
}

const VM_FLAGS = 'VmFlags:';
const PAGE_SIZE = 'KernelPageSize:';
const PROTECTION_KEY = 'ProtectionKey:';

function endOfLine(text: string, from: number): number {
  const newline = text.indexOf('\n', from);
  return newline < 0 ? text.length : newline;
}

/** Keys start with a capital letter, areas with a small hexadecimal digit. */
function isCounterLine(text: string, position: number): boolean {
  const code = text.charCodeAt(position);
  return code >= 65 && code <= 90;
}

/** A number of kB, or a plain one, of an area whose lines are from `first` to `last`; 0 when there is no such line. */
function counter(scanner: MapsScanner, key: string, first: number, last: number): number {
  const { text } = scanner;
  const at = text.indexOf(key, first);
  if (at < 0 || at > last) return 0;
  const value = text.slice(at + key.length, endOfLine(text, at));
  const number = Number(value.endsWith(' kB') ? value.slice(0, -3) : value);
  if (!Number.isSafeInteger(number) || number < 0) throw scanner.fail(at, 'a number of kB');
  return number;
}

function flagSet(codes: string, flagSets: Map<string, ReadonlySet<string>>): ReadonlySet<string> {
  let set = flagSets.get(codes);
  if (set === undefined) {
    set = new Set(codes.split(' ').filter((code) => code !== ''));
    flagSets.set(codes, set);
  }
  return set;
}
