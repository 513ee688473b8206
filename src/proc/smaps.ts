/**
 * /proc/PID/smaps: maps, and after each line what the kernel counts of that area; fs/proc/task_mmu.c show_smap().
 *
 * The keys grow with every kernel: those not wanted here are skipped. Reading smaps makes the kernel walk all page
 * tables, so use it where maps is not enough, as for VmFlags.
 */
import { type MapsEntry, MapsScanner } from './maps.ts';

/** One virtual memory area with its counters, in kB of 1024 bytes. Keys that the kernel does not print are 0. */
export interface SmapsEntry extends MapsEntry {
  rssKb: number;
  /** Share of this task: pages that n tasks map count 1/n. */
  pssKb: number;
  sharedDirtyKb: number;
  privateDirtyKb: number;
  anonymousKb: number;
  swapKb: number;
  /** Share of this task, as pssKb; whether the area is locked, says the flag `lo`. */
  lockedKb: number;
  anonHugePagesKb: number;
  /** Page size of the area: 4, or that of hugetlb. */
  kernelPageSizeKb: number;
  /** Memory protection key, 0 without pkeys. */
  protectionKey: number;
  /** Two-letter codes, see VM_FLAG_MEANINGS; equal sets are one object. Codes of newer kernels are kept. */
  vmFlags: ReadonlySet<string>;
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

const NO_FLAGS: ReadonlySet<string> = new Set();

/** Parses /proc/PID/smaps. Throws CriuError, naming `file` and line, when the text is not the kernel's. */
export function parseSmaps(text: string, file = '/proc/PID/smaps'): SmapsEntry[] {
  const entries: SmapsEntry[] = [];
  const scanner = new MapsScanner(text, file);
  const flagSets = new Map<string, ReadonlySet<string>>();
  while (!scanner.isAtEnd()) {
    const entry = withoutCounters(scanner.scanEntry());
    while (isCounterLine(text, scanner.position)) scanCounter(scanner, entry, flagSets);
    entries.push(entry);
  }
  return entries;
}

function withoutCounters(entry: MapsEntry): SmapsEntry {
  return {
    start: entry.start,
    end: entry.end,
    prot: entry.prot,
    isShared: entry.isShared,
    offset: entry.offset,
    device: entry.device,
    inode: entry.inode,
    path: entry.path,
    rawPath: entry.rawPath,
    isDeleted: entry.isDeleted,
    rssKb: 0,
    pssKb: 0,
    sharedDirtyKb: 0,
    privateDirtyKb: 0,
    anonymousKb: 0,
    swapKb: 0,
    lockedKb: 0,
    anonHugePagesKb: 0,
    kernelPageSizeKb: 0,
    protectionKey: 0,
    vmFlags: NO_FLAGS,
  };
}

/** Keys start with a capital letter, areas with a small hexadecimal digit. */
function isCounterLine(text: string, position: number): boolean {
  const code = text.charCodeAt(position);
  return code >= 65 && code <= 90;
}

/** Looks at the first letter before it compares: most lines are of no interest, and this loop is hot. */
function scanCounter(scanner: MapsScanner, entry: SmapsEntry, flagSets: Map<string, ReadonlySet<string>>): void {
  const { text, position: start } = scanner;
  const newline = text.indexOf('\n', start);
  scanner.position = newline < 0 ? text.length : newline + 1;
  switch (text.charCodeAt(start)) {
    case 65: // A
      if (text.startsWith('Anonymous:', start)) entry.anonymousKb = scanKb(scanner, start, 10);
      else if (text.startsWith('AnonHugePages:', start)) entry.anonHugePagesKb = scanKb(scanner, start, 14);
      return;
    case 75: // K
      if (text.startsWith('KernelPageSize:', start)) entry.kernelPageSizeKb = scanKb(scanner, start, 15);
      return;
    case 76: // L
      if (text.startsWith('Locked:', start)) entry.lockedKb = scanKb(scanner, start, 7);
      return;
    case 80: // P
      if (text.startsWith('Pss:', start)) entry.pssKb = scanKb(scanner, start, 4);
      else if (text.startsWith('Private_Dirty:', start)) entry.privateDirtyKb = scanKb(scanner, start, 14);
      else if (text.startsWith('ProtectionKey:', start)) entry.protectionKey = scanKb(scanner, start, 14);
      return;
    case 82: // R
      if (text.startsWith('Rss:', start)) entry.rssKb = scanKb(scanner, start, 4);
      return;
    case 83: // S
      if (text.startsWith('Shared_Dirty:', start)) entry.sharedDirtyKb = scanKb(scanner, start, 13);
      else if (text.startsWith('Swap:', start)) entry.swapKb = scanKb(scanner, start, 5);
      return;
    case 86: // V
      if (text.startsWith('VmFlags:', start))
        entry.vmFlags = flagSet(text.slice(start + 8, newline < 0 ? undefined : newline), flagSets);
      return;
    default:
  }
}

const NEWLINE = 10;

/** The decimal number after the blanks; the unit after it is kB, or nothing for a protection key. */
function scanKb(scanner: MapsScanner, lineStart: number, keyLength: number): number {
  const { text, position: end } = scanner;
  let index = lineStart + keyLength;
  while (index < end && text.charCodeAt(index) === 32) index++;
  const first = index;
  let value = 0;
  for (; index < end; index++) {
    const code = text.charCodeAt(index);
    if (code < 48 || code > 57) break;
    value = value * 10 + (code - 48);
  }
  const next = index < end ? text.charCodeAt(index) : NEWLINE;
  if (index === first || (next !== 32 && next !== NEWLINE)) throw scanner.fail(lineStart, 'a number of kB');
  return value;
}

function flagSet(codes: string, flagSets: Map<string, ReadonlySet<string>>): ReadonlySet<string> {
  let set = flagSets.get(codes);
  if (set === undefined) {
    set = new Set(codes.split(' ').filter((code) => code !== ''));
    flagSets.set(codes, set);
  }
  return set;
}
