/** Plans the pairs of a tree (choose-pairs.ts) table by table, in the order of their numbers. */
import type { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { FileKind, RestoreContext } from '../file-kind.ts';
import type { ChosenPairs } from './choose-pairs.ts';
import { NO_NUMBER, type Table } from './description.ts';
import type { FdTablePlan } from './fd-table-plan.ts';
import type { PairColumns } from './pair-columns.ts';

export class PairDescriptors {
  readonly #columns: PairColumns;
  readonly #kindOf: (type: FdTypes) => FileKind | undefined;
  readonly #context: RestoreContext;
  /** The first rows of pairs by table, by their lower numbers; and how many of them are planned. */
  readonly #tables = new Map<Table, { readonly firsts: number[]; done: number }>();

  constructor(
    { columns, firsts }: ChosenPairs,
    tables: readonly Table[],
    kindOf: (type: FdTypes) => FileKind | undefined,
    context: RestoreContext,
  ) {
    this.#context = context;
    this.#columns = columns;
    this.#kindOf = kindOf;
    for (const table of tables) this.#tables.set(table, { firsts: [], done: 0 });
    for (const row of firsts) {
      const table = tables[columns.homes[row] ?? 0];
      if (table !== undefined) this.#tables.get(table)?.firsts.push(row);
    }
  }

  /** The lowest number of a pair that is not planned yet; NO_NUMBER when there is none. */
  next(table: Table): number {
    const known = this.#tables.get(table);
    const row = known?.firsts[known.done];
    return row === undefined ? NO_NUMBER : this.#lowest(row);
  }

  #lowest(row: number): number {
    return Math.min(this.#columns.fdOf(row), this.#columns.fdOf(this.#columns.partnerOf(row)));
  }

  /** Plans those of a table that have smaller numbers than `end` and are not planned yet. */
  planUntil(table: Table, end: number): void {
    const known = this.#tables.get(table);
    if (known === undefined) return;
    while (this.next(table) < end) {
      const start = known.done;
      known.done = this.#endOfRun(table.plan, known.firsts, start, end);
      this.#planRun(table.plan, known.firsts.slice(start, known.done));
    }
  }

  /** The first that is of another type, or has not the two numbers that follow those of the one before. */
  #endOfRun(plan: FdTablePlan, firsts: readonly number[], start: number, end: number): number {
    const { ends } = this.#columns;
    const first = firsts[start] ?? 0;
    const lowest = this.#columns.fdOf(first);
    const type = ends.typeAt(first);
    let next = start;
    for (; next < firsts.length; next++) {
      const row = firsts[next] ?? 0;
      const fd = lowest + 2 * (next - start);
      if (this.#columns.fdOf(row) !== fd || this.#columns.fdOf(this.#columns.partnerOf(row)) !== fd + 1) break;
      if (fd >= end || ends.typeAt(row) !== type || plan.has(fd) || plan.has(fd + 1)) break;
    }
    return Math.max(next, start + 1);
  }

  /** Numbers before them that nobody has are taken meanwhile, or they get their own one by one, whichever is less. */
  #planRun(plan: FdTablePlan, firsts: readonly number[]): void {
    const kind = this.#kindOf(this.#columns.ends.typeAt(firsts[0] ?? 0))?.pairs;
    if (kind === undefined) return;
    const lowest = this.#lowest(firsts[0] ?? 0);
    const plugs = plan.plug(lowest, firsts.length);
    if (plan.lowestFree === lowest) {
      const numbers = kind.create(this.#columns, firsts, plan, this.#context);
      for (const [i, row] of firsts.entries()) this.#place(plan, row, numbers[2 * i] ?? -1, numbers[2 * i + 1] ?? -1);
    } else {
      for (const row of firsts) {
        const [fd = -1, other = -1] = kind.create(this.#columns, [row], plan, this.#context);
        this.#place(plan, row, fd, other);
      }
    }
    for (const fd of plugs) plan.close(fd);
  }

  /** Gives a pair its numbers, unless it has them. */
  #place(plan: FdTablePlan, row: number, from: number, otherFrom: number): void {
    const { fds, isCloexec } = this.#columns;
    const partner = this.#columns.partnerOf(row);
    const [fd, otherFd] = [fds[row] as number, fds[partner] as number];
    if (fd === from && otherFd === otherFrom) return;
    const hasCloexec = isCloexec[row] === 1;
    plan.place([
      { from, isCloexec: hasCloexec, slots: [{ fd, isCloexec: hasCloexec }] },
      { from: otherFrom, isCloexec: hasCloexec, slots: [{ fd: otherFd, isCloexec: hasCloexec }] },
    ]);
  }
}
