/**
 * Scans the pages of big tasks on another core, while their mappings are read: the kernel walks all of its page tables for
 * both (page-scan.ts, read-mappings.ts).
 */
import type { Result } from '../../agent/program.ts';
import { SyscallError } from '../../base/errors.ts';
import { O_RDONLY } from '../../linux/abi/fcntl.ts';
import { PAGEMAP_SCAN } from '../../linux/abi/pagemap.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { addressOf } from '../../linux/kernel.ts';
import { close, open, readRecords, tryReadProc } from '../../linux/syscalls/fs.ts';
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

/** To be disposed of when all scans are done. */
export class ScansAhead {
  readonly #scans = new Map<number, ScanAhead>();
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
    const groups = groupMappings(mappings);
    const big = groups.filter(({ start, end }) => end - start >= GROUP_BYTES_MIN);
    if (big.length === 0 || big.length > GROUPS_MAX) return;
    try {
      this.#scans.set(pid, new ScanAhead(pid, big));
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
    for (const scan of this.#scans.values()) scan[Symbol.dispose]();
  }
}

class ScanAhead {
  readonly #fd: number;
  readonly #thread: Running;
  readonly #parts: readonly ScannedPart[];

  constructor(pid: number, groups: readonly MappingGroup[]) {
    this.#fd = open(`/proc/${pid}/pagemap`, O_RDONLY);
    const parts: ScannedPart[] = [];
    this.#parts = parts;
    try {
      this.#thread = new Running((program) => {
        for (const group of groups) {
          const regions = new Uint32Array(new ArrayBuffer(REGIONS * REGION_HALVES * 4));
          const arg = scanArgument(group, addressOf(regions), REGIONS);
          parts.push({ group, regions, arg, count: program.call(SYS.ioctl, this.#fd, PAGEMAP_SCAN, addressOf(arg)) });
        }
      });
    } catch (error) {
      close(this.#fd);
      throw error;
    }
  }

  /** What has been found in this group of mappings, if it is one of those. */
  find({ start, end, hasFiles }: MappingGroup): FoundRegions | undefined {
    const part = this.#parts.find(({ group }) => group.start === start && group.end === end);
    if (part === undefined || part.group.hasFiles !== hasFiles) return undefined;
    this.#thread.join();
    const { regions, arg } = part;
    const count = this.#thread.result(part.count);
    return { regions, count, walkEnd: walkEnd(arg, count, REGIONS, end) };
  }

  [Symbol.dispose](): void {
    this.#thread.join();
    close(this.#fd);
  }
}

interface ScannedPart {
  readonly group: MappingGroup;
  readonly regions: Uint32Array;
  readonly arg: BigUint64Array;
  readonly count: Result;
}
