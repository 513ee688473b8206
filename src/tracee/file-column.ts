/**
 * A column of small files in a table of calls: each row opens, reads and closes one of its own, such as
 * /proc/PID/status of one thread each.
 */
import { type Place, Program, type Result } from '../agent/program.ts';
import { AT_FDCWD, O_CLOEXEC, O_RDONLY } from '../linux/abi/fcntl.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { tryReadFileBytes } from '../linux/syscalls/fs.ts';
import { CallTable, rowsFor } from './call-table.ts';

const PATH_BYTES = 64;

export class FileColumn {
  readonly #path: Place;
  readonly #content: Place;
  readonly #read: Result;
  readonly #opened: Result;

  /** Adds the calls to the program of a row. A file that is longer than `bytes` is read a second time. */
  constructor(row: Program, bytes: number) {
    this.#path = row.reserve(PATH_BYTES);
    this.#content = row.reserve(bytes);
    this.#opened = row.call(SYS.openat, AT_FDCWD, this.#path, O_RDONLY | O_CLOEXEC, 0);
    this.#read = row.call(SYS.read, this.#opened, this.#content, bytes);
    row.call(SYS.close, this.#opened);
  }

  /** Names the file of a row; its path is ASCII and shorter than 64 bytes. */
  setPath(table: CallTable, row: number, path: string): void {
    const { block } = table;
    let at = table.at(row, this.#path);
    for (let i = 0; i < path.length; i++) block[at++] = path.charCodeAt(i);
    block[at] = 0;
  }

  /** The bytes of a row's file, which the next run overwrites, or −errno. `path` is as given to `setPath`. */
  bytes(table: CallTable, row: number, path: string): Uint8Array | number {
    const opened = table.result(row, this.#opened);
    const got = opened < 0 ? opened : table.result(row, this.#read);
    if (got < 0) return got;
    // What the kernel has made in one piece comes in one piece.
    if (got === this.#content.bytes) return tryReadFileBytes(path);
    const at = table.at(row, this.#content);
    return table.block.subarray(at, at + got);
  }
}

/**
 * Reads many small files. `take` gets the bytes of each, which it may not keep, or −errno, in the order of the paths. Files
 * longer than `bytes` are read a second time.
 */
export function readFiles(
  paths: readonly string[],
  bytes: number,
  take: (content: Uint8Array | number, index: number) => void,
): void {
  const row = new Program();
  const column = new FileColumn(row, bytes);
  const table = new CallTable(row, rowsFor(paths.length));
  table.runAll(
    paths.length,
    (i, index) => column.setPath(table, i, paths[index] ?? ''),
    (i, index) => take(column.bytes(table, i, paths[index] ?? ''), index),
  );
}
