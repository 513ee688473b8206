/**
 * Mappings of a task: from vma_entry to the system calls that make them, at their final addresses.
 *
 * A task starts as a stub, or as a copy (fork) of its parent whose mappings are final already. Mappings that are equal
 * in parent and child are kept: so memory that was shared copy-on-write is shared again. Everything else goes.
 *
 * Order of the ops: unmap, map, and after the content is there: protections, mremap of the vdso, madvise, mlock.
 */
import type { Abi } from '../../agent/abi.ts';
import { RANGE } from '../../agent/ops.ts';
import type { Program, ProgramArg, Result } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import type { VmaEntry } from '../../image/gen/vma.ts';
import {
  VMA_ANON_SHARED,
  VMA_AREA_AIORING,
  VMA_AREA_GUARD,
  VMA_AREA_REGULAR,
  VMA_AREA_SHSTK,
  VMA_AREA_SOCKET,
  VMA_AREA_SYSVIPC,
  VMA_AREA_UPROBES,
  VMA_AREA_VDSO,
  VMA_AREA_VSYSCALL,
  VMA_AREA_VVAR,
  VMA_FILE_PRIVATE,
  VMA_FILE_SHARED,
} from '../../image/vma-status.ts';
import {
  MADV_GUARD_INSTALL,
  MAP_ANONYMOUS,
  MAP_DROPPABLE,
  MAP_FIXED,
  MAP_LOCKED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  MAP_TYPE,
  MLOCK_ONFAULT,
  PROT_EXEC,
  PROT_WRITE,
} from '../../linux/abi/mman.ts';
import { PR_SET_VMA, PR_SET_VMA_ANON_NAME } from '../../linux/abi/prctl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import type { Range } from './address-space.ts';

/** Adds an open of a file by its id; returns the descriptor, which the caller closes. */
export type OpenForMapping = (program: Program, fileId: number, fdflags: number) => ProgramArg;
/** Gives a shared anonymous mapping its memory; see shared-memory.ts. */
export type MapShared = (program: Program, vma: VmaEntry, prot: number) => void;

/** Mappings that the kernel makes by itself and that are not created by mmap. */
export const isSpecial = (vma: VmaEntry) =>
  (vma.status & (VMA_AREA_VDSO | VMA_AREA_VVAR | VMA_AREA_VSYSCALL | VMA_AREA_GUARD | VMA_AREA_UPROBES)) !== 0;

/** Mappings that are made with mmap, in order of address. */
export function ordinaryVmas(vmas: readonly VmaEntry[]): VmaEntry[] {
  return vmas.filter(
    (vma) => !isSpecial(vma) && (vma.status & (VMA_AREA_AIORING | VMA_AREA_SYSVIPC | VMA_AREA_SOCKET)) === 0,
  );
}

/** Mappings whose memory can be shared copy-on-write with a parent that has an equal one. */
export function isInherited(vma: VmaEntry, parent: VmaEntry | undefined): boolean {
  return (
    parent !== undefined &&
    vma.start === parent.start &&
    vma.end === parent.end &&
    vma.pgoff === parent.pgoff &&
    vma.shmid === parent.shmid &&
    vma.prot === parent.prot &&
    vma.flags === parent.flags &&
    vma.status === parent.status &&
    (vma.madv ?? 0n) === (parent.madv ?? 0n) &&
    vma.name_ext === parent.name_ext
  );
}

/** Ranges to unmap: everything in user space but `keep`. */
export function planUnmap(program: Program, keep: readonly Range[], { taskSize }: Abi): void {
  let from = 0;
  for (const { start, end } of [...keep].sort((a, b) => a.start - b.start)) {
    if (start > from) program.must('clear the address space', SYS.munmap, from, start - from);
    from = Math.max(from, end);
  }
  if (from < taskSize) program.must('clear the address space', SYS.munmap, from, taskSize - from);
}

/** Reasons of ops of which there are thousands. */
const MAP = `map ${RANGE}`;
const PROTECT = `protect ${RANGE}`;

/** mmap of each mapping; those in `writable` get PROT_WRITE for now, because content comes. */
export function planMappings(
  program: Program,
  vmas: readonly VmaEntry[],
  writable: ReadonlySet<VmaEntry>,
  openForMapping: OpenForMapping,
  mapShared: MapShared,
): void {
  let open: { key: string; fd: ProgramArg } | undefined;
  const anonymous = new AnonymousMappings(program, vmas, writable);
  const closeFile = () => {
    if (open !== undefined) program.must('close a mapped file', SYS.close, open.fd);
    open = undefined;
  };
  for (let i = 0; i < vmas.length; i++) {
    const vma = vmas[i] as VmaEntry;
    refuseUnknown(vma);
    if ((vma.status & VMA_ANON_SHARED) !== 0) {
      mapShared(program, vma, protNow(vma, writable));
    } else if ((vma.status & (VMA_FILE_PRIVATE | VMA_FILE_SHARED)) !== 0) {
      const key = `${vma.shmid}/${vma.fdflags ?? 0}`;
      if (open?.key !== key) {
        closeFile();
        open = { key, fd: openForMapping(program, vma.shmid, vma.fdflags ?? 0) };
      }
      const [prot, bytes] = [protNow(vma, writable), vma.end - vma.start];
      program.must(MAP, SYS.mmap, vma.start, bytes, prot, mmapFlags(vma), open.fd, vma.pgoff);
    } else i = anonymous.plan(i);
  }
  closeFile();
}

function protNow(vma: VmaEntry, writable: ReadonlySet<VmaEntry>): number {
  return (vma.prot & PROT_WRITE) === 0 && writable.has(vma) ? vma.prot | PROT_WRITE : vma.prot;
}

/**
 * Plans private anonymous mappings, of which there may be thousands. Those that touch and differ in nothing but their
 * protection are made by one mmap(2), with what is allowed in all of them, and divided by mprotect(2): this takes the kernel
 * a quarter less, and its accounting comes out the same.
 */
class AnonymousMappings {
  readonly #program: Program;
  readonly #vmas: readonly VmaEntry[];
  readonly #writable: ReadonlySet<VmaEntry>;
  /** The last ops, to be done again. */
  #map: { flags: number; op: Result } | undefined = undefined;
  #protect: Result | undefined = undefined;

  constructor(program: Program, vmas: readonly VmaEntry[], writable: ReadonlySet<VmaEntry>) {
    this.#program = program;
    this.#vmas = vmas;
    this.#writable = writable;
  }

  /** Plans mapping number `first`, and others that follow; returns the number of the last one. */
  plan(first: number): number {
    const vma = this.#vmas[first] as VmaEntry;
    const isDivisible = (vma.flags & ~MAP_NORESERVE) === (MAP_PRIVATE | MAP_ANONYMOUS);
    let last = first;
    let end = vma.end;
    let prot = protNow(vma, this.#writable);
    for (let next = this.#vmas[last + 1]; isDivisible && next !== undefined; next = this.#vmas[last + 1]) {
      const isOne = next.start === end && next.flags === vma.flags && next.status === vma.status;
      // Memory that can only be executed has a protection key (man 2 mprotect).
      if (!isOne || ((next.prot | vma.prot) & PROT_EXEC) !== 0) break;
      prot &= protNow(next, this.#writable);
      last++;
      end = next.end;
    }
    this.#addMap(vma.start, end - vma.start, prot, mmapFlags(vma) | MAP_ANONYMOUS);
    if (last > first) this.#divide(first, last, prot);
    return last;
  }

  #addMap(start: number, bytes: number, prot: number, flags: number): void {
    const program = this.#program;
    if (flags === this.#map?.flags) program.again(this.#map.op, start, bytes, prot);
    else this.#map = { flags, op: program.must(MAP, SYS.mmap, start, bytes, prot, flags, -1, 0) };
  }

  #divide(first: number, last: number, prot: number): void {
    const program = this.#program;
    // The last first, which takes the kernel a quarter less.
    for (let i = last; i >= first; i--) {
      const vma = this.#vmas[i] as VmaEntry;
      const wanted = protNow(vma, this.#writable);
      if (wanted === prot) continue;
      const { start, end } = vma;
      if (this.#protect !== undefined) program.again(this.#protect, start, end - start, wanted);
      else this.#protect = program.must(PROTECT, SYS.mprotect, start, end - start, wanted);
    }
  }
}

/** Flags for mmap(2): as stored, at a fixed address; locking comes after the content. */
export function mmapFlags(vma: VmaEntry): number {
  const isDroppable = (vma.flags & MAP_DROPPABLE) !== 0;
  const sharing = isDroppable ? MAP_DROPPABLE : (vma.flags & MAP_SHARED) !== 0 ? MAP_SHARED : MAP_PRIVATE;
  return (vma.flags & ~(MAP_LOCKED | MAP_TYPE)) | sharing | MAP_FIXED;
}

function refuseUnknown(vma: VmaEntry): void {
  if ((vma.status & VMA_AREA_SHSTK) === 0 && (vma.status & VMA_AREA_REGULAR) !== 0) return;
  throw new CriuError({
    object: `mapping ${hex(vma.start)}-${hex(vma.end)}`,
    action: `cannot be restored: status 0x${vma.status.toString(16)}`,
    why: 'this kind of mapping is not supported by this criu',
  });
}

/** After the content: final protections, and of mappings that are not plain guard ranges, madvise flags and locks. */
export function planFinishMappings(
  program: Program,
  special: readonly VmaEntry[],
  writable: ReadonlySet<VmaEntry>,
): void {
  for (const { start, end, prot } of writable) program.must(PROTECT, SYS.mprotect, start, end - start, prot);
  for (const vma of special) {
    const bytes = vma.end - vma.start;
    if ((vma.status & VMA_AREA_GUARD) !== 0) {
      program.must(`guard ${RANGE}`, SYS.madvise, vma.start, bytes, MADV_GUARD_INSTALL);
      continue;
    }
    if (isSpecial(vma) || (vma.status & VMA_AREA_AIORING) !== 0) continue;
    if (vma.madv !== undefined) planAdvice(program, vma, vma.madv);
    if (vma.name_ext !== undefined) planName(program, vma, vma.name_ext);
    if ((vma.flags & MAP_LOCKED) !== 0) planLock(program, vma);
  }
  for (const { start, end, sealed_ext } of special) {
    if (sealed_ext === true) program.must(`seal ${RANGE}`, SYS.mseal, start, end - start, 0);
  }
}

function planAdvice(program: Program, { start, end }: VmaEntry, madv: bigint): void {
  for (let advice = 0, bits = madv; bits !== 0n; advice++, bits >>= 1n) {
    if ((bits & 1n) !== 0n) program.must(`advise ${RANGE}`, SYS.madvise, start, end - start, advice);
  }
}

/** mlockall(2) for what is mapped later; nothing may be mapped for the restore any more. */
export function planLockFuture(program: Program, flags: number | undefined): void {
  if (flags !== undefined && flags !== 0) program.must('lock later mappings', SYS.mlockall, flags);
}

/** A kernel without names (CONFIG_ANON_VMA_NAME) says EINVAL; a name is no reason to fail. */
function planName(program: Program, { start, end }: VmaEntry, name: string): void {
  program.call(SYS.prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, start, end - start, program.string(name));
}

/** A mapping without access is locked all the same, but mlock2(2) then fails with ENOMEM, for want of pages. */
function planLock(program: Program, { start, end, prot, lock_on_fault_ext }: VmaEntry): void {
  const flags = lock_on_fault_ext === true ? MLOCK_ONFAULT : 0;
  if (prot === 0) program.call(SYS.mlock2, start, end - start, flags);
  else program.must(`lock ${RANGE}`, SYS.mlock2, start, end - start, flags);
}

export const hex = (value: number) => value.toString(16);
