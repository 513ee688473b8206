/** What a restore works on: the images of a tree, checked and put together by task. */
import type { Abi } from '../agent/abi.ts';
import type { CoreEntry, TaskKobjIdsEntry } from '../image/gen/core.ts';
import type { FdinfoEntry } from '../image/gen/fdinfo.ts';
import type { FsEntry } from '../image/gen/fs.ts';
import type { InventoryEntry } from '../image/gen/inventory.ts';
import type { MmEntry } from '../image/gen/mm.ts';
import type { VmaEntry } from '../image/gen/vma.ts';
import type { Pagemap } from '../image/image-kinds.ts';
import type { OpenFiles } from '../image/open-files.ts';
import type { PageRun } from '../resources/mm/pages-image.ts';

export interface RestoreThread {
  readonly tid: number;
  readonly core: CoreEntry;
}

/** A task that is to live. */
export interface RestoreTask {
  readonly kind: 'task';
  readonly pid: number;
  readonly ppid: number;
  readonly pgid: number;
  readonly sid: number;
  readonly core: CoreEntry;
  /** What kind of code all of its threads execute. */
  readonly abi: Abi;
  readonly ids: TaskKobjIdsEntry;
  readonly mm: MmEntry;
  /** Those of its mappings that are not plain: see plain-vma.ts. */
  readonly special: readonly VmaEntry[];
  readonly pagemap: Pagemap;
  /** Its pages, those of parent folders included, in order of address. */
  readonly runs: readonly PageRun[];
  readonly fs: FsEntry;
  /** Descriptors of its table by number; tasks with equal `ids.files_id` share one table and one array. */
  readonly fds: readonly FdinfoEntry[];
  /** The leader first. */
  readonly threads: readonly RestoreThread[];
  /** "task 1234 'nginx'", for messages. */
  readonly label: string;
}

/** A task that is dead and waits for its parent. */
export interface RestoreZombie {
  readonly kind: 'zombie';
  readonly pid: number;
  readonly ppid: number;
  readonly pgid: number;
  readonly sid: number;
  readonly core: CoreEntry;
  readonly label: string;
}

export type RestoreMember = RestoreTask | RestoreZombie;

/** Parents before children; the root first. */
export interface RestoreTree {
  readonly inventory: InventoryEntry;
  readonly root: RestoreTask;
  readonly members: readonly RestoreMember[];
  readonly tasks: readonly RestoreTask[];
  readonly files: OpenFiles;
}
