import { expect, test } from 'bun:test';
import type { VmaEntry } from '../../image/gen/vma.ts';
import { VMA_ANON_PRIVATE, VMA_AREA_HEAP, VMA_AREA_REGULAR, VMA_FILE_PRIVATE } from '../../image/vma-status.ts';
import {
  MAP_ANONYMOUS,
  MAP_GROWSDOWN,
  MAP_LOCKED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  PROT_EXEC,
  PROT_READ,
} from '../../linux/abi/mman.ts';
import { isPlain } from './plain-vma.ts';

const flags = MAP_PRIVATE | MAP_ANONYMOUS;
const status = VMA_AREA_REGULAR | VMA_ANON_PRIVATE;
const plain: VmaEntry = { start: 0, end: 4096, pgoff: 0, shmid: 0, prot: PROT_READ, flags, status, fd: -1 };

test('plain mappings are private anonymous memory and nothing else', () => {
  expect(isPlain(plain)).toBe(true);
  expect(isPlain({ ...plain, prot: 0, flags: flags | MAP_NORESERVE })).toBe(true);
  const others: Partial<VmaEntry>[] = [
    { status: status | VMA_AREA_HEAP },
    { status: VMA_AREA_REGULAR | VMA_FILE_PRIVATE },
    { flags: flags | MAP_LOCKED },
    { flags: flags | MAP_GROWSDOWN },
    { prot: PROT_READ | PROT_EXEC },
    { madv: 0n },
    { sealed_ext: true },
    { name_ext: '' },
  ];
  for (const other of others) expect([other, isPlain({ ...plain, ...other })]).toEqual([other, false]);
});
