/** Files of one kind that are planned together, for each of them gets the number that comes next. */
import type { FileEntry } from '../../../image/gen/fdinfo.ts';
import type { FileKind, RestoreContext } from '../file-kind.ts';
import type { Description, Table } from './description.ts';

export class ManyFiles {
  readonly #table: Table;
  readonly #context: RestoreContext;
  #kind: FileKind | undefined;
  #fits: (entry: FileEntry) => boolean = () => false;
  #files: Description[] = [];
  /** The number of the next one. */
  #next = 0;

  constructor(table: Table, context: RestoreContext) {
    this.#table = table;
    this.#context = context;
  }

  /** Takes a file; false when it has to be planned by itself, after `plan`. */
  tryAdd(file: Description): boolean {
    const { kind, slots } = file;
    if (kind.many === undefined || slots.length !== 1 || file.table !== this.#table) return false;
    const { plan } = this.#table;
    if (kind !== this.#kind) {
      this.plan();
      this.#kind = kind;
      this.#fits = kind.many.fits(this.#context);
    }
    if (this.#files.length === 0) this.#next = plan.lowestFree;
    if (slots[0]?.fd !== this.#next || plan.has(this.#next) || !this.#fits(file.entry)) return false;
    this.#files.push(file);
    this.#next++;
    return true;
  }

  /** Plans those that were taken since the last call. */
  plan(): void {
    const files = this.#files;
    if (files.length === 0) return;
    this.#files = [];
    this.#kind?.many?.create(files, this.#table.plan);
    for (const file of files) file.homeFd = file.slots[0]?.fd ?? -1;
  }
}
