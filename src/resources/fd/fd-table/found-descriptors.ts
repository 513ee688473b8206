/** The descriptors that a dump has found, by task. */
import { countBefore } from '../../../base/sorted.ts';
import type { FdinfoEntry } from '../../../image/gen/fdinfo.ts';
import type { DescriptorOf } from '../file-kind.ts';

export class FoundDescriptors {
  /** By pid; ascending. */
  readonly #tables = new Map<number, readonly FdinfoEntry[]>();

  /** Adds all of a task, in ascending order. */
  add(pid: number, entries: readonly FdinfoEntry[]): void {
    this.#tables.set(pid, entries);
  }

  /** The numbers in a task's table. */
  fdsOf(pid: number): number[] {
    return (this.#tables.get(pid) ?? []).map(({ fd }) => fd);
  }

  /** Id of a description by its number in a task. */
  idOf(pid: number, fd: number): number | undefined {
    const entries = this.#tables.get(pid) ?? [];
    const entry = entries[countBefore(entries.length, (i) => (entries[i]?.fd ?? fd) < fd)];
    return entry?.fd === fd ? entry.id : undefined;
  }

  /** Id of the first descriptor that passes the test. */
  find(test: (descriptor: DescriptorOf) => boolean): number | undefined {
    for (const [pid, entries] of this.#tables) {
      for (const { fd, id } of entries) if (test({ pid, fd })) return id;
    }
    return undefined;
  }
}
