/**
 * Descriptors of plain files (image/plain-files.ts), each the only one of its file. There may be many thousands, so they are
 * rows that are planned together. All others are descriptions.
 */

import type { PlainFiles } from '../../../image/plain-files.ts';
import { createPlainFiles, type PlainSource, plainSource } from '../regular-file/create-files.ts';
import { NO_NUMBER, type Table } from './description.ts';
import type { Slot } from './fd-table-plan.ts';

/** Instead of the number of a file's descriptor: none so far, or the file is a description. */
const NONE = -1;
const DESCRIBED = -2;

/** The rows of a table. */
interface TableRows {
  readonly table: Table;
  /** In the order of descriptors. */
  readonly rows: number[];
  /** How many of them are planned. */
  done: number;
}

const NO_ROWS = { rows: [], done: 0 } as const;

export class PlainDescriptors {
  readonly #source: PlainSource;
  readonly #files: PlainFiles;
  /** Whether there is more about a file than its entry says. */
  readonly #isSpecial: (id: number) => boolean;
  /** By row. */
  readonly #fds: Int32Array;
  /** By row: index in `#tables`. */
  readonly #homes: Uint32Array;
  readonly #tables: TableRows[] = [];

  constructor(files: PlainFiles, isSpecial: (id: number) => boolean) {
    this.#source = plainSource(files);
    this.#files = files;
    this.#isSpecial = isSpecial;
    this.#fds = new Int32Array(files.count).fill(NONE);
    this.#homes = new Uint32Array(files.count);
  }

  /** Takes a descriptor of a file; false when the file has to be a description. A table's come in ascending order. */
  tryAdd(table: Table, id: number, fd: number, isCloexec: boolean): boolean {
    const row = this.#files.rowOf(id);
    if (row < 0 || this.#fds[row] !== NONE || this.#isSpecial(id)) return false;
    this.#fds[row] = fd;
    this.#source.isCloexec[row] = isCloexec ? 1 : 0;
    this.#homes[row] = this.#indexOf(table);
    this.#tables[this.#homes[row] ?? 0]?.rows.push(row);
    return true;
  }

  /** The file is to be a description from now on. Returns the descriptor that it has so far. */
  release(id: number): { readonly table: Table; readonly slot: Slot } | undefined {
    const row = this.#files.rowOf(id);
    if (row < 0) return undefined;
    const fd = this.#fds[row] ?? NONE;
    this.#fds[row] = DESCRIBED;
    const home = this.#tables[this.#homes[row] ?? 0];
    if (fd < 0 || home === undefined) return undefined;
    return { table: home.table, slot: { fd, isCloexec: this.#source.isCloexec[row] === 1 } };
  }

  /** The lowest number of a table that is not planned yet; NO_NUMBER when there is none. */
  next(table: Table): number {
    const { rows, done } = this.#tables[this.#indexOf(table)] ?? NO_ROWS;
    for (let i = done; i < rows.length; i++) if (this.#fdOf(rows[i]) >= 0) return this.#fdOf(rows[i]);
    return NO_NUMBER;
  }

  /** Plans those of a table that have smaller numbers than `end` and are not planned yet. */
  planUntil(table: Table, end: number): void {
    const known = this.#tables[this.#indexOf(table)];
    if (known === undefined) return;
    const { rows } = known;
    while (known.done < rows.length && this.#fdOf(rows[known.done]) < end) {
      const start = known.done;
      known.done = this.#endOfRun(table, rows, start, end);
      // Others are descriptions by now.
      if (this.#fdOf(rows[start]) >= 0) this.#planRun(table, rows.slice(start, known.done));
    }
  }

  /** The first that does not have the number that follows the one before it. */
  #endOfRun({ plan }: Table, rows: readonly number[], start: number, end: number): number {
    const offset = this.#fdOf(rows[start]) - start;
    let next = start + 1;
    for (; next < rows.length; next++) {
      const fd = this.#fdOf(rows[next]);
      if (fd !== next + offset || fd >= end || plan.has(fd)) break;
    }
    return next;
  }

  /** Numbers before them that nobody has are taken meanwhile, or they get their own one by one, whichever is less. */
  #planRun({ plan }: Table, rows: readonly number[]): void {
    const first = this.#fdOf(rows[0]);
    const plugs = plan.plug(first, rows.length);
    if (plan.lowestFree === first) createPlainFiles(this.#source, rows, plan);
    for (const fd of plugs) plan.close(fd);
    if (plan.has(first)) return;
    for (const row of rows) {
      const made = plan.lowestFree;
      createPlainFiles(this.#source, [row], plan);
      const isCloexec = this.#source.isCloexec[row] === 1;
      plan.settle(made, isCloexec, [{ fd: this.#fdOf(row), isCloexec }]);
    }
  }

  /** Mostly it is the last one. */
  #indexOf(table: Table): number {
    for (let i = this.#tables.length - 1; i >= 0; i--) if (this.#tables[i]?.table === table) return i;
    return this.#tables.push({ table, rows: [], done: 0 }) - 1;
  }

  #fdOf(row: number | undefined): number {
    return this.#fds[row ?? 0] ?? NONE;
  }
}
