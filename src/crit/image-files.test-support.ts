/** A small tree of tasks as images in memory, for tests: two living processes, one dead, with all kinds of things open. */
import type { CoreEntry } from '../image/gen/core.ts';
import { FdTypes, type FileEntry } from '../image/gen/fdinfo.ts';
import type { MmEntry } from '../image/gen/mm.ts';
import type { SkOptsEntry } from '../image/gen/sk-opts.ts';
import type { VmaEntry } from '../image/gen/vma.ts';
import { type ContentOf, type ImageKindName, imageFileName } from '../image/image-kinds.ts';
import { serializeImage } from '../image/serialize-image.ts';
import { TASK_ALIVE, TASK_ZOMBIE } from '../image/task-state.ts';
import {
  VMA_ANON_PRIVATE,
  VMA_ANON_SHARED,
  VMA_AREA_HEAP,
  VMA_AREA_REGULAR,
  VMA_FILE_PRIVATE,
} from '../image/vma-status.ts';
import type { ImageFiles } from './image-folder.ts';

export const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };
const socketOptions: SkOptsEntry = {
  ...{ so_sndbuf: 1, so_rcvbuf: 1, so_snd_tmo_sec: 0, so_snd_tmo_usec: 0, so_rcv_tmo_sec: 0, so_rcv_tmo_usec: 0 },
  ...{ so_filter: [], options_ext: [] },
} as never;

/** Images in memory, and the one of the dump before. */
export class MemoryFiles implements ImageFiles {
  readonly files = new Map<string, Uint8Array>();
  parent: MemoryFiles | undefined;

  put<K extends ImageKindName>(kind: K, id: number | string | undefined, content: ContentOf<K>): this {
    this.files.set(imageFileName(kind, id), serializeImage(kind, content));
    return this;
  }

  names(): string[] {
    return [...this.files.keys(), ...(this.parent === undefined ? [] : ['parent'])];
  }

  tryReadBytes(name: string): Uint8Array | undefined {
    return this.files.get(name);
  }

  tryReadPages(pagesId: number, offset: number, bytes: number): Uint8Array | undefined {
    return this.files.get(imageFileName('pages', pagesId))?.subarray(offset, offset + bytes);
  }

  fileSize(kind: ImageKindName, id?: number | string): number | undefined {
    return this.files.get(imageFileName(kind, id))?.length;
  }

  openParent(): MemoryFiles | undefined {
    return this.parent;
  }
}

export function core(comm: string, task_state: number = TASK_ALIVE): CoreEntry {
  const action = { sigaction: 0n, flags: 0n, restorer: 0n, mask: 0n };
  const tc = {
    task_state,
    exit_code: 0,
    personality: 0,
    flags: 0,
    blk_sigset: 0n,
    comm,
    sigactions: [action],
    sem_undo_ext: [],
  };
  return { mtype: 1, tc, thread_core: { futex_rla: 0n, futex_rla_len: 0 } };
}

export function vma(start: number, pages: number, more: Partial<VmaEntry> = {}): VmaEntry {
  const end = start + pages * 4096;
  const status = VMA_AREA_REGULAR | VMA_ANON_PRIVATE;
  return { start, end, pgoff: 0, shmid: 0, prot: 3, flags: 0x22, status, fd: -1, ...more };
}

export const VMAS: readonly VmaEntry[] = [
  vma(0x400000, 4, { status: VMA_AREA_REGULAR | VMA_FILE_PRIVATE, shmid: 1, prot: 5 }),
  vma(0x600000, 2, { status: VMA_AREA_REGULAR | VMA_ANON_PRIVATE | VMA_AREA_HEAP }),
  vma(0x7f0000000000, 8, { status: VMA_AREA_REGULAR | VMA_ANON_SHARED, shmid: 77, flags: 0x21 }),
  vma(0x7f1000000000, 1024, { prot: 0 }),
  vma(0x7f2000000000, 100),
];

const FILES: readonly FileEntry[] = [
  {
    type: FdTypes.REG,
    id: 1,
    reg: { id: 1, flags: 0, pos: 0n, fown, name: '/bin/<script>alert(1)</script>', build_id: [] },
  },
  { type: FdTypes.REG, id: 2, reg: { id: 2, flags: 0o200000, pos: 0n, fown, name: '/home', build_id: [] } },
  {
    type: FdTypes.REG,
    id: 3,
    reg: { id: 3, flags: 0o2001, pos: 12n, fown, name: '/var/log/it\x1b[31m', build_id: [] },
  },
  { type: FdTypes.PIPE, id: 4, pipe: { id: 4, pipe_id: 900, flags: 0, fown } },
  { type: FdTypes.PIPE, id: 5, pipe: { id: 5, pipe_id: 900, flags: 1, fown } },
  {
    type: FdTypes.INETSK,
    id: 6,
    isk: {
      ...{ id: 6, ino: 60, family: 2, type: 1, proto: 6, state: 10, src_port: 80, dst_port: 0, flags: 2, backlog: 5 },
      ...{ src_addr: [0x0100007f], dst_addr: [0], fown, opts: socketOptions },
    },
  },
  {
    type: FdTypes.UNIXSK,
    id: 7,
    usk: {
      ...{ id: 7, ino: 70, type: 1, state: 1, flags: 2, uflags: 0, backlog: 0, peer: 71, fown, opts: socketOptions },
      name: new TextEncoder().encode('\0abstract&'),
      pending_ext: [],
      peer_groups_ext: [],
    },
  },
];

/** The pages of the first task: a page of the heap and two of the last mapping. */
export const PAGES = new Uint8Array(3 * 4096).fill(1);

export function sampleImages(): MemoryFiles {
  const images = new MemoryFiles();
  images.put('inventory', undefined, [{ img_version: 2, has_empty_images_ext: true }]);
  images.put('pstree', undefined, [
    { pid: 10, ppid: 0, pgid: 10, sid: 10, threads: [10, 11] },
    { pid: 12, ppid: 10, pgid: 12, sid: 10, threads: [12] },
    { pid: 13, ppid: 12, pgid: 12, sid: 10, threads: [13] },
  ]);
  images.put('files', undefined, [...FILES]);
  images
    .put('core', 10, [core('server')])
    .put('core', 11, [core('worker')])
    .put('core', 12, [core('child')]);
  images.put('core', 13, [core('gone', TASK_ZOMBIE)]);
  for (const pid of [10, 12]) {
    images.put('ids', pid, [{ vm_id: pid, files_id: pid, fs_id: pid, sighand_id: pid }]);
    images.put('fs', pid, [{ cwd_id: 2, root_id: 2 }]);
    images.put('mm', pid, [mm()]);
  }
  const fd = (number: number, id: number, type: FdTypes) => ({ fd: number, id, type, flags: number & 1 });
  images.put('fdinfo', 10, [fd(1, 3, FdTypes.REG), fd(3, 4, FdTypes.PIPE), fd(4, 6, FdTypes.INETSK)]);
  images.put('fdinfo', 12, [fd(1, 3, FdTypes.REG), fd(5, 5, FdTypes.PIPE), fd(6, 7, FdTypes.UNIXSK)]);
  const run = (vaddr: number, pages: number) => ({ vaddr, compat_nr_pages: pages, flags: 4 });
  images.put('pagemap', 10, { head: { pages_id: 1 }, entries: [run(0x600000, 1), run(0x7f2000000000, 2)] });
  images.put('pagemap', 12, { head: { pages_id: 2 }, entries: [] });
  images.files.set('pages-1.img', PAGES);
  images.files.set('pages-2.img', new Uint8Array());
  images.put('pipes-data', undefined, [{ message: { pipe_id: 900, bytes: 3 }, payload: new Uint8Array(3) }]);
  images.put('stats', 'dump', [
    {
      dump: {
        ...{ freezing_time: 300, frozen_time: 4000, memdump_time: 1500, memwrite_time: 500 },
        ...{ pages_scanned: 20, pages_skipped_parent: 0, pages_written: 3, pages_lazy: 0 },
      },
    },
  ]);
  return images;
}

export function mm(more: Partial<MmEntry> = {}): MmEntry {
  const names = ['start_code', 'end_code', 'start_data', 'end_data', 'start_stack', 'start_brk', 'brk'];
  const ends = ['arg_start', 'arg_end', 'env_start', 'env_end'];
  const fields = Object.fromEntries([...names, ...ends].map((name) => [`mm_${name}`, 0]));
  return { ...fields, exe_file_id: 1, mm_saved_auxv: [], vmas: [...VMAS], aios: [], ...more } as unknown as MmEntry;
}
