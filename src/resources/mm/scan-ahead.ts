/**
 * Scans the pages of big tasks on another core, while their mappings are read: the kernel walks all of its page tables for
 * both (page-scan.ts, read-mappings.ts). Those of a tree with many big tasks are scanned while its files are looked at.
 */
import type { Program, Result } from '../../agent/program.ts';
import { SyscallError } from '../../base/errors.ts';
import { AT_FDCWD, O_CLOEXEC, O_RDONLY } from '../../linux/abi/fcntl.ts';
import { PAGEMAP_SCAN } from '../../linux/abi/pagemap.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { addressOf } from '../../linux/kernel.ts';
import { readRecords, tryReadProc } from '../../linux/syscalls/fs.ts';
import { parseMaps } from '../../proc/maps.ts';
import { Running, threadCount } from '../../tracee/parallel.ts';
import {
  type FoundRegions,
  groupMappings,
  type MappingGroup,
  REGION_HALVES,
  type ScannedMapping,
  scanArgument,
  walkEnd,
} from './page-scan.ts';

/** Of so much resident memory the walks take longer than to start a thread, and to read maps. */
const RESIDENT_PAGES_MIN = 4096;
/** Groups of mappings for which it pays, and how many there are at most. */
const GROUP_BYTES_MIN = 16 << 20;
const GROUPS_MAX = 16;
/** Of a tree: each has a thread and memory. More are not looked at, which takes time as well. */
const TASKS_MAX = 4;
const TRIED_MAX = 16;
const STOP = -1;
/** What is found in a group. When there is more, the rest is scanned afterwards. */
const REGIONS = 16_384;
/** The same of each of many tasks. */
const REGIONS_OF_MANY = 256;
/** With fewer it does not pay to start one more thread. */
const MANY_MIN = 8;

/** A stopped task whose mappings have been read. */
export interface BigTask {
  readonly pid: number;
  readonly residentPages: number;
  readonly mappings: readonly ScannedMapping[];
}

/** To be disposed of when all scans are done. */
export class ScansAhead {
  readonly #scans = new Map<number, ScanAhead>();
  readonly #threads: Running[] = [];
  /** Tasks that wait for their mappings to be known. */
  readonly #waiting = new Set<number>();
  #tried = 0;

  /** Begins to scan a stopped task, when that pays. */
  tryStart(pid: number): void {
    if (this.#scans.size >= TASKS_MAX || this.#tried++ >= TRIED_MAX) return;
    const statm = tryReadProc(`/proc/${pid}/statm`);
    const [, resident = 0] = typeof statm === 'string' ? statm.split(' ').map(Number) : [];
    if (resident < RESIDENT_PAGES_MIN || threadCount() < 2) return;
    this.#waiting.add(pid);
    const path = `/proc/${pid}/maps`;
    try {
      readRecords(path, (text, isLast) => {
        // To read many mappings twice takes longer than the scan.
        if (isLast) this.tryContinue(pid, parseMaps(text, path));
        return STOP;
      });
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
    }
  }

  /** To be told when its mappings are known: now it begins, unless it has begun or does not pay. */
  tryContinue(pid: number, mappings: readonly ScannedMapping[]): void {
    if (!this.#waiting.delete(pid)) return;
    this.#tryScan([new ScanAhead(pid, mappings, REGIONS)]);
  }

  /** Begins to scan the others of a tree, when they are many, one after the other. */
  tryStartMany(tasks: readonly BigTask[]): void {
    const left = tasks.filter(({ pid, residentPages }) => residentPages >= RESIDENT_PAGES_MIN && !this.#scans.has(pid));
    if (left.length < MANY_MIN || threadCount() < 2) return;
    this.#tryScan(left.map(({ pid, mappings }) => new ScanAhead(pid, mappings, REGIONS_OF_MANY)));
  }

  /** By one thread, those that pay. */
  #tryScan(tasks: readonly ScanAhead[]): void {
    const scans = tasks.filter(({ isWorthIt }) => isWorthIt);
    if (scans.length === 0) return;
    try {
      const thread = new Running((program) => {
        for (const scan of scans) scan.add(program);
      });
      this.#threads.push(thread);
      for (const scan of scans) {
        scan.thread = thread;
        this.#scans.set(scan.pid, scan);
      }
    } catch (error) {
      // No more threads, say. Whatever matters is told by the scan itself.
      if (!(error instanceof SyscallError)) throw error;
    }
  }

  /** What has been found of a task, by group of mappings. */
  of(pid: number): ((group: MappingGroup) => FoundRegions | undefined) | undefined {
    const scan = this.#scans.get(pid);
    return scan && ((group) => scan.find(group));
  }

  [Symbol.dispose](): void {
    for (const thread of this.#threads) thread.join();
  }
}

/** What a thread finds in a task. */
class ScanAhead {
  readonly pid: number;
  thread: Running | undefined;
  readonly #room: number;
  readonly #groups: readonly MappingGroup[];
  readonly #parts: ScannedPart[] = [];

  /** `room`: for so many regions in each group. */
  constructor(pid: number, mappings: readonly ScannedMapping[], room: number) {
    this.pid = pid;
    this.#room = room;
    this.#groups = groupMappings(mappings).filter(({ start, end }) => end - start >= GROUP_BYTES_MIN);
  }

  get isWorthIt(): boolean {
    return this.#groups.length > 0 && this.#groups.length <= GROUPS_MAX;
  }

  add(program: Program): void {
    const path = program.string(`/proc/${this.pid}/pagemap`);
    const fd = program.call(SYS.openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    for (const group of this.#groups) {
      const regions = new Uint32Array(new ArrayBuffer(this.#room * REGION_HALVES * 4));
      const arg = scanArgument(group, addressOf(regions), this.#room);
      const count = program.call(SYS.ioctl, fd, PAGEMAP_SCAN, addressOf(arg));
      this.#parts.push({ group, regions, arg, count });
    }
    program.call(SYS.close, fd);
  }

  /** What has been found in this group of mappings, if it is one of those. */
  find({ start, end, hasFiles }: MappingGroup): FoundRegions | undefined {
    const part = this.#parts.find(({ group }) => group.start === start && group.end === end);
    if (part === undefined || part.group.hasFiles !== hasFiles || this.thread === undefined) return undefined;
    this.thread.join();
    const { regions, arg } = part;
    const count = this.thread.result(part.count);
    return { regions, count, walkEnd: walkEnd(arg, count, this.#room, end) };
  }
}

interface ScannedPart {
  readonly group: MappingGroup;
  readonly regions: Uint32Array;
  readonly arg: BigUint64Array;
  readonly count: Result;
}
