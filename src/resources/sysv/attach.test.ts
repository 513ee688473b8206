import { expect, test } from 'bun:test';
import { ABI_64 } from '../../agent/abi.ts';
import { Program } from '../../agent/program.ts';
import type { VmaEntry } from '../../image/gen/vma.ts';
import { VMA_ANON_SHARED, VMA_AREA_REGULAR, VMA_AREA_SYSVIPC } from '../../image/vma-status.ts';
import { O_RDONLY, O_RDWR } from '../../linux/abi/fcntl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { findAttachments, planAttachments } from './attach.ts';
import { parseSegment } from './shmid-ds.ts';

const PAGE = 4096;
const status = VMA_AREA_REGULAR | VMA_ANON_SHARED | VMA_AREA_SYSVIPC;

function part(id: number, base: number, page: number, pages: number, change: Partial<VmaEntry> = {}): VmaEntry {
  const start = base + page * PAGE;
  const range = { start, end: start + pages * PAGE, pgoff: page * PAGE };
  return { ...range, shmid: id, prot: 3, flags: 0x21, status, fd: -1, fdflags: O_RDWR, ...change };
}

const size = () => ({ bytes: 8 * PAGE, pageBytes: PAGE });

function calls(program: Program): number[] {
  return Array.from({ length: program.length }, (_, i) => program.describe(i).nr);
}

test('parts of one attachment belong together, whatever is between them', () => {
  const vmas = [
    part(1, 0x10_0000, 0, 2),
    part(1, 0x10_0000, 4, 4, { prot: 1 }),
    part(1, 0x20_0000, 0, 8),
    part(2, 0x30_0000, 0, 8, { fdflags: O_RDONLY, prot: 1 }),
  ];
  expect(findAttachments(vmas).map(({ id, isReadOnly, parts }) => [id, isReadOnly, parts.length])).toEqual([
    [1, false, 2],
    [1, false, 1],
    [2, true, 1],
  ]);
});

test('it is attached once, its parts are moved, the rest goes', () => {
  const program = new Program();
  const parts = [part(1, 0x10_0000, 0, 2), part(1, 0x10_0000, 4, 4, { prot: 1 })];
  planAttachments(program, { mm: { vmas: parts }, special: parts }, [], size, ABI_64);
  expect(calls(program)).toEqual([SYS.shmat, SYS.mremap, SYS.mremap, SYS.mprotect, SYS.munmap]);
});

test('a segment that is not in the images is an error', () => {
  const parts = [part(5, 0x10_0000, 0, 8)];
  const task = { mm: { vmas: parts }, special: parts };
  expect(() => planAttachments(new Program(), task, [], () => undefined, ABI_64)).toThrow(
    'System V shared memory segment 5: is mapped by a task but not in the images',
  );
});

test('struct shmid64_ds', () => {
  const raw = new Uint8Array(112);
  const view = new DataView(raw.buffer);
  [0x1234, 1, 2, 3, 4, 0o1640].forEach((value, i) => {
    view.setUint32(4 * i, value, true);
  });
  view.setBigUint64(48, 65436n, true);
  view.setBigUint64(88, 2n, true);
  expect(parseSegment(raw)).toEqual({
    key: 0x1234,
    uid: 1,
    gid: 2,
    cuid: 3,
    cgid: 4,
    mode: 0o1640,
    bytes: 65436,
    attachments: 2,
  });
});
