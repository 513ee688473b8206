/**
 * The pages that an address space does not have yet, and where each is to be had: runs in order of address, which are cut
 * as pages arrive, or as the task gives up or moves a part of them. Pure.
 */

import { PAGE_BYTES } from '../image/pagemap.ts';
import { firstEndingAfter } from '../resources/mm/pages-image.ts';

/** Consecutive pages, and the place of the first one in their source. What a place is, is the source's matter. */
export interface PendingRun {
  readonly address: number;
  readonly bytes: number;
  readonly place: number;
}

export class PendingPages {
  #runs: PendingRun[];
  #bytes: number;

  /** Takes runs in order of address that do not overlap. */
  constructor(runs: readonly PendingRun[]) {
    this.#runs = runs.slice();
    this.#bytes = runs.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** How much is missing. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The same of a forked child. */
  copy(): PendingPages {
    return new PendingPages(this.#runs);
  }

  /** Takes out whatever is missing between two addresses. */
  take(start: number, end: number): PendingRun[] {
    const first = firstEndingAfter(this.#runs, start);
    const taken: PendingRun[] = [];
    const left: PendingRun[] = [];
    let last = first;
    for (; ; last++) {
      const run = this.#runs[last];
      if (run === undefined || run.address >= end) break;
      const runEnd = run.address + run.bytes;
      if (run.address < start) left.push(part(run, run.address, start));
      const middle = part(run, Math.max(run.address, start), Math.min(runEnd, end));
      taken.push(middle);
      this.#bytes -= middle.bytes;
      if (runEnd > end) left.push(part(run, end, runEnd));
    }
    if (last > first) this.#runs.splice(first, last - first, ...left);
    return taken;
  }

  /**
   * Takes the next piece of one run from an address on, of at most `bytesMax` and ending at a multiple of it; after the
   * last one it goes on with the first. Undefined when nothing is missing.
   */
  takeNext(from: number, bytesMax: number): PendingRun | undefined {
    const run = this.#runs[firstEndingAfter(this.#runs, from)] ?? this.#runs[0];
    if (run === undefined) return undefined;
    const start = run.address <= from && from < run.address + run.bytes ? from : run.address;
    const end = (Math.floor(start / bytesMax) + 1) * bytesMax;
    return this.take(start, Math.min(end, run.address + run.bytes))[0];
  }

  /** What was taken is missing again after all. */
  putBack(run: PendingRun): void {
    if (run.bytes <= 0) return;
    this.#runs.splice(firstEndingAfter(this.#runs, run.address), 0, run);
    this.#bytes += run.bytes;
  }

  /** mremap(2): what was to come to one range belongs to another one. */
  move(from: number, to: number, bytes: number): void {
    for (const run of this.take(from, from + bytes)) this.putBack({ ...run, address: run.address - from + to });
  }
}

const part = ({ address, place }: PendingRun, start: number, end: number): PendingRun => ({
  address: start,
  bytes: end - start,
  place: place + start - address,
});

/** Address of the page. */
export const pageOf = (address: number): number => address - (address % PAGE_BYTES);
