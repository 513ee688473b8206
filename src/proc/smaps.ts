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

/** Tells the keys apart by length first: most lines are of no interest, and comparing is dear in a loop this hot. */
function scanCounter(scanner: MapsScanner, entry: SmapsEntry, flagSets: Map<string, ReadonlySet<string>>): void {
  const { text, position: start } = scanner;
  const newline = text.indexOf('\n', start);
  const end = newline < 0 ? text.length : newline;
  const colon = text.indexOf(':', start);
  if (colon < 0 || colon > end) throw scanner.fail(start, 'a key with a colon');
  scanner.position = end + 1;
  const value = () => scanKb(scanner, start, colon + 1, end);
  switch (colon - start) {
    case 3:
      if (text.startsWith('Rss', start)) entry.rssKb = value();
      else if (text.startsWith('Pss', start)) entry.pssKb = value();
      return;
    case 4:
      if (text.startsWith('Swap', start)) entry.swapKb = value();
      return;
    case 6:
      if (text.startsWith('Locked', start)) entry.lockedKb = value();
      return;
    case 7:
      if (text.startsWith('VmFlags', start)) entry.vmFlags = flagSet(text.slice(colon + 1, end), flagSets);
      return;
    case 9:
      if (text.startsWith('Anonymous', start)) entry.anonymousKb = value();
      return;
    case 12:
      if (text.startsWith('Shared_Dirty', start)) entry.sharedDirtyKb = value();
      return;
    case 13:
      if (text.startsWith('Private_Dirty', start)) entry.privateDirtyKb = value();
      else if (text.startsWith('AnonHugePages', start)) entry.anonHugePagesKb = value();
      else if (text.startsWith('ProtectionKey', start)) entry.protectionKey = value();
      return;
    case 14:
      if (text.startsWith('KernelPageSize', start)) entry.kernelPageSizeKb = value();
      return;
    default:
  }
}

/** The decimal number after the blanks; the unit after it is always kB. */
function scanKb(scanner: MapsScanner, lineStart: number, from: number, end: number): number {
  const { text } = scanner;
  let index = from;
  while (index < end && text.charCodeAt(index) === 32) index++;
  const first = index;
  let value = 0;
  for (; index < end; index++) {
    const code = text.charCodeAt(index);
    if (code < 48 || code > 57) break;
    value = value * 10 + (code - 48);
  }
  if (index === first || (index < end && text.charCodeAt(index) !== 32))
    throw scanner.fail(lineStart, 'a number of kB');
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
