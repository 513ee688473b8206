/**
 * Rings of asynchronous I/O (man 2 io_setup): a mapping that kernel and task share, with the completed events. Its
 * address is the id of the context. What is in it is dumped as memory; here is what else the image has, and the waiting.
 *
 * Poll requests may wait for ever: aio-polls.ts. Lost: others that are not complete when the tree is frozen and stay so
 * until it is killed. Requests for files take milliseconds, so the ring is watched for a moment before the memory is
 * copied, and a completion while it is copied makes the dump fail: the task's buffer might be in the image without data.
 */

import { CriuError, type CriuErrorFields } from '../../base/errors.ts';
import type { FrozenTask } from '../../dump/frozen-tree.ts';
import type { AioRingEntry } from '../../image/gen/mm.ts';
import { VMA_AREA_AIORING } from '../../image/vma-status.ts';
import { readMemory } from '../../tracee/memory.ts';
import { PollReader } from './aio-polls.ts';
import { AIO_EVENT_BYTES, AIO_HEADER_BYTES, parseRing, type RingHeader } from './aio-ring.ts';
import type { DescribedVma } from './dump-vmas.ts';

/** A task and its mappings. */
interface Looked {
  readonly task: FrozenTask;
  readonly special: readonly DescribedVma[];
}

const isRing = ({ entry }: DescribedVma) => (entry.status & VMA_AREA_AIORING) !== 0;

/**
 * The entry of a ring. The kernel rounds the wanted number of requests: at least four per CPU, twice that and two, up to
 * whole pages (fs/aio.c ioctx_alloc(), aio_setup_ring()). The number here gives a ring of the same size again.
 */
export function describeRing({ start, end, polls }: Pick<WatchedRing, 'start' | 'end' | 'polls'>): AioRingEntry {
  const slots = (end - start - AIO_HEADER_BYTES) / AIO_EVENT_BYTES;
  return { id: start, nr_req: Math.floor((slots - 2) / 2), ring_len: end - start, polls_ext: [...polls] };
}

interface WatchedRing {
  readonly task: FrozenTask;
  readonly start: number;
  readonly end: number;
  /** Of the kernel, when it was last looked at. */
  tail: number;
  /** Where the task has its poll requests that wait. */
  polls: readonly bigint[];
}

/** The rings of a tree that is being dumped. */
export class WatchedRings {
  readonly #rings: readonly WatchedRing[];
  readonly #reader: PollReader | undefined;

  constructor(looked: readonly Looked[]) {
    this.#rings = looked.flatMap(({ task, special }) =>
      special.filter(isRing).map(({ entry: { start, end } }) => ({ task, start, end, tail: 0, polls: [] })),
    );
    this.#reader = this.#rings.length === 0 ? undefined : PollReader.tryOpen();
  }

  /** For mm.img of a task. */
  entriesOf(task: FrozenTask): AioRingEntry[] {
    return this.#rings.filter((ring) => ring.task === task).map(describeRing);
  }

  /** What may be lost. */
  get warnings(): string[] {
    if (this.#reader !== undefined) return [];
    const tasks = new Set(this.#rings.map(({ task }) => task.label));
    return [...tasks].map(
      (label) =>
        `${label}: poll requests of asynchronous I/O (IOCB_CMD_POLL) would be lost, and criu may not see whether there are ` +
        'any: that needs CAP_BPF, CAP_PERFMON and /sys/kernel/btf/vmlinux',
    );
  }

  /** Rings that are not as this kernel makes them, or wait for what cannot be submitted again. */
  problems(): CriuErrorFields[] {
    return this.#rings.flatMap((ring) => {
      const { task, start, end } = ring;
      const fields = {
        object: `${task.label}: ring of asynchronous I/O at ${start.toString(16)}`,
        action: 'cannot be dumped',
      };
      const problem = ringProblem(readRing(task, start), end - start);
      if (problem !== undefined) return [{ ...fields, why: problem }];
      const why = this.#pollProblem(ring);
      return why === undefined ? [] : [{ ...fields, why, remedy: 'dump when it is complete' }];
    });
  }

  #pollProblem({ task, start }: WatchedRing): string | undefined {
    for (const waiting of this.#reader?.read(task, start) ?? []) {
      const problem = this.#reader?.problem(task, waiting);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  /** Waits until nothing has completed for a moment. What waits then is what the image has. */
  settle(): void {
    if (this.#rings.length === 0) return;
    this.#waitForQuiet();
    for (const ring of this.#rings)
      ring.polls = this.#reader?.read(ring.task, ring.start).map(({ iocb }) => iocb) ?? [];
  }

  #waitForQuiet(): void {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const isQuiet = !this.#update();
      if (tries > 0 && isQuiet) return;
      Bun.sleepSync(QUIET_MS);
    }
  }

  /** Throws CriuError when something completed since `settle`. */
  check(): void {
    const moved = this.#rings.find((ring) => readRing(ring.task, ring.start).tail !== ring.tail);
    if (moved === undefined) return;
    throw new CriuError({
      object: moved.task.label,
      action: 'cannot be dumped: asynchronous I/O completed while its memory was copied',
      why: 'the copy may lack data that the events promise',
      remedy: 'try again when it does less I/O',
    });
  }

  [Symbol.dispose](): void {
    this.#reader?.[Symbol.dispose]();
  }

  /** True when a tail moved. */
  #update(): boolean {
    let hasMoved = false;
    for (const ring of this.#rings) {
      const { tail } = readRing(ring.task, ring.start);
      if (tail !== ring.tail) hasMoved = true;
      ring.tail = tail;
    }
    return hasMoved;
  }
}

const QUIET_MS = 2;
const TRIES_MAX = 50;

const readRing = (task: FrozenTask, start: number) => parseRing(readMemory(task.pid, start, AIO_HEADER_BYTES));

const MAGIC = 0xa10a10a1;
const COMPAT_FEATURES = 1;

function ringProblem(ring: RingHeader, bytes: number): string | undefined {
  if (ring.magic !== MAGIC || ring.compatFeatures !== COMPAT_FEATURES || ring.incompatFeatures !== 0) {
    return 'its header is not one that the kernel makes';
  }
  const slots = (bytes - AIO_HEADER_BYTES) / AIO_EVENT_BYTES;
  if (ring.headerBytes !== AIO_HEADER_BYTES || ring.slots !== Math.floor(slots)) {
    return `it says that it has ${ring.slots} slots, but it has ${Math.floor(slots)}`;
  }
  return undefined;
}
