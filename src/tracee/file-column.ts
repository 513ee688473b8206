/**
 * A column of small files in a table of calls: each row opens, reads and closes one of its own, such as
 * /proc/PID/status of one thread each.
 */
import { type Place, Program, type Result } from '../agent/program.ts';
import { byteString, putText } from '../base/bytes.ts';
import { ERRNO } from '../linux/abi/errno.ts';
import { AT_FDCWD, O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, S_IFMT, S_IFREG } from '../linux/abi/fcntl.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { parseMode, STAT_BYTES, tryReadFileBytes } from '../linux/syscalls/fs.ts';
import { CallTable, KeptTable, rowsFor } from './call-table.ts';
import { SecondCore } from './second-core.ts';

const PATH_BYTES = 64;

export interface FileColumnOptions {
  /** Room for paths, with the byte that ends them; 64 unless stated. */
  readonly pathBytes?: number;
  /** For files of unknown origin: links are not followed, and what is no regular file, or a long one, fails. */
  readonly mustBeRegular?: boolean;
}

export class FileColumn {
  readonly #path: Place;
  readonly #content: Place;
  readonly #read: Result;
  readonly #opened: Result;
  readonly #stat: Place | undefined;

  /** Adds the calls to the program of a row. A file that is longer than `bytes` is read a second time. */
  constructor(row: Program, bytes: number, { pathBytes = PATH_BYTES, mustBeRegular = false }: FileColumnOptions = {}) {
    this.#path = row.reserve(pathBytes);
    this.#content = row.reserve(bytes);
    const flags = O_RDONLY | O_CLOEXEC | (mustBeRegular ? O_NOFOLLOW | O_NONBLOCK : 0);
    this.#opened = row.call(SYS.openat, AT_FDCWD, this.#path, flags, 0);
    this.#stat = mustBeRegular ? row.reserve(STAT_BYTES) : undefined;
    if (this.#stat !== undefined) row.call(SYS.fstat, this.#opened, this.#stat);
    this.#read = row.call(SYS.read, this.#opened, this.#content, bytes);
    row.call(SYS.close, this.#opened);
  }

  /** Names the file of a row, by a byte string. */
  setPath(table: CallTable, row: number, path: string): void {
    putPath(path, table.block, table.at(row, this.#path));
  }

  /** The bytes of a row's file, which the next run overwrites, or −errno. `path` is as given to `setPath`. */
  bytes(table: CallTable, row: number, path: string): Uint8Array | number {
    const opened = table.result(row, this.#opened);
    const got = opened < 0 ? opened : table.result(row, this.#read);
    if (got < 0) return got;
    if (this.#stat !== undefined && !isRegular(table, row, this.#stat)) return -ERRNO.EINVAL;
    // What the kernel has made in one piece comes in one piece.
    if (got === this.#content.bytes) return this.#stat === undefined ? tryReadFileBytes(path) : -ERRNO.EFBIG;
    const at = table.at(row, this.#content);
    return table.block.subarray(at, at + got);
  }
}

const isRegular = (table: CallTable, row: number, stat: Place) =>
  (parseMode(table.view, table.at(row, stat)) & S_IFMT) === S_IFREG;

/** Reads many small files. Files longer than `bytes` are read a second time. */
export class SmallFiles {
  readonly #table: KeptTable<FileColumn>;

  constructor(bytes: number, options: FileColumnOptions = {}) {
    this.#table = new KeptTable((row) => new FileColumn(row, bytes, options));
  }

  /** `take` gets the bytes of each file, which it may not keep, or −errno, in the order of the paths. */
  read(paths: readonly string[], take: (content: Uint8Array | number, index: number) => void): void {
    using core = SecondCore.tryStart(paths.length);
    this.#table.use(paths.length, (table, column) => {
      table.runAll(
        paths.length,
        (i, index) => column.setPath(table, i, paths[index] ?? ''),
        (i, index) => take(column.bytes(table, i, paths[index] ?? ''), index),
        core,
      );
    });
  }
}

/** Reads many short symbolic links of /proc. `take` gets the byte string of each, or −errno, in the order of the paths. */
export function readSmallLinks(paths: readonly string[], take: (target: string | number, index: number) => void): void {
  const row = new Program();
  const [path, target] = [row.reserve(PATH_BYTES), row.reserve(LINK_BYTES)];
  const got = row.call(SYS.readlinkat, AT_FDCWD, path, target, LINK_BYTES);
  const table = new CallTable(row, rowsFor(paths.length));
  const { block } = table;
  const fill = (i: number, index: number) => putPath(paths[index] ?? '', block, table.at(i, path));
  const takeLink = (i: number, index: number) => {
    const [length, at] = [table.result(i, got), table.at(i, target)];
    take(length < 0 ? length : byteString(block.subarray(at, at + length)), index);
  };
  using core = SecondCore.tryStart(paths.length);
  table.runAll(paths.length, fill, takeLink, core);
}

/** "cgroup:[4026531835]" is the longest of those in /proc/PID/ns. */
const LINK_BYTES = 64;

function putPath(path: string, block: Uint8Array, at: number): void {
  putText(path, block, at);
  block[at + path.length] = 0;
}
