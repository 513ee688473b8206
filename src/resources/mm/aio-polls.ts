/**
 * Poll requests of asynchronous I/O (IOCB_CMD_POLL, man 2 io_submit): the only ones that may wait for ever. No interface
 * shows them, so they are read from the kernel's memory (fs/aio.c kioctx.active_reqs). What was asked for is read from
 * where the task keeps its requests, and compared with what the kernel has; a restore submits it again from there.
 *
 * Where criu may not read memory of the kernel, nobody knows whether there are any, and the dump says so.
 */

import type { Program } from '../../agent/program.ts';
import type { FrozenTask } from '../../dump/frozen-tree.ts';
import type { AioRingEntry } from '../../image/gen/mm.ts';
import { IOCB_BYTES, IOCB_CMD_POLL, IOCB_FLAG_RESFD } from '../../linux/abi/aio.ts';
import { O_RDONLY } from '../../linux/abi/fcntl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { KernelObjects } from '../../linux/kernel-objects.ts';
import { close, open } from '../../linux/syscalls/fs.ts';
import { tryPidfdGetfd } from '../../linux/syscalls/process.ts';
import { tryReadMemory } from '../../tracee/memory.ts';

/** A request that waits, as the kernel has it. */
export interface WaitingRequest {
  /** Where the task had it when it was submitted, which comes back with the event. */
  readonly iocb: bigint;
  readonly data: bigint;
  readonly events: number;
  /** struct file; struct eventfd_ctx or 0. */
  readonly file: bigint;
  readonly eventfd: bigint;
}

/** What a task's memory says about a request. */
export interface AskedRequest {
  readonly data: bigint;
  readonly opcode: number;
  readonly fd: number;
  readonly events: number;
  /** The eventfd that is told; −1 for none. */
  readonly eventfd: number;
}

export class PollReader {
  readonly #objects: KernelObjects;

  private constructor(objects: KernelObjects) {
    this.#objects = objects;
  }

  /** Undefined where criu may not read memory of the kernel. */
  static tryOpen(): PollReader | undefined {
    const objects = KernelObjects.tryOpen();
    return objects === undefined ? undefined : new PollReader(objects);
  }

  /** The requests that wait in the ring at `start`, in the order in which they were submitted. Throws CriuError. */
  read({ pid }: FrozenTask, start: number): WaitingRequest[] {
    const objects = this.#objects;
    const { types } = objects;
    const fd = open(`/proc/${pid}/mem`, O_RDONLY);
    try {
      const context = this.#contextOf(objects.word(objects.ownFile(fd), 'file.private_data'), BigInt(start));
      if (context === 0n) return [];
      const entries = objects.list(objects.member(context, 'kioctx.active_reqs'));
      return entries.map((entry) => this.#request(entry - BigInt(types.offset('aio_kiocb.ki_list'))));
    } finally {
      close(fd);
    }
  }

  /** A ring's struct kioctx; 0 when there is none. */
  #contextOf(mm: bigint, start: bigint): bigint {
    const objects = this.#objects;
    const table = objects.word(mm, 'mm_struct.ioctx_table');
    const count = table === 0n ? 0 : objects.u32(table, 'kioctx_table.nr');
    for (let i = 0; i < count; i++) {
      const slot = objects.member(table, 'kioctx_table.table') + BigInt(8 * i);
      const context = objects.memory.read(slot, 8).getBigUint64(0, true);
      if (context !== 0n && objects.word(context, 'kioctx.user_id') === start) return context;
    }
    return 0n;
  }

  #request(at: bigint): WaitingRequest {
    const objects = this.#objects;
    const result = objects.member(at, 'aio_kiocb.ki_res');
    return {
      iocb: objects.word(result, 'io_event.obj'),
      data: objects.word(result, 'io_event.data'),
      events: objects.u32(at, 'poll_iocb.events'),
      file: objects.word(at, 'poll_iocb.file'),
      eventfd: objects.word(at, 'aio_kiocb.ki_eventfd'),
    };
  }

  /** Why a request can't be submitted again from where it is. Throws CriuError. */
  problem(task: FrozenTask, waiting: WaitingRequest): string | undefined {
    const bytes = tryReadMemory(task.pid, Number(waiting.iocb), IOCB_BYTES);
    const asked = bytes === undefined ? undefined : parseRequest(bytes);
    const isSame =
      asked !== undefined &&
      isSameRequest(asked, waiting) &&
      this.#withFile(task, asked.fd, (file) => file === waiting.file) &&
      (asked.eventfd < 0 ? waiting.eventfd === 0n : this.#tells(task, asked.eventfd, waiting.eventfd));
    if (isSame) return undefined;
    return `it waits for a poll request (IOCB_CMD_POLL), and what is at ${waiting.iocb.toString(16)}, from where it was submitted, has changed`;
  }

  #tells(task: FrozenTask, fd: number, eventfd: bigint): boolean {
    return this.#withFile(task, fd, (file) => this.#objects.word(file, 'file.private_data') === eventfd);
  }

  /** Looks at the struct file of a descriptor of a task; false when it has no such descriptor. */
  #withFile({ pidfd }: FrozenTask, fd: number, look: (file: bigint) => boolean): boolean {
    const own = tryPidfdGetfd(pidfd, fd);
    if (own < 0) return false;
    try {
      return look(this.#objects.ownFile(own));
    } finally {
      close(own);
    }
  }

  [Symbol.dispose](): void {
    this.#objects[Symbol.dispose]();
  }
}

/** struct iocb. */
export function parseRequest(bytes: Uint8Array): AskedRequest {
  const view = new DataView(bytes.buffer, bytes.byteOffset, IOCB_BYTES);
  const hasEventfd = (view.getUint32(56, true) & IOCB_FLAG_RESFD) !== 0;
  return {
    data: view.getBigUint64(0, true),
    opcode: view.getUint16(16, true),
    fd: view.getInt32(20, true),
    events: view.getUint16(24, true),
    eventfd: hasEventfd ? view.getInt32(60, true) : -1,
  };
}

/** POLLERR and POLLHUP are waited for in any case (fs/aio.c aio_poll()). */
const ALWAYS = 0x18;
const EVENTS_MASK = 0xffff;

/** Whether both are the same request, as far as numbers tell. Pure. */
export function isSameRequest(asked: AskedRequest, waiting: WaitingRequest): boolean {
  const events = (asked.events | ALWAYS) & EVENTS_MASK;
  return asked.opcode === IOCB_CMD_POLL && asked.data === waiting.data && events === (waiting.events & EVENTS_MASK);
}

/** Submits the requests that waited, when all descriptors are there and memory can still be written. */
export function planPolls(program: Program, rings: readonly AioRingEntry[]): void {
  for (const { id, polls_ext } of rings) {
    if (polls_ext.length === 0) continue;
    const pointers = program.words(...polls_ext);
    const because = 'submit poll requests of asynchronous I/O again';
    program.expect(because, polls_ext.length, SYS.io_submit, id, polls_ext.length, pointers);
  }
}
