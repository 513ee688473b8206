/**
 * /proc/PID/maps: one line per virtual memory area (VMA), man 5 proc_pid_maps; fs/proc/task_mmu.c show_map_vma().
 *
 * A dump reads it for every task while the task is frozen, and big programs have tens of thousands of VMAs; so this
 * scans by index, without regular expressions and without splitting, and compares with the line before instead of
 * scanning.
 */
import { PROT_EXEC, PROT_READ, PROT_WRITE } from '../linux/abi/mman.ts';
import { malformed } from './text.ts';

/** A device number as /proc prints it. */
export interface Device {
  readonly major: number;
  readonly minor: number;
}

/** One virtual memory area. */
export interface MapsEntry {
  /** First address. vsyscall's is above 2^53, but a multiple of the page size, so the number is exact. */
  readonly start: number;
  /** The address after the last one. */
  readonly end: number;
  /** PROT_READ, PROT_WRITE and PROT_EXEC bits. */
  readonly prot: number;
  /** MAP_SHARED and not MAP_PRIVATE. */
  readonly isShared: boolean;
  /** Where in the file the area starts, bytes. */
  readonly offset: number;
  readonly device: Device;
  /** 0 when there is no file. Above 2^53 (overlayfs with xino) only the upper 53 bits are right. */
  readonly inode: number;
  /** Path or name such as `[heap]`, without the mark ` (deleted)`; empty for plain anonymous memory. */
  readonly path: string;
  /** As `path`, but with the mark. A file can really be called `x (deleted)`, with a link of that name alive. */
  readonly rawPath: string;
  /** Whether the name ended in ` (deleted)`: the file has no link any more, or is called so. */
  readonly isDeleted: boolean;
}

const DELETED = ' (deleted)';

/** A name as the kernel shows it, and what it says. */
export function withoutMark(rawPath: string): Pick<MapsEntry, 'path' | 'rawPath' | 'isDeleted'> {
  const isDeleted = rawPath.endsWith(DELETED);
  return { path: isDeleted ? rawPath.slice(0, rawPath.length - DELETED.length) : rawPath, rawPath, isDeleted };
}

const BLANK = 32;
const DASH = 45;
const COLON = 58;
const ANONYMOUS_DEVICE: Device = { major: 0, minor: 0 };
/** No byte string begins like this. */
const NOTHING = '\u0100';

/** Parses /proc/PID/maps. Throws CriuError, naming `file` and line, when the text is not the kernel's. */
export function parseMaps(text: string, file = '/proc/PID/maps'): MapsEntry[] {
  const entries: MapsEntry[] = [];
  const scanner = new MapsScanner(text, file);
  while (!scanner.isAtEnd()) {
    scanner.scan();
    const { start, end } = scanner;
    const { prot, isShared, offset, device, inode, path, rawPath, isDeleted } = scanner.area;
    entries.push({ start, end, prot, isShared, offset, device, inode, path, rawPath, isDeleted });
  }
  return entries;
}

/** What a line says but for the addresses, and the text that says it, with the newline. */
export interface Area extends Omit<MapsEntry, 'start' | 'end'> {
  readonly text: string;
}

const NO_AREA: Area = {
  text: NOTHING,
  prot: 0,
  isShared: false,
  offset: 0,
  device: ANONYMOUS_DEVICE,
  inode: 0,
  path: '',
  rawPath: '',
  isDeleted: false,
};

/**
 * Scans header lines of maps and smaps, which have the same form. Of thousands of mappings most are like the one before
 * or the one before that, but for the addresses; and most begin where the one before ends.
 */
export class MapsScanner {
  text: string;
  readonly file: string;
  /** Index of the character to look at next. */
  position = 0;
  /** Of the line that was scanned last. */
  start = 0;
  end = 0;
  area = NO_AREA;
  #other = NO_AREA;
  #endText = NOTHING;
  #isWhole = true;
  private device = ANONYMOUS_DEVICE;

  constructor(text: string, file: string) {
    this.text = text;
    this.file = file;
  }

  isAtEnd(): boolean {
    return this.position >= this.text.length;
  }

  /** Goes on with another part of the file. */
  continueWith(text: string): void {
    this.text = text;
    this.position = 0;
    this.#isWhole = false;
  }

  /** Scans the line at `position` and moves behind it. */
  scan(): void {
    const { text, position: lineStart } = this;
    const dash = lineStart + this.#endText.length;
    if (text.charCodeAt(dash) === DASH && text.startsWith(this.#endText, lineStart)) {
      this.start = this.end;
      this.position = dash + 1;
    } else this.start = this.scanHex(lineStart, DASH);
    this.scanEnd(lineStart);
    if (this.end <= this.start) throw this.fail(lineStart, 'an address range');
    this.scanRest(lineStart);
  }

  private scanRest(lineStart: number): void {
    const { text, position } = this;
    if (!text.startsWith(this.area.text, position)) {
      const other = this.#other;
      this.#other = this.area;
      if (!text.startsWith(other.text, position)) {
        this.area = this.scanArea(lineStart);
        return;
      }
      this.area = other;
    }
    this.position = position + this.area.text.length;
  }

  private scanEnd(lineStart: number): void {
    const { text, position } = this;
    const blank = text.indexOf(' ', position);
    const digits = text.slice(position, Math.max(blank, position));
    // Number() does not mind a newline at the end.
    const isNumber = digits.length <= 16 && text.charCodeAt(blank - 1) > BLANK;
    const end = isNumber ? Number(`0x${digits}`) : Number.NaN;
    if (Number.isNaN(end)) throw this.fail(lineStart, 'a hexadecimal number');
    this.end = end;
    this.#endText = digits;
    this.position = blank + 1;
  }

  private scanArea(lineStart: number): Area {
    const first = this.position;
    const prot = this.scanProt(lineStart);
    const isShared = this.scanShared(lineStart);
    const offset = this.scanHex(lineStart, BLANK);
    const device = this.scanDevice(lineStart);
    const inode = this.scanInode(lineStart);
    const rawPath = this.scanPath();
    // Without the newline at the end it would be the beginning of others.
    const text = this.position > this.text.length ? NOTHING : this.text.slice(first, this.position);
    return { text, prot, isShared, offset, device, inode, ...withoutMark(rawPath) };
  }

  /** The error for the line that starts at `lineStart`; its number is counted only now, where all of the file is there. */
  fail(lineStart: number, expected: string): Error {
    let line = this.#isWhole ? 1 : 0;
    if (this.#isWhole)
      for (let at = this.text.indexOf('\n'); at >= 0 && at < lineStart; at = this.text.indexOf('\n', at + 1)) line++;
    const newline = this.text.indexOf('\n', lineStart);
    const text = this.text.slice(lineStart, newline < 0 ? undefined : newline);
    return malformed({ file: this.file, line, text }, expected);
  }

  private scanHex(lineStart: number, end: number): number {
    const { text } = this;
    const first = this.position;
    let index = first;
    let value = 0;
    for (; ; index++) {
      const code = text.charCodeAt(index);
      if (code >= 48 && code <= 57) value = value * 16 + (code - 48);
      else if (code >= 97 && code <= 102) value = value * 16 + (code - 87);
      else if (code === end && index > first && index - first <= 16) break;
      else throw this.fail(lineStart, 'a hexadecimal number');
    }
    this.position = index + 1;
    return value;
  }

  private scanProt(lineStart: number): number {
    const { text, position } = this;
    let prot = 0;
    const read = text.charCodeAt(position);
    const write = text.charCodeAt(position + 1);
    const exec = text.charCodeAt(position + 2);
    if (read === 114) prot |= PROT_READ;
    else if (read !== DASH) throw this.fail(lineStart, 'access rights');
    if (write === 119) prot |= PROT_WRITE;
    else if (write !== DASH) throw this.fail(lineStart, 'access rights');
    if (exec === 120) prot |= PROT_EXEC;
    else if (exec !== DASH) throw this.fail(lineStart, 'access rights');
    return prot;
  }

  private scanShared(lineStart: number): boolean {
    const code = this.text.charCodeAt(this.position + 3);
    if ((code !== 112 && code !== 115) || this.text.charCodeAt(this.position + 4) !== BLANK) {
      throw this.fail(lineStart, 'access rights');
    }
    this.position += 5;
    return code === 115;
  }

  /** Neighbours mostly have the same device, so its object is shared. */
  private scanDevice(lineStart: number): Device {
    const major = this.scanHex(lineStart, COLON);
    const minor = this.scanHex(lineStart, BLANK);
    if (major !== this.device.major || minor !== this.device.minor) this.device = { major, minor };
    return this.device;
  }

  /** The number ends in a blank, or with the line. */
  private scanInode(lineStart: number): number {
    const { text } = this;
    const first = this.position;
    let index = first;
    let value = 0;
    for (; ; index++) {
      const code = text.charCodeAt(index);
      if (code < 48 || code > 57 || Number.isNaN(code)) break;
      value = value * 10 + (code - 48);
    }
    const isEnded = index === text.length || text.charCodeAt(index) === BLANK || text.charCodeAt(index) === 10;
    if (index === first || index - first > 20 || !isEnded) throw this.fail(lineStart, 'an inode number');
    this.position = index;
    return value;
  }

  /** The kernel pads with blanks before the name; a path starts with `/`, so no blank of a name is lost. */
  private scanPath(): string {
    const { text } = this;
    let index = this.position;
    while (text.charCodeAt(index) === BLANK) index++;
    const newline = text.indexOf('\n', index);
    const end = newline < 0 ? text.length : newline;
    this.position = end + 1;
    if (end === index) return '';
    const path = text.slice(index, end);
    // The kernel escapes nothing but the newline here, so other backslashes are part of the name.
    return path.includes('\\012') ? path.replaceAll('\\012', '\n') : path;
  }
}
