/**
 * Where tasks live, by the links of /proc: their namespaces, executable, working directory and root. Those of forked tasks
 * are mostly the same as those of the task before, which is seen by comparing their bytes.
 */
import { Program, type Result } from '../agent/program.ts';
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_PATH, STATX_INO, STATX_MNT_ID } from '../linux/abi/fcntl.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { parseStatx, STATX_BYTES, STATX_MASK_AT, STATX_MNT_ID_AT } from '../linux/syscalls/fs.ts';
import { Columns } from '../tracee/columns.ts';
import { NAMESPACE_LINKS } from './namespace-ids.ts';

const FILES = ['exe', 'cwd', 'root'] as const;
/** With fewer tasks it is not worth a table. */
const TASKS_MIN = 8;
const ROWS_MAX = 32;
const PATH_BYTES = 32;
/** "cgroup:[4026531835]" is the longest of those in /proc/PID/ns. */
const NAMESPACE_BYTES = 64;
/** Longer paths are not compared. */
const LINK_BYTES = 512;
const OP_WORDS = 16;
const WORD_BYTES = 4;

/** For stopped tasks, by their index: whether all of this is the same as of the one before. Unknown is false. */
export function compareLinks(pids: readonly number[]): readonly boolean[] {
  if (pids.length < TASKS_MIN) return pids.map(() => false);
  const columns = planColumns(Math.min(pids.length, ROWS_MAX));
  const { rows } = columns.table;
  const alike: boolean[] = [];
  let last: Uint8Array | undefined;
  for (let done = 0; done < pids.length; done += rows) {
    const count = Math.min(rows, pids.length - done);
    for (let row = 0; row < count; row++) putPath(columns, row, pids[done + row] ?? 0);
    columns.run(count);
    for (let row = 0; row < count; row++) {
      const told = tellOf(columns, row);
      alike.push(told !== undefined && last !== undefined && Buffer.compare(told, last) === 0);
      last = told;
    }
  }
  return alike;
}

type Table = ReturnType<typeof planColumns>;

function planColumns(rows: number) {
  const row = new Program();
  const path = row.reserve(PATH_BYTES);
  const links = row.reserve(NAMESPACE_LINKS.length * NAMESPACE_BYTES + FILES.length * LINK_BYTES);
  const stats = row.reserve(FILES.length * STATX_BYTES);
  const folder = row.call(SYS.openat, AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  const reads: Result[] = [];
  NAMESPACE_LINKS.forEach((name, i) => {
    const to = row.at(links, i * NAMESPACE_BYTES);
    reads.push(row.call(SYS.readlinkat, folder, row.string(`ns/${name}`), to, NAMESPACE_BYTES));
  });
  FILES.forEach((name, i) => {
    const to = row.at(links, NAMESPACE_LINKS.length * NAMESPACE_BYTES + i * LINK_BYTES);
    reads.push(row.call(SYS.readlinkat, folder, row.string(name), to, LINK_BYTES));
  });
  FILES.forEach((name, i) => {
    const to = row.at(stats, i * STATX_BYTES);
    reads.push(row.call(SYS.statx, folder, row.string(name), 0, STATX_INO | STATX_MNT_ID, to));
  });
  row.call(SYS.close, folder);
  return new Columns(row, rows, { path, links, stats, reads: reads[0] ?? folder });
}

function putPath({ table, rowWords, at }: Table, row: number, pid: number): void {
  const text = `/proc/${pid}\0`;
  const start = (row * rowWords + at.path) * WORD_BYTES;
  for (let i = 0; i < text.length; i++) table.block[start + i] = text.charCodeAt(i);
}

/** All that a row tells, as bytes; undefined when that is not all there is to know. */
function tellOf({ table, words, unsigned, rowWords, at }: Table, row: number): Uint8Array | undefined {
  const start = row * rowWords;
  const told: number[] = [];
  const links = NAMESPACE_LINKS.length + FILES.length;
  for (let i = 0; i < links; i++) {
    const length = words[start + at.reads + i * OP_WORDS] ?? 0;
    if (length <= 0 || length >= (i < NAMESPACE_LINKS.length ? NAMESPACE_BYTES : LINK_BYTES)) return undefined;
    told.push(length);
  }
  for (let i = 0; i < FILES.length; i++) {
    const statAt = start + at.stats + (i * STATX_BYTES) / WORD_BYTES;
    if ((words[start + at.reads + (links + i) * OP_WORDS] ?? -1) !== 0) return undefined;
    if (((unsigned[statAt + STATX_MASK_AT] ?? 0) & STATX_MNT_ID) === 0) return undefined;
    const { st_dev, st_ino } = parseStatx(unsigned, statAt);
    told.push(st_dev, st_ino, unsigned[statAt + STATX_MNT_ID_AT] ?? 0);
  }
  const linksAt = (start + at.links) * WORD_BYTES;
  const bytes = NAMESPACE_LINKS.length * NAMESPACE_BYTES + FILES.length * LINK_BYTES;
  return Buffer.concat([
    new Uint8Array(Float64Array.from(told).buffer),
    table.block.subarray(linksAt, linksAt + bytes),
  ]);
}
