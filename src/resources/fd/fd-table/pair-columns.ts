/**
 * Pairs of ends (pipes, connected UNIX sockets) about which there is nothing special, as columns: what they are, where
 * they are to be, and what waits in them. There may be thousands, made by one call each (choose-pairs.ts).
 */
import type { DataRows, RowsKind } from '../../../image/data-rows.ts';
import type { EndRows } from '../../../image/end-rows.ts';
import type { FileEntry } from '../../../image/gen/fdinfo.ts';
import type { RestoreContext } from '../file-kind.ts';
import type { FdTablePlan } from './fd-table-plan.ts';

/** What a kind of files says about such pairs of its ends. */
export interface PairKind {
  /** Whether a new end is like this one without anything else being done. */
  isPlain(end: FileEntry, context: RestoreContext): boolean;
  /** Whether one call makes both, and returns `first` first. Either may be given as that. */
  fits(first: FileEntry, second: FileEntry): boolean;
  /** What waits in all of them, and in others. */
  data(context: RestoreContext): DataRows<RowsKind>;
  /** Whose it is: the id of a file, or the number of an end. */
  readonly dataOwner: 'id' | 'number';
  /** Whether `count` rows of data from `first` on can be put back by one call each. */
  canFill(data: DataRows<RowsKind>, first: number, count: number, context: RestoreContext): boolean;
  /** Reads what waits in files that are no rows. Throws ImageError when something belongs to no file. */
  readOthers(context: RestoreContext): void;
  /** Plans the pairs whose first ends are these rows. Returns the numbers of their ends, two by two. */
  create(pairs: PairColumns, firsts: readonly number[], table: FdTablePlan, context: RestoreContext): number[];
}

export class PairColumns {
  readonly ends: EndRows;
  /** By row of `ends`: its descriptor, or one of the following. */
  readonly fds: Int32Array;
  readonly isCloexec: Uint8Array;
  /** Index of the table. */
  readonly homes: Uint32Array;
  /** The row of the other end; −1 when it has none. */
  readonly partners: Int32Array;
  /** The first row of data, and how many there are. */
  readonly dataAt: Int32Array;
  readonly dataCount: Uint32Array;

  constructor(ends: EndRows) {
    const { count } = ends;
    this.ends = ends;
    this.fds = new Int32Array(count).fill(NO_DESCRIPTOR);
    this.isCloexec = new Uint8Array(count);
    this.homes = new Uint32Array(count);
    this.partners = new Int32Array(count).fill(-1);
    this.dataAt = new Int32Array(count);
    this.dataCount = new Uint32Array(count);
  }

  partnerOf(row: number): number {
    return this.partners[row] ?? -1;
  }

  fdOf(row: number): number {
    return this.fds[row] ?? UNFIT;
  }
}

export const NO_DESCRIPTOR = -1;
/** There is something special about it. */
export const UNFIT = -2;
