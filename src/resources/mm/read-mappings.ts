/**
 * Reads the mappings of a task with all that smaps says of them. Of big tasks maps is read, and the flags of mappings as the
 * kernel has them, which saves it a walk through all page tables. Small ones, and those for which that is not enough, or
 * not allowed, are read by smaps.
 */
import { expectMany } from '../../base/hot-code.ts';
import { RECORD_HALVES, tryReadMappingFlags } from '../../linux/mapping-flags.ts';
import { readFile, readRecords } from '../../linux/syscalls/fs.ts';
import { MapsScanner } from '../../proc/maps.ts';
import { type SmapsEntry, SmapsParser } from '../../proc/smaps.ts';
import { TASK_SIZE } from './address-space.ts';
import { areBitsKnown, flagsOf } from './vm-flags.ts';

/** What the kernel says, not parsed. When it is the same, so are the mappings. */
export interface RawMappings {
  readonly maps: string;
  /** See mapping-flags.ts. */
  readonly flags: Uint32Array;
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
      const raw = tryReadRaw(pid);
      quick = raw && tryParseRaw(raw);
      if (quick !== undefined) return STOP;
    }
    expectMany(parser.entries.length);
    return parser.add(text, isLast);
  });
  return quick ?? parser.entries;
}

const STOP = -1;
/** From so many mappings on it pays to begin anew. */
const MANY = 1000;

/** Undefined where it is not allowed. Throws SyscallError naming the file. */
export function tryReadRaw(pid: number): RawMappings | undefined {
  const flags = areBitsKnown() ? tryReadMappingFlags(pid) : undefined;
  return flags && { maps: readFile(`/proc/${pid}/maps`), flags };
}

export const isSameRaw = (one: RawMappings, other: RawMappings): boolean =>
  one.maps === other.maps && Buffer.compare(bytesOf(one.flags), bytesOf(other.flags)) === 0;

const bytesOf = ({ buffer, byteOffset, byteLength }: Uint32Array) => new Uint8Array(buffer, byteOffset, byteLength);

/** The mappings of a stopped task of which that was read just now. Throws SyscallError or CriuError naming the file. */
export function understand(pid: number, raw: RawMappings): SmapsEntry[] {
  return tryParseRaw(raw) ?? readMappings(pid);
}

/** Undefined when the two do not belong together, or something is only said by smaps. Throws CriuError. */
export function tryParseRaw({ maps, flags }: RawMappings): SmapsEntry[] | undefined {
  const scanner = new MapsScanner(maps, 'maps');
  const entries: SmapsEntry[] = [];
  expectMany(flags.length / RECORD_HALVES);
  for (let at = 0; !scanner.isAtEnd(); at += RECORD_HALVES) {
    scanner.scan();
    const { start, end } = scanner;
    const { prot, isShared, offset, device, inode, path, rawPath, isDeleted } = scanner.area;
    const isVsyscall = start >= TASK_SIZE;
    const low = isVsyscall ? prot : (flags[at + 4] ?? 0);
    const vmFlags = flagsOf(low, flags[at + 5] ?? 0);
    if (vmFlags === undefined || (low & PROT_BITS) !== prot) return undefined;
    if (
      !isVsyscall &&
      (isShared !== ((low & MAYSHARE) !== 0) || wordAt(flags, at) !== start || wordAt(flags, at + 2) !== end)
    )
      return undefined;
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
      kernelPageSizeKb: PAGE_KB,
      protectionKey: 0,
      vmFlags,
    });
  }
  return entries;
}

/** Those of huge pages have a flag that only smaps explains, and so have those with a key. */
const PAGE_KB = 4;
/** The same in PROT_* and in vm_flags. What maps calls shared is VM_MAYSHARE. */
const PROT_BITS = 7;
const MAYSHARE = 0x80;

const wordAt = (halves: Uint32Array, at: number): number => (halves[at] ?? 0) + (halves[at + 1] ?? 0) * 2 ** 32;
