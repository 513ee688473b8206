/**
 * Attaching System V shared memory in a task (man 2 shmat), plan only.
 *
 * A call of shmat attaches the whole segment. What the task had may be parts of it, with holes in which other mappings
 * are, or parts with other protections. So it is attached somewhere else, and the parts are moved to their places.
 */
import type { Abi } from '../../agent/abi.ts';
import type { Program } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import type { VmaEntry } from '../../image/gen/vma.ts';
import { VMA_AREA_SYSVIPC } from '../../image/vma-status.ts';
import { O_RDWR } from '../../linux/abi/fcntl.ts';
import { SHM_EXEC, SHM_RDONLY } from '../../linux/abi/ipc.ts';
import { MREMAP_FIXED, MREMAP_MAYMOVE, PROT_EXEC, PROT_READ, PROT_WRITE } from '../../linux/abi/mman.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { findHole, type Range } from '../mm/address-space.ts';

const isSysv = (vma: VmaEntry): boolean => (vma.status & VMA_AREA_SYSVIPC) !== 0;

/** What is attached by one call. */
export interface Attachment {
  readonly id: number;
  readonly isReadOnly: boolean;
  readonly parts: readonly VmaEntry[];
}

/** Mappings that came from the same call: the same segment at the same address. */
export function findAttachments(vmas: readonly VmaEntry[]): Attachment[] {
  const found = new Map<string, { id: number; isReadOnly: boolean; parts: VmaEntry[] }>();
  for (const vma of vmas.filter(isSysv)) {
    const isReadOnly = vma.fdflags !== undefined && vma.fdflags !== O_RDWR;
    const key = `${vma.shmid} ${vma.start - vma.pgoff} ${isReadOnly}`;
    const attachment = found.get(key);
    if (attachment === undefined) found.set(key, { id: vma.shmid, isReadOnly, parts: [vma] });
    else attachment.parts.push(vma);
  }
  return [...found.values()];
}

/** Size of a segment in whole pages, and of its pages, by id; undefined when the images do not have it. */
export type SegmentSize = (id: number) => { readonly bytes: number; readonly pageBytes: number } | undefined;

interface AttachingTask {
  readonly mm: { readonly vmas: readonly Range[] };
  /** Those of its mappings that are not plain. */
  readonly special: readonly VmaEntry[];
}

/** Adds the calls to a program; all other mappings of the task are there. `taken` are ranges to keep away from. */
export function planAttachments(
  program: Program,
  { mm, special }: AttachingTask,
  taken: readonly Range[],
  sizeOf: SegmentSize,
  { taskSize }: Abi,
): void {
  for (const attachment of findAttachments(special)) {
    const size = sizeOf(attachment.id);
    if (size === undefined) {
      throw new CriuError({
        object: `System V shared memory segment ${attachment.id}`,
        action: 'is mapped by a task but not in the images',
      });
    }
    const hole = findHole([...mm.vmas, ...taken], size.bytes + size.pageBytes, taskSize);
    planAttachment(program, attachment, Math.ceil(hole / size.pageBytes) * size.pageBytes, size.bytes);
  }
}

function planAttachment(program: Program, { id, isReadOnly, parts }: Attachment, at: number, bytes: number): void {
  const name = `shared memory segment ${id}`;
  const isExecutable = parts.some(({ prot }) => (prot & PROT_EXEC) !== 0);
  const flags = (isReadOnly ? SHM_RDONLY : 0) | (isExecutable ? SHM_EXEC : 0);
  const prot = PROT_READ | (isReadOnly ? 0 : PROT_WRITE) | (isExecutable ? PROT_EXEC : 0);
  program.must(`attach ${name}`, SYS.shmat, id, at, flags);
  for (const part of parts) {
    const length = part.end - part.start;
    const move = MREMAP_MAYMOVE | MREMAP_FIXED;
    program.must(`place ${name}`, SYS.mremap, at + part.pgoff, length, length, move, part.start);
    if (part.prot !== prot) program.must(`protect ${name}`, SYS.mprotect, part.start, length, part.prot);
  }
  program.must(`unmap the rest of ${name}`, SYS.munmap, at, bytes);
}
