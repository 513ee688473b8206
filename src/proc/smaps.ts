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
  const parser = new SmapsParser(file);
  parser.add(text, true);
  return parser.entries;
}

/** Parses smaps part by part: of ten thousand areas it has seven megabytes. */
export class SmapsParser {
  readonly entries: SmapsEntry[] = [];
  readonly #scanner: MapsScanner;
  readonly #flagSets = new Map<string, ReadonlySet<string>>();
  readonly #pageSize = new Counter(PAGE_SIZE);
  readonly #key = new Counter(PROTECTION_KEY);
  /** From the end of the header to the flags, in the area before. */
  #flagsOffset = 0;
  #flagsText = '';
  #flags: ReadonlySet<string> = new Set();

  readonly #headers: string[] | undefined;

  /** `headers` gets the first line of each area: together what maps says. */
  constructor(file: string, headers?: string[]) {
    this.#scanner = new MapsScanner('', file);
    this.#headers = headers;
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
    const header = scanner.position;
    scanner.scan();
    const { start, end, position: first } = scanner;
    this.#headers?.push(text.slice(header, first));
    // The flags come last; of some twenty lines before them two are of interest.
    const flagsAt = this.#findFlags(text, first);
    const kernelPageSizeKb = this.#pageSize.read(scanner, first, flagsAt);
    const protectionKey = this.#key.read(scanner, first, flagsAt);
    const vmFlags = this.#readFlags(text, flagsAt);
    const { prot, isShared, offset, device, inode, path, rawPath, isDeleted } = scanner.area;
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

  #findFlags(text: string, first: number): number {
    if (text.startsWith(VM_FLAGS, first + this.#flagsOffset)) return first + this.#flagsOffset;
    const at = text.indexOf(VM_FLAGS, first);
    if (at < 0) throw this.#scanner.fail(first, 'a line "VmFlags:"');
    this.#flagsOffset = at - first;
    return at;
  }

  #readFlags(text: string, at: number): ReadonlySet<string> {
    const scanner = this.#scanner;
    if (this.#flagsText !== '' && text.startsWith(this.#flagsText, at)) {
      scanner.position = at + this.#flagsText.length;
      return this.#flags;
    }
    const end = endOfLine(text, at);
    const codes = text.slice(at + VM_FLAGS.length, end);
    scanner.position = end + 1;
    this.#flags = flagSet(codes, this.#flagSets);
    this.#flagsText = text.slice(at, end + 1);
    return this.#flags;
  }
}

/** A number of kB, or a plain one, that all areas have at the same place, or none. */
class Counter {
  readonly #name: string;
  /** Where the line was in the area before, from the end of the header; and the line. */
  #offset = 0;
  #line = '';
  #value = 0;

  constructor(name: string) {
    this.#name = name;
  }

  /** The number in the lines from `first` to `last`; 0 when there is no such line. */
  read(scanner: MapsScanner, first: number, last: number): number {
    const { text } = scanner;
    const expected = first + this.#offset;
    if (this.#line !== '' && expected < last && text.startsWith(this.#line, expected)) return this.#value;
    const offset = text.slice(first, last).indexOf(this.#name);
    if (offset < 0) return 0;
    const at = first + offset;
    const end = endOfLine(text, at);
    const value = text.slice(at + this.#name.length, end);
    const number = Number(value.endsWith(' kB') ? value.slice(0, -3) : value);
    if (!Number.isSafeInteger(number) || number < 0) throw scanner.fail(at, 'a number of kB');
    this.#offset = offset;
    this.#line = text.slice(at, end + 1);
    this.#value = number;
    return number;
  }
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
