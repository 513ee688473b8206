/** Reads the mappings of a task with all that smaps says of them. */
import { expectMany } from '../../base/hot-code.ts';
import { readRecords } from '../../linux/syscalls/fs.ts';
import { type SmapsEntry, SmapsParser } from '../../proc/smaps.ts';

/** Throws SyscallError or CriuError naming the file. */
export function readSmaps(pid: number): SmapsEntry[] {
  return read(pid, undefined);
}

/** The same, and what maps said at that time. */
export function readSmapsAndMaps(pid: number): { mappings: SmapsEntry[]; maps: string } {
  const headers: string[] = [];
  const mappings = read(pid, headers);
  return { mappings, maps: headers.join('') };
}

function read(pid: number, headers: string[] | undefined): SmapsEntry[] {
  const path = `/proc/${pid}/smaps`;
  const parser = new SmapsParser(path, headers);
  readRecords(path, (text, isLast) => {
    expectMany(parser.entries.length);
    return parser.add(text, isLast);
  });
  return parser.entries;
}
