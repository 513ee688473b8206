import { expect, test } from 'bun:test';
import { composeMessage } from '../base/errors.ts';
import type { CoreEntry } from './gen/core.ts';
import type { FdinfoEntry, FileEntry } from './gen/fdinfo.ts';
import type { MmEntry } from './gen/mm.ts';
import type { PagemapEntry } from './gen/pagemap.ts';
import type { VmaEntry } from './gen/vma.ts';
import { PE_LAZY, PE_PARENT, PE_PRESENT } from './pagemap.ts';
import { findImageProblems, type ImageSet, type ImageSetFacts, type TaskImages } from './validate.ts';
import { findPagemapProblems, findVmaProblems } from './validate-memory.ts';
import {
  VMA_ANON_PRIVATE,
  VMA_AREA_AIORING,
  VMA_AREA_GUARD,
  VMA_AREA_VSYSCALL,
  VMA_EXT_PLUGIN,
  VMA_FILE_PRIVATE,
} from './vma-status.ts';

const REGULAR = 1;

function vma(start: number, end: number, status = REGULAR | VMA_ANON_PRIVATE, shmid = 0): VmaEntry {
  return { start, end, pgoff: 0, shmid, prot: 3, flags: 0x22, status, fd: -1 };
}

function pages(vaddr: number, nr_pages: number, flags = PE_PRESENT): PagemapEntry {
  return { vaddr, compat_nr_pages: 0, nr_pages, flags };
}

const FOWN = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };

function regularFile(id: number): [number, FileEntry] {
  return [id, { type: 1, id, reg: { id, flags: 0, pos: 0n, fown: FOWN, name: '/bin/true', build_id: [] } }];
}

const CORE: CoreEntry = {
  mtype: 1,
  tc: {
    task_state: 1,
    exit_code: 0,
    personality: 0,
    flags: 0,
    blk_sigset: 0n,
    comm: 'test',
    sigactions: [],
    sem_undo_ext: [],
  },
  thread_core: { futex_rla: 0n, futex_rla_len: 0 },
};

function mm(vmas: VmaEntry[]): MmEntry {
  const layout = { mm_start_code: 0, mm_end_code: 0, mm_start_data: 0, mm_end_data: 0, mm_start_stack: 0 };
  const rest = { mm_start_brk: 0, mm_brk: 0, mm_arg_start: 0, mm_arg_end: 0, mm_env_start: 0, mm_env_end: 0 };
  return { ...layout, ...rest, exe_file_id: 1, mm_saved_auxv: [], vmas, aios: [] };
}

const TASK: TaskImages = {
  pid: 7,
  mm: mm([vma(0x1000, 0x4000), vma(0x4000, 0x6000, REGULAR | VMA_FILE_PRIVATE, 2)]),
  pagemap: { head: { pages_id: 1 }, entries: [pages(0x2000, 3)] },
  fs: { cwd_id: 2, root_id: 2 },
  ids: { files_id: 3 },
  fds: [{ id: 1, flags: 0, type: 1, fd: 0 }],
  threads: [{ tid: 7, core: CORE }],
};
const FILES = new Map([regularFile(1), regularFile(2)]);
const IMAGES: ImageSet = { tasks: [TASK], files: FILES };
const FACTS: ImageSetFacts = { hasParent: false, pagesBytes: () => 0x3000 };

const problemsOf = (images: Partial<ImageSet>, facts: Partial<ImageSetFacts> = {}) =>
  findImageProblems({ ...IMAGES, ...images }, { ...FACTS, ...facts }).map(composeMessage);

const problemsOfTask = (task: Partial<TaskImages>) => problemsOf({ tasks: [{ ...TASK, ...task }] });

test('good images have no problems', () => {
  expect(problemsOf({})).toEqual([]);
});

test('a descriptor has a number that the kernel would give', () => {
  const problemsOfNumber = (fd: number) => problemsOfTask({ fds: [{ id: 1, flags: 0, type: 1, fd }] });
  const problems = ['fdinfo-3.img: fd 2147483584: no descriptor has such a number'];
  expect(problemsOfNumber(0x7fff_ffc0)).toEqual(expect.arrayContaining(problems));
  expect(problemsOfNumber(0x7fff_ffbf)).not.toEqual(expect.arrayContaining([expect.stringContaining('such a number')]));
});

test('all problems are found at once', () => {
  const fds: FdinfoEntry[] = [
    { id: 9, flags: 0, type: 1, fd: 0 },
    { id: 1, flags: 0, type: 2, fd: 0 },
  ];
  expect(problemsOfTask({ fds, fs: { cwd_id: 5, root_id: 6 }, mm: { ...mm([]), exe_file_id: 4 } })).toEqual([
    'mm-7.img: exe_file_id: it refers to file 4, which is not in files.img',
    'fs-7.img: cwd_id: it refers to file 5, which is not in files.img',
    'fs-7.img: root_id: it refers to file 6, which is not in files.img',
    'pagemap-7.img: the run of pages 2000-5000 is not inside of mappings',
    'fdinfo-3.img: fd 0: it refers to file 9, which is not in files.img',
    'fdinfo-3.img: fd 0: it is in the table twice',
    'fdinfo-3.img: fd 0: its type is PIPE, but file 1 is REG',
  ]);
});

test('what an entry of files.img holds has its id', () => {
  const [, file] = regularFile(3);
  expect(problemsOf({ files: new Map([regularFile(1), regularFile(2), [4, { ...file, id: 4 }]]) })).toEqual([
    'files.img: file 4: reg.id is 3',
  ]);
});

test('a mapped file must be there, unless a plugin restores the mapping', () => {
  const file = (status: number) => problemsOfTask({ mm: mm([vma(0x1000, 0x6000, status, 8)]) });
  expect(file(REGULAR | VMA_FILE_PRIVATE)).toEqual([
    'mm-7.img: the mapping at 1000: it refers to file 8, which is not in files.img',
  ]);
  expect(file(REGULAR | VMA_FILE_PRIVATE | VMA_EXT_PLUGIN)).toEqual([]);
});

test('a file must hold what its type says', () => {
  const files = new Map([...FILES, [5, { type: 2, id: 5 } as FileEntry], [6, { type: 65534, id: 6 } as FileEntry]]);
  expect(problemsOf({ files })).toEqual([
    'files.img: file 5: it is of type PIPE, but the field pipe is missing',
    'files.img: file 6: the type CTL_TTY is not one of a file',
  ]);
});

test('a shared descriptor table is checked once', () => {
  const broken = { ...TASK, fds: [{ id: 9, flags: 0, type: 1, fd: 0 } as const] };
  const tasks = [broken, { ...broken, pid: 8, threads: [{ tid: 8, core: CORE }] }];
  expect(problemsOf({ tasks })).toHaveLength(1);
});

test('threads must be unique and have their state', () => {
  const { tc: _, ...thread } = CORE;
  const { thread_core: __, ...leader } = CORE;
  expect(problemsOfTask({ threads: [7, 9].map((tid) => ({ tid, core: tid === 7 ? CORE : thread })) })).toEqual([]);
  expect(problemsOfTask({ threads: [7, 7].map((tid) => ({ tid, core: CORE })) })).toEqual([
    'pstree.img: the thread 7 is in the tree twice',
  ]);
  expect(problemsOfTask({ threads: [{ tid: 7, core: thread }] })).toEqual(['core-7.img: the field tc is missing']);
  expect(problemsOfTask({ threads: [{ tid: 7, core: leader }] })).toEqual([
    'core-7.img: the field thread_core is missing',
  ]);
});

test('signals in queues are whole', () => {
  const queue = { signals: [{ siginfo: new Uint8Array(128) }, { siginfo: new Uint8Array(2) }] };
  const core = {
    ...CORE,
    ...(CORE.tc === undefined ? {} : { tc: { ...CORE.tc, signals_s: queue } }),
    ...(CORE.thread_core === undefined ? {} : { thread_core: { ...CORE.thread_core, signals_p: queue } }),
  };
  expect(problemsOfTask({ threads: [{ tid: 7, core }] })).toEqual([
    'core-7.img: tc.signals_s: a siginfo has 2 bytes instead of 128',
    'core-7.img: thread_core.signals_p: a siginfo has 2 bytes instead of 128',
  ]);
});

test.each<[string, VmaEntry[], string[]]>([
  ['touching mappings', [vma(0x1000, 0x2000), vma(0x2000, 0x3000)], []],
  ['the vsyscall page', [vma(0xffff_ffff_ff60_0000, 0xffff_ffff_ff60_1000, VMA_AREA_VSYSCALL)], []],
  [
    'guard pages inside a mapping',
    [
      vma(0x1000, 0x5000),
      vma(0x6000, 0x8000),
      vma(0x2000, 0x3000, VMA_AREA_GUARD),
      vma(0x7000, 0x8000, VMA_AREA_GUARD),
    ],
    [],
  ],
  ['an odd address', [vma(0x1001, 0x2000)], ['the mapping 1001-2000 is not page-aligned']],
  ['an odd end', [vma(0x1000, 0x2001)], ['the mapping 1000-2001 is not page-aligned']],
  ['nothing', [vma(0x1000, 0x1000)], ['the mapping 1000-1000 is empty']],
  ['a negative length', [vma(0x2000, 0x1000)], ['the mapping 2000-1000 is empty']],
  [
    'an overlap',
    [vma(0x1000, 0x3000), vma(0x2000, 0x4000)],
    ['the mapping 2000-4000 begins before the end of the one before it (3000)'],
  ],
  [
    'the wrong order',
    [vma(0x3000, 0x4000), vma(0x1000, 0x2000)],
    ['the mapping 1000-2000 begins before the end of the one before it (4000)'],
  ],
  [
    'a kernel address',
    [vma(0x7fff_ffff_f000, 0x8000_0000_1000)],
    ['the mapping 7ffffffff000-800000001000 is outside of user addresses'],
  ],
  [
    'a private mapping of a file that is a ring as well',
    [vma(0x1000, 0x2000, VMA_FILE_PRIVATE | VMA_AREA_AIORING)],
    ['the mapping 1000-2000 is marked as shared with the kernel and as private'],
  ],
  ['a ring', [vma(0x1000, 0x2000, VMA_AREA_AIORING)], []],
  [
    'an unsupported mapping',
    [vma(0x1000, 0x2000, 0x8000_0001)],
    ['the mapping 1000-2000 is marked as not supported by the criu that made the image'],
  ],
])('mappings: %s', (_, vmas, expected) => {
  expect(findVmaProblems('mm-7.img', vmas).map(composeMessage)).toEqual(expected.map((text) => `mm-7.img: ${text}`));
});

test.each<[string, PagemapEntry[], number | undefined, string[]]>([
  ['no pages at all', [], undefined, []],
  ['a run over two mappings', [pages(0x3000, 3)], 0x3000, []],
  ['lazy pages that are not there', [pages(0x3000, 3, PE_LAZY)], undefined, []],
  ['lazy pages that are there', [pages(0x3000, 3, PE_LAZY | PE_PRESENT)], 0x3000, []],
  ['an old entry', [{ vaddr: 0x1000, compat_nr_pages: 2 }], 0x2000, []],
  ['an odd address', [pages(0x3001, 1)], 0x1000, ['the run of pages 3001-4001 is not page-aligned']],
  ['a hole', [pages(0x5000, 2)], 0x2000, ['the run of pages 5000-7000 is not inside of mappings']],
  ['before all mappings', [pages(0, 1)], 0x1000, ['the run of pages 0-1000 is not inside of mappings']],
  [
    'an overlap',
    [pages(0x1000, 2), pages(0x2000, 1)],
    0x3000,
    ['the run of pages 2000-3000 begins before the end of the one before it (3000)'],
  ],
  [
    'too many pages',
    [pages(0x1000, 2 ** 40)],
    2 ** 52,
    ['the run of pages 1000-10000000001000 is outside of user addresses'],
  ],
  ['unknown flags', [pages(0x1000, 1, 12)], 0x1000, ['the run of pages 1000-2000 has unknown flags (0xc)']],
  [
    'a missing parent',
    [{ vaddr: 0x1000, compat_nr_pages: 1, in_parent: true }],
    0,
    ['the run of pages 1000-2000 is in the images of the dump before, but there are none'],
  ],
  ['too few bytes', [pages(0x1000, 2)], 0x1000, ['8192 bytes of pages are expected, but pages-1.img has 4096']],
  ['no file', [pages(0x1000, 2)], undefined, ['8192 bytes of pages are expected, but pages-1.img is not there']],
])('pages: %s', (_, entries, pagesBytes, expected) => {
  const vmas = [vma(0x1000, 0x4000), vma(0x4000, 0x6000), vma(0x8000, 0x9000)];
  const pagemap = { head: { pages_id: 1 }, entries };
  const problems = findPagemapProblems('pagemap-7.img', pagemap, { pagesBytes, hasParent: false, vmas });
  expect(problems.map(composeMessage)).toEqual(expected.map((text) => `pagemap-7.img: ${text}`));
});

test('pages may be in the parent when there is one', () => {
  const pagemap = { head: { pages_id: 1 }, entries: [pages(0x1000, 1, PE_PARENT)] };
  expect(findPagemapProblems('x', pagemap, { pagesBytes: undefined, hasParent: true })).toEqual([]);
});

test('a file has its own number inside, and a FIFO the number of a name', () => {
  const [, file] = regularFile(1);
  const wrong = { ...file, reg: { ...file.reg, id: 7 } } as FileEntry;
  const fifo: FileEntry = { type: 3, id: 2, fifo: { id: 2, pipe_id: 5, regf_id: 2 } };
  const nameless: FileEntry = { type: 3, id: 3, fifo: { id: 3, pipe_id: 5 } };
  const files = new Map([
    [1, wrong],
    [2, fifo],
    [3, nameless],
  ]);
  expect(
    findImageProblems({ tasks: [], files }, { hasParent: false, pagesBytes: () => 0 }).map(composeMessage),
  ).toEqual([
    'files.img: file 1: reg.id is 7',
    'files.img: file 2: its name is said to be file 2, which is not a regular file in files.img',
    'files.img: file 3: the field fifo.regf_id is missing',
  ]);
});

test('descriptors have known flags, and what has a path refers to a file', () => {
  const pipe: FileEntry = { type: 2, id: 3, pipe: { id: 3, pipe_id: 5, flags: 0, fown: FOWN } };
  const files = new Map<number, FileEntry>([...FILES, [3, pipe]]);
  const fds: FdinfoEntry[] = [{ id: 3, flags: 4, type: 2, fd: 3 }];
  expect(problemsOf({ files, tasks: [{ ...TASK, fds, fs: { cwd_id: 3, root_id: 2 } }] })).toEqual([
    'fs-7.img: cwd_id: it refers to file 3, which is of type PIPE',
    'fdinfo-3.img: fd 3: it has unknown flags (0x4)',
  ]);
});

test('masks and protections are closed sets', () => {
  expect(problemsOfTask({ fs: { ...TASK.fs, umask: 0o1000 } })).toEqual(['fs-7.img: umask: 512 is not a mask']);
  expect(findVmaProblems('mm-7.img', [{ ...vma(0x1000, 0x2000), prot: 0x40003 }]).map(composeMessage)).toEqual([
    'mm-7.img: the mapping 1000-2000 has unknown protections (0x40003)',
  ]);
});
