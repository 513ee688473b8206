/**
 * Writes many small files, each from its first byte: a table of calls that creates, writes and closes a portion of them.
 */
import { Program, type Result } from '../agent/program.ts';
import { putText } from '../base/bytes.ts';
import { AT_FDCWD, O_CLOEXEC } from '../linux/abi/fcntl.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { CallTable, rowsFor } from './call-table.ts';
import { SecondCore } from './second-core.ts';

export interface SmallFilesOptions {
  /** How many there may be. */
  readonly count: number;
  /** Room for a path, with the byte that ends it, and for a file. */
  readonly pathBytes: number;
  readonly bytes: number;
  /** For openat(2). */
  readonly flags: number;
  readonly mode: number;
}

export class SmallFiles {
  readonly #table: CallTable;
  readonly #core: SecondCore | undefined;
  readonly #opened: Result;
  readonly #written: Result;
  readonly #closed: Result;
  readonly #pathAt: number;
  readonly #contentAt: number;
  readonly #options: SmallFilesOptions;
  readonly #failed: (path: string, content: Uint8Array) => void;
  #paths: string[] = [];
  #sizes: number[] = [];

  /** `failed` gets each file that has not been written as a whole. */
  constructor(options: SmallFilesOptions, failed: (path: string, content: Uint8Array) => void) {
    const { count, pathBytes, bytes, flags, mode } = options;
    const row = new Program();
    const [path, content] = [row.reserve(pathBytes), row.reserve(bytes)];
    this.#opened = row.call(SYS.openat, AT_FDCWD, path, flags | O_CLOEXEC, mode);
    this.#written = row.call(SYS.write, this.#opened, content, 0);
    this.#closed = row.call(SYS.close, this.#opened);
    this.#table = new CallTable(row, rowsFor(count));
    this.#core = SecondCore.tryStart(count);
    this.#pathAt = this.#table.at(0, path);
    this.#contentAt = this.#table.at(0, content);
    this.#options = options;
    this.#failed = failed;
  }

  /** False when it is too long for this table. The content is copied. */
  tryAdd(path: string, content: Uint8Array): boolean {
    const { pathBytes, bytes } = this.#options;
    if (path.length >= pathBytes || content.length > bytes) return false;
    const table = this.#table;
    const row = this.#paths.length;
    const at = row * table.rowBytes;
    putText(path, table.block, at + this.#pathAt);
    table.block[at + this.#pathAt + path.length] = 0;
    table.block.set(content, at + this.#contentAt);
    table.view.setUint32(table.argument(row, this.#written, 2), content.length, true);
    this.#paths.push(path);
    this.#sizes.push(content.length);
    if (this.#paths.length === table.rows) this.flush();
    return true;
  }

  /** Writes what has been added. */
  flush(): void {
    const [paths, sizes] = [this.#paths, this.#sizes];
    this.#paths = [];
    this.#sizes = [];
    const table = this.#table;
    table.run(paths.length, this.#core);
    for (let row = 0; row < paths.length; row++) {
      const size = sizes[row] ?? 0;
      if (table.result(row, this.#written) === size && table.result(row, this.#closed) === 0) continue;
      const at = row * table.rowBytes + this.#contentAt;
      this.#failed(paths[row] ?? '', table.block.slice(at, at + size));
    }
  }

  [Symbol.dispose](): void {
    this.#core?.[Symbol.dispose]();
  }
}
