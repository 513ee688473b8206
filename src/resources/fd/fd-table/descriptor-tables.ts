/** The descriptor tables of all tasks of a dump: what is in each, by the way that is fastest for its size. */
import { expectMany } from '../../../base/hot-code.ts';
import type { FrozenTask } from '../../../dump/frozen-tree.ts';
import { ERRNO } from '../../../linux/abi/errno.ts';
import { FdProbe, listDescriptors } from './fd-probe.ts';
import { type ListedFiles, tryListFiles } from './listed-files.ts';
import type { DescriptorFile } from './open-file.ts';
import { ProbeTables } from './probe-tables.ts';
import { QuickFiles } from './quick-files.ts';

/**
 * From so many descriptors of a table on, it pays to find out whose fdinfo need not be read: /proc/locks makes the kernel
 * wait until all cores have passed a quiet point, 10 ms (fs/locks.c locks_start(), percpu_down_write()).
 */
const MANY = 1500;

export class DescriptorTables {
  #tables: ProbeTables | undefined = undefined;
  #quick: { readonly files: QuickFiles | undefined } | undefined = undefined;

  /** The table of a task; one is open at a time. Throws CriuError. */
  open(task: FrozenTask): DescriptorTable {
    const listed = tryListFiles(task);
    const fds = listed?.fds ?? listDescriptors(task);
    expectMany(fds.length);
    return new DescriptorTable(fds, listed, this.#probe(task, listed?.others ?? fds));
  }

  /** Undefined when there is nothing to be probed. */
  #probe(task: FrozenTask, fds: readonly number[]): FdProbe | undefined {
    if (fds.length === 0) return undefined;
    this.#tables = ProbeTables.for(fds.length, this.#tables);
    return new FdProbe(task, fds, this.#tables, fds.length < MANY ? undefined : this.#quickFiles());
  }

  #quickFiles(): QuickFiles | undefined {
    this.#quick ??= { files: QuickFiles.tryRead() };
    return this.#quick.files;
  }

  [Symbol.dispose](): void {
    this.#tables?.[Symbol.dispose]();
    this.#tables = undefined;
  }
}

export class DescriptorTable {
  /** Ascending. */
  readonly fds: readonly number[];
  readonly #listed: ListedFiles | undefined;
  readonly #probe: FdProbe | undefined;
  /** How many of the probe's have been asked for, when it has only those that are not listed. */
  #probed = 0;

  constructor(fds: readonly number[], listed: ListedFiles | undefined, probe: FdProbe | undefined) {
    this.fds = fds;
    this.#listed = listed;
    this.#probe = probe;
  }

  /**
   * What is behind `fds[index]`, to be asked for in ascending order, and closed before the next; −errno when it cannot be
   * fetched. Throws SyscallError.
   */
  inspect(index: number): DescriptorFile | number {
    const known = this.#listed?.tryInspect(index);
    if (known !== undefined) return known;
    const place = this.#listed === undefined ? index : this.#probed++;
    return this.#probe?.inspect(place) ?? -ERRNO.EBADF;
  }

  [Symbol.dispose](): void {
    this.#probe?.[Symbol.dispose]();
  }
}
