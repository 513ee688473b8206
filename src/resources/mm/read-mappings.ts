/**
 * Reads the mappings of a task with all that smaps says of them. Of big tasks maps is read, and the flags of mappings as the
 * kernel has them, which saves it a walk through all page tables. Small ones, and those for which that is not enough, or
 * not allowed, are read by smaps.
 */
import { expectMany } from '../../base/hot-code.ts';
import { RECORD_HALVES, tryReadMappingFlags } from '../../linux/mapping-flags.ts';
import { readFile, readRecords } from '../../linux/syscalls/fs.ts';
import { type Area, MapsScanner } from '../../proc/maps.ts';
import { type SmapsEntry, SmapsParser } from '../../proc/smaps.ts';
import { TASK_SIZE } from './address-space.ts';
import { areBitsKnown, flagsOf } from './vm-flags.ts';

/** What the kernel says, not parsed. When it is the same, so are the mappings. */
export interface RawMappings {
  readonly maps: string;
  /** See mapping-flags.ts. */
  readonly flags: Uint32Array;
  /** Where the page tables are; they are not compared. */
  readonly topTable: bigint;
}

/** Throws SyscallError or CriuError naming the file. */
export function readMappings(pid: number): SmapsEntry[] {
  const path = `/proc/${pid}/smaps`;
  const parser = new SmapsParser(path);
  let quick: SmapsEntry[] | undefined;
  let isTried = false;
  readRecords(path, (text, isLast) => {
    if (!isLast && !isTried && parser.entries.length >= MANY) {
      isTried = true;
      const raw = tryReadRaw(pid, MAPS_BYTES_MIN);
      quick = raw && tryParseRaw(raw);
      if (quick !== undefined) return STOP;
    }
    expectMany(parser.entries.length);
    return parser.add(text, isLast);
  });
  return quick ?? parser.entries;
}

const STOP = -1;
/** After so many mappings it is looked how many there are. */
const MANY = 100;
/** With more than a thousand mappings, of which maps has this, it pays to begin anew. */
const MAPS_BYTES_MIN = 64 * 1024;

/** Undefined where it is not allowed, or maps is shorter than that. Throws SyscallError naming the file. */
export function tryReadRaw(pid: number, mapsBytesMin = 0): RawMappings | undefined {
  const maps = readFile(`/proc/${pid}/maps`);
  const told = maps.length >= mapsBytesMin && areBitsKnown() ? tryReadMappingFlags(pid) : undefined;
  return told && { maps, ...told };
}

export const isSameRaw = (one: RawMappings, other: RawMappings): boolean =>
  one.maps === other.maps && Buffer.compare(bytesOf(one.flags), bytesOf(other.flags)) === 0;

const bytesOf = ({ buffer, byteOffset, byteLength }: Uint32Array) => new Uint8Array(buffer, byteOffset, byteLength);

/** The mappings of a stopped task of which that was read just now. Throws SyscallError or CriuError naming the file. */
export function understand(pid: number, raw: RawMappings): SmapsEntry[] {
  return tryParseRaw(raw) ?? readMappings(pid);
}

/** Undefined when the two do not belong together, or something is only said by smaps. Throws CriuError. */
export function tryParseRaw({ maps, flags }: Pick<RawMappings, 'maps' | 'flags'>): SmapsEntry[] | undefined {
  const scanner = new MapsScanner(maps, 'maps');
  const entries: SmapsEntry[] = [];
  // Of thousands of mappings most are like the one before, or the one before that.
  let [kind, other]: (Kind | undefined)[] = [];
  let at = 0;
  let line = 0;
  expectMany(flags.length / RECORD_HALVES);
  for (; at < flags.length && !scanner.isAtEnd(); at += RECORD_HALVES) {
    line = scanner.position;
    scanner.scanWithoutAddresses();
    const { area } = scanner;
    const low = flags[at + 4] ?? 0;
    const high = flags[at + 5] ?? 0;
    if (!isOfKind(kind, area, low, high)) {
      const before: Kind | undefined = kind;
      kind = isOfKind(other, area, low, high) ? other : tryMakeKind(area, low, high);
      other = before;
    }
    if (kind === undefined) return undefined;
    entries.push(entryOf(kind, wordAt(flags, at), wordAt(flags, at + 2)));
  }
  const last = entries.at(-1)?.start ?? 0;
  // Behind that are those of threads with descriptors of their own.
  const isAll = at >= flags.length || wordAt(flags, at) <= last;
  const isSame = maps.startsWith(last.toString(16).padStart(8, '0'), line);
  return isAll && isSame && tryAddVsyscall(scanner, entries) ? entries : undefined;
}

/** What is said of a mapping but for its addresses, and by what. */
interface Kind extends Omit<SmapsEntry, 'start' | 'end' | 'kind'> {
  readonly area: Area;
  readonly low: number;
  readonly high: number;
}

function isOfKind(kind: Kind | undefined, area: Area, low: number, high: number): kind is Kind {
  return kind !== undefined && kind.area === area && kind.low === low && kind.high === high;
}

/** Those of huge pages have a flag that only smaps explains, and so have those with a key. */
const PAGE_KB = 4;
/** The same in PROT_* and in vm_flags. What maps calls shared is VM_MAYSHARE. */
const PROT_BITS = 7;
const MAYSHARE = 0x80;

function tryMakeKind(area: Area, low: number, high: number): Kind | undefined {
  const { prot, isShared, offset, device, inode, path, rawPath, isDeleted } = area;
  const vmFlags = flagsOf(low, high);
  if (vmFlags === undefined || (low & PROT_BITS) !== prot || ((low & MAYSHARE) !== 0) !== isShared) return undefined;
  const own = { kernelPageSizeKb: PAGE_KB, protectionKey: 0, vmFlags };
  return { prot, isShared, offset, device, inode, path, rawPath, isDeleted, ...own, area, low, high };
}

function entryOf(kind: Kind, start: number, end: number): SmapsEntry {
  const { prot, isShared, offset, device, inode, path, rawPath, isDeleted } = kind;
  const { kernelPageSizeKb, protectionKey, vmFlags } = kind;
  return {
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
    kind,
  };
}

/** The page that all tasks have in maps, but none as a mapping of its own. False when it is another one. */
function tryAddVsyscall(scanner: MapsScanner, entries: SmapsEntry[]): boolean {
  if (scanner.isAtEnd()) return true;
  scanner.scan();
  const { start, end, area } = scanner;
  const kind = tryMakeKind(area, area.prot, 0);
  if (start < TASK_SIZE || kind === undefined || !scanner.isAtEnd()) return false;
  entries.push(entryOf(kind, start, end));
  return true;
}

const wordAt = (halves: Uint32Array, at: number): number => (halves[at] ?? 0) + (halves[at + 1] ?? 0) * 2 ** 32;
