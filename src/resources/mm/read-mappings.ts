/**
 * Reads the mappings of a task with all that smaps says of them. Where there are many it is asked in another way
 * (raw-mappings.ts), which saves the kernel a walk through all page tables; what that cannot tell, or may not be asked, is
 * read by smaps.
 */
import { expectMany } from '../../base/hot-code.ts';
import { readRecords } from '../../linux/syscalls/fs.ts';
import { type SmapsEntry, SmapsParser } from '../../proc/smaps.ts';
import { type RawMappings, tryParseRaw, tryReadRaw } from './raw-mappings.ts';

/** Throws SyscallError or CriuError naming the file. */
export function readMappings(pid: number): SmapsEntry[] {
  const path = `/proc/${pid}/smaps`;
  const parser = new SmapsParser(path);
  let quick: SmapsEntry[] | undefined;
  let isTried = false;
  readRecords(path, (text, isLast) => {
    if (!isLast && !isTried && parser.entries.length >= MANY) {
      isTried = true;
      const raw = isLong(`/proc/${pid}/maps`) ? tryReadRaw(pid) : undefined;
      quick = raw && tryParseRaw(raw);
      if (quick !== undefined) return STOP;
    }
    expectMany(parser.entries.length);
    return parser.add(text, isLast);
  });
  return quick ?? parser.entries;
}

const STOP = -1;
/** After so many mappings it is looked whether it pays to begin anew. */
const MANY = 100;

/** Whether a file of /proc has more than is handed on at once: with maps, about a thousand mappings. */
function isLong(path: string): boolean {
  let isAll = true;
  readRecords(path, (_text, isLast) => {
    isAll = isLast;
    return STOP;
  });
  return !isAll;
}

/** The mappings of a stopped task of which that was read just now. Throws SyscallError or CriuError naming the file. */
export function understand(pid: number, raw: RawMappings): SmapsEntry[] {
  return tryParseRaw(raw) ?? readMappings(pid);
}
