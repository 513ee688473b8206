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
  /** Entries with the same object are alike but for their addresses; others may be so too. */
  readonly kind?: object;
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
  const parser = new SmapsParser(file);
  parser.add(text, true);
  return parser.entries;
}

/** What is said of an area after its header, and where: areas that are alike have the same texts at the same places. */
interface Counters {
  readonly kernelPageSizeKb: number;
  readonly protectionKey: number;
  readonly vmFlags: ReadonlySet<string>;
  /** The line with the page size; distances are from the end of the header. */
  readonly pageSizeText: string;
  readonly pageSizeOffset: number;
  /** From the line with the key, if there is one, to the end. */
  readonly endText: string;
  readonly endOffset: number;
}

/** Parses smaps part by part: of ten thousand areas it has seven megabytes. */
export class SmapsParser {
  readonly entries: SmapsEntry[] = [];
  readonly #scanner: MapsScanner;
  readonly #flagSets = new Map<string, ReadonlySet<string>>();
  /** Those of the last area with such a header. */
  readonly #counters = new WeakMap<object, Counters>();

  constructor(file: string) {
    this.#scanner = new MapsScanner('', file);
  }

  /**
   * Parses all areas that are complete, and returns how much that is. `isLast`: nothing comes after it. Throws CriuError
   * naming the file when the text is not the kernel's.
   */
  add(text: string, isLast: boolean): number {
    const scanner = this.#scanner;
    if (this.entries.length > 0) scanner.continueWith(text);
    else scanner.text = text;
    const limit = isLast ? text.length : endOfAreas(text);
    for (;;) {
      // Lines of a newer kernel after the flags.
      while (isCounterLine(text, scanner.position) && (isLast || text.indexOf('\n', scanner.position) >= 0)) {
        scanner.position = endOfLine(text, scanner.position) + 1;
      }
      if (scanner.position >= limit) return Math.min(scanner.position, text.length);
      this.#scanArea(text);
    }
  }

  #scanArea(text: string): void {
    const scanner = this.#scanner;
    scanner.scan();
    const { start, end, area, position: first } = scanner;
    let counters = this.#counters.get(area);
    if (
      counters === undefined ||
      !text.startsWith(counters.endText, first + counters.endOffset) ||
      !text.startsWith(counters.pageSizeText, first + counters.pageSizeOffset)
    ) {
      counters = this.#scanCounters(text, first);
      this.#counters.set(area, counters);
    }
    scanner.position = first + counters.endOffset + counters.endText.length;
    const { prot, isShared, offset, device, inode, path, rawPath, isDeleted } = area;
    const { kernelPageSizeKb, protectionKey, vmFlags } = counters;
    this.entries.push({
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

  #scanCounters(text: string, first: number): Counters {
    const scanner = this.#scanner;
    // The flags come last; of some twenty lines before them two are of interest.
    const flagsAt = text.indexOf(VM_FLAGS, first);
    if (flagsAt < 0) throw scanner.fail(first, 'a line "VmFlags:"');
    const end = endOfLine(text, flagsAt);
    const lines = text.slice(first, flagsAt);
    const [pageSizeAt, keyAt] = [lines.indexOf(PAGE_SIZE), lines.indexOf(PROTECTION_KEY)];
    const endOffset = keyAt < 0 ? flagsAt - first : keyAt;
    return {
      kernelPageSizeKb: pageSizeAt < 0 ? 0 : counter(scanner, first + pageSizeAt),
      protectionKey: keyAt < 0 ? 0 : counter(scanner, first + keyAt),
      vmFlags: flagSet(text.slice(flagsAt + VM_FLAGS.length, end), this.#flagSets),
      pageSizeText: pageSizeAt < 0 ? '' : text.slice(first + pageSizeAt, endOfLine(text, first + pageSizeAt) + 1),
      pageSizeOffset: Math.max(pageSizeAt, 0),
      endText: text.slice(first + endOffset, end + 1),
      endOffset,
    };
  }
}

/** A number of kB, or a plain one, in the line at `at`. */
function counter(scanner: MapsScanner, at: number): number {
  const { text } = scanner;
  const value = text.slice(text.indexOf(':', at) + 1, endOfLine(text, at));
  const number = Number(value.endsWith(' kB') ? value.slice(0, -3) : value);
  if (!Number.isSafeInteger(number) || number < 0) throw scanner.fail(at, 'a number of kB');
  return number;
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

/** Behind the last line of flags that is there as a whole: what is before it can be parsed. */
function endOfAreas(text: string): number {
  const lastLine = text.lastIndexOf('\n', text.length - 1);
  // A file may be called so too, but no name has a newline here.
  const flags = text.lastIndexOf(`\n${VM_FLAGS}`, lastLine - 1);
  return flags < 0 ? 0 : text.indexOf('\n', flags + 1) + 1;
}

function flagSet(codes: string, flagSets: Map<string, ReadonlySet<string>>): ReadonlySet<string> {
  let set = flagSets.get(codes);
  if (set === undefined) {
    set = new Set(codes.split(' ').filter((code) => code !== ''));
    flagSets.set(codes, set);
  }
  return set;
}
