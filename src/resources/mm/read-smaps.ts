/** Reads the mappings of a task with all that smaps says of them. */
import { readRecords } from '../../linux/syscalls/fs.ts';
import { type SmapsEntry, SmapsParser } from '../../proc/smaps.ts';

/** Throws SyscallError or CriuError naming the file. */
export function readSmaps(pid: number): SmapsEntry[] {
  const path = `/proc/${pid}/smaps`;
  const parser = new SmapsParser(path);
  readRecords(path, (text, isLast) => parser.add(text, isLast));
  return parser.entries;
}
