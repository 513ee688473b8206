/** Descriptors of files that are rows: plain files and pairs. They are planned in the order of their numbers, whatever they are. */
import { NO_NUMBER, type Table } from './description.ts';
import type { PairDescriptors } from './pair-descriptors.ts';
import type { PlainDescriptors } from './plain-descriptors.ts';

export class RowDescriptors {
  readonly plain: PlainDescriptors | undefined;
  readonly #pairs: PairDescriptors | undefined;

  constructor(plain: PlainDescriptors | undefined, pairs: PairDescriptors | undefined) {
    this.plain = plain;
    this.#pairs = pairs;
  }

  get areNone(): boolean {
    return this.plain === undefined && this.#pairs === undefined;
  }

  /** Plans those of a table that have smaller numbers than `end` and are not planned yet. */
  planUntil(table: Table, end: number): void {
    for (;;) {
      const file = this.plain?.next(table) ?? NO_NUMBER;
      const pair = this.#pairs?.next(table) ?? NO_NUMBER;
      if (Math.min(file, pair) >= end) return;
      if (file < pair) this.plain?.planUntil(table, Math.min(pair, end));
      else this.#pairs?.planUntil(table, Math.min(file, end));
    }
  }
}
