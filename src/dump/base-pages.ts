/** Which pages of a tree go to the folder `base`: those that tasks share, or, for more speed, a part of a big task's. */
import type { Logger } from '../base/log.ts';
import type { ImageDir } from '../image/image-dir.ts';
import { BASE_FOLDER } from '../image/image-kinds.ts';
import type { DumpRun } from '../resources/mm/dump-pages.ts';
import { findSharedPages, type SharedPages } from '../resources/mm/shared-pages.ts';
import { halveBase, splitPages } from '../resources/mm/split-pages.ts';
import { threadCount } from '../tracee/parallel.ts';
import type { FrozenTask } from './frozen-tree.ts';
import type { Base } from './memory-dump.ts';

/** A task and its pages, as far as they have been looked for. */
interface FoundTask {
  readonly task: FrozenTask;
  readonly runs: readonly DumpRun[] | undefined;
  readonly topTable: bigint | undefined;
}

/** Pages that tasks share, or else a part of those of a big task, and where they are to go; undefined: there are none. */
export function findBase(dumped: readonly FoundTask[], images: ImageDir, log: Logger): Base | undefined {
  const shared = dumped.length < 2 ? undefined : findSharedPages(runsOf(dumped));
  if (shared === undefined) return splitBase(dumped, images, log);
  const base = makeBase(shared, 'pages that tasks share are written once', images, log);
  return base && withRest(base);
}

/** A part of the pages of a big task; undefined when it is not worth it. */
export function splitBase(dumped: readonly FoundTask[], images: ImageDir, log: Logger): Base | undefined {
  const pages = threadCount() < 2 ? undefined : splitPages(runsOf(dumped));
  return pages && makeBase(pages, 'memory of a big task is written to two files', images, log);
}

function makeBase(pages: SharedPages, what: string, images: ImageDir, log: Logger): Base | undefined {
  const folder = images.tryCreateParent(BASE_FOLDER);
  if (folder === undefined) return undefined;
  log.debug(`${what}: ${folder.path}`);
  return { ...pages, images: folder, rest: undefined };
}

/** Many shared pages are spread over two files as well: a base has a base then. */
function withRest(base: Base): Base {
  const parts = threadCount() < 2 ? undefined : halveBase(base);
  const images = parts && base.images.tryCreateParent(BASE_FOLDER);
  if (parts === undefined || images === undefined) return base;
  return { ...base, base: [...parts.before, ...parts.after], rest: { from: parts.before.length, images } };
}

const runsOf = (dumped: readonly FoundTask[]) =>
  dumped.map(({ task, runs = [], topTable }) => ({ pid: task.pid, runs, topTable }));
