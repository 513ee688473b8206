/** Plans of files of made-up trees, for tests: as entries and as rows. */
import { expect } from 'bun:test';
import { ABI_64 } from '../../../agent/abi.ts';
import { CriuErrors } from '../../../base/errors.ts';
import { type FdinfoEntry, FdTypes, type FileEntry } from '../../../image/gen/fdinfo.ts';
import type { FileLockEntry } from '../../../image/gen/file-lock.ts';
import type { RegFileEntry } from '../../../image/gen/regfile.ts';
import type { RemapFilePathEntry } from '../../../image/gen/remap-file-path.ts';
import type { SkPacketEntry } from '../../../image/gen/sk-packet.ts';
import type { ImageDir } from '../../../image/image-dir.ts';
import { imagesWith } from '../../../image/images-with.test-support.ts';
import { type OpenFiles, readOpenFiles } from '../../../image/open-files.ts';
import { serializeImage } from '../../../image/serialize-image.ts';
import { O_RDWR, S_IFREG } from '../../../linux/abi/fcntl.ts';
import type { Stat } from '../../../linux/syscalls/fs.ts';
import type { RestoreTask, RestoreTree } from '../../../restore/restore-tree.ts';
import type { RestoreSystem } from '../file-kind.ts';
import type { Step } from '../step.ts';
import { ModelTable } from './model-table.test-support.ts';
import { planFiles } from './plan-files.ts';
import type { PlannedFiles } from './planned-files.ts';

export const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };
export const mode = S_IFREG | 0o644;

export const reg = (id: number, name: string, more: Partial<RegFileEntry> = {}): FileEntry => ({
  type: FdTypes.REG,
  id,
  reg: { id, name, flags: O_RDWR, pos: 0n, fown, mode, build_id: [], ...more },
});
export const pipe = (id: number, pipe_id: number, flags: number): FileEntry => ({
  type: FdTypes.PIPE,
  id,
  pipe: { id, pipe_id, flags, fown },
});
export const fd = (number: number, id: number, type: FdTypes = FdTypes.REG, flags = 0): FdinfoEntry => ({
  fd: number,
  id,
  type,
  flags,
});

export function task(pid: number, filesId: number, fds: FdinfoEntry[]): RestoreTask {
  const part = { abi: ABI_64, kind: 'task', pid, ids: { files_id: filesId }, fds, label: `task ${pid} 'x'` };
  return part as unknown as RestoreTask;
}

export interface Images {
  'remap-fpath'?: RemapFilePathEntry[];
  filelocks?: FileLockEntry[];
  'pipes-data'?: { message: { pipe_id: number; bytes: number; size?: number }; payload: Uint8Array }[];
  'sk-queues'?: { message: SkPacketEntry; payload: Uint8Array }[];
}

export function plan(tasks: RestoreTask[], files: FileEntry[], images: Images = {}, more: Partial<RestoreSystem> = {}) {
  return planOf(tasks, new Map(files.map((entry) => [entry.id, entry])), images, more);
}

/** The same where plain files are rows. */
export function planRows(
  tasks: RestoreTask[],
  files: FileEntry[],
  images: Images = {},
  more: Partial<RestoreSystem> = {},
) {
  // As many as it takes.
  const others = Array.from({ length: 500 }, (_, i) => reg(1_000_000 + i, `/nobody/${i}`));
  const bytes = serializeImage('files', [...files, ...others]);
  const open = readOpenFiles({ tryReadBytes: () => bytes } as unknown as ImageDir);
  expect(open.plain?.count).toBeGreaterThanOrEqual(500);
  return planOf(tasks, open, images, more, []);
}

/** The same where nothing is a row. */
export const planWithoutRows: typeof plan = (tasks, files, images = {}, more = {}) =>
  planOf(tasks, new Map(files.map((entry) => [entry.id, entry])), images, more, []);

function planOf(
  tasks: RestoreTask[],
  files: OpenFiles,
  images: Images,
  more: Partial<RestoreSystem>,
  inheritFds = [{ fd: 9, key: 'tmp/inherited' }],
) {
  const stat = { st_mode: mode, st_size: 7 } as Stat;
  return planFiles({
    warn: () => undefined,
    tree: { tasks, members: tasks, files } as unknown as RestoreTree,
    images: imagesWith(images),
    options: {
      inheritFds,
      skipFileRwxCheck: false,
      shellJob: false,
      evasiveDevices: false,
      fileValidation: 'buildid',
    },
    controllerPid: 1000,
    system: {
      stat: () => stat,
      head: () => -5,
      wallClockNs: () => 0n,
      socketBuffers: () => undefined,
      groups: () => [0],
      deviceIndex: () => 1,
      deviceName: () => 'lo',
      ...more,
    },
  });
}

/** The steps of a task in one stage, as they reach a program. */
export function steps(planned: PlannedFiles, stage: 'create' | 'share' | 'finish', pid: number): Step[] {
  return planned.steps(stage, pid);
}

/** Executes the whole plan on model tables; returns the tables by pid. */
export function execute(planned: PlannedFiles, pids: number[]): Map<number, ModelTable> {
  const tables = new Map<number, ModelTable>();
  const controller = new ModelTable();
  for (let i = 0; i < 10; i++) controller.descriptors.set(i, { file: { what: `inherited ${i}` }, isCloexec: false });
  tables.set(1000, controller);
  for (const pid of pids) tables.set(pid, new ModelTable(tables));
  for (const stage of ['create', 'share', 'finish'] as const) {
    for (const pid of pids) tables.get(pid)?.run(steps(planned, stage, pid));
  }
  return tables;
}

export function problems(run: () => unknown): string[] {
  try {
    run();
  } catch (error) {
    if (error instanceof CriuErrors) return error.lines;
    throw error;
  }
  return [];
}
