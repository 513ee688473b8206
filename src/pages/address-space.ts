/**
 * An address space that gets its memory while its task runs: pages that threads wait for, pieces of what is still missing,
 * and what the task does with its mappings meanwhile (ioctl_userfaultfd(2), and the kernel's mm/userfaultfd.c).
 *
 * The rule that keeps old content from coming back: a message about a change is read only when no copy is under way, and
 * taken into account before the next one. From the change until its message is read the kernel refuses copies (EAGAIN).
 */
import { CriuError } from '../base/errors.ts';
import { PAGE_BYTES } from '../image/pagemap.ts';
import { ERRNO, errnoName } from '../linux/abi/errno.ts';
import { UFFD_EVENT_FORK, UFFD_EVENT_PAGEFAULT, UFFD_EVENT_REMAP } from '../linux/abi/userfaultfd.ts';
import { close } from '../linux/syscalls/fs.ts';
import {
  tryReadMessages,
  tryUffdCopy,
  tryUffdZeropage,
  type UffdMessage,
  uffdWake,
} from '../linux/syscalls/userfaultfd.ts';
import { type PendingPages, type PendingRun, pageOf } from './pending-pages.ts';

/** So much is copied when a thread waits for a page of it: programs want what is next to it too. */
const FAULT_BYTES = 64 << 10;
/** So much at once in the background: who waits for a page meanwhile waits for 70 microseconds. Bigger is no faster. */
const PIECE_BYTES = 256 << 10;

export class AddressSpace {
  /** For messages. */
  readonly label: string;
  readonly uffd: number;
  readonly #pending: PendingPages;
  /** Pages that threads wait for, and that have not been served yet. */
  #waiting: number[] = [];
  #next = 0;
  /** The task has ended, or executes another program. */
  isGone = false;
  /** A fork of a task has made it. */
  readonly isChild: boolean;
  faults = 0;
  bytesCopied = 0;

  constructor(label: string, uffd: number, pending: PendingPages, isChild = false) {
    this.isChild = isChild;
    this.label = label;
    this.uffd = uffd;
    this.#pending = pending;
  }

  /** Nothing is missing any more, or nobody is left to miss it. */
  get isDone(): boolean {
    return this.isGone || this.#pending.bytes === 0;
  }

  /** Reads what there is to read, and serves who waits. Returns address spaces that forks have made. */
  serve(): AddressSpace[] {
    const children: AddressSpace[] = [];
    for (;;) {
      const messages = tryReadMessages(this.uffd);
      if (typeof messages === 'number') break;
      for (const message of messages) this.#note(message, children);
    }
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const page of waiting) if (!this.isGone) this.#bring(page);
    return children;
  }

  /** Copies the next piece. */
  advance(): void {
    const piece = this.#pending.takeNext(this.#next, PIECE_BYTES);
    if (piece === undefined) return;
    this.#next = piece.address + piece.bytes;
    this.#copy(piece);
  }

  /** The kernel gives zeros for what is not there from now on, and is told nothing; the mappings are as before. */
  [Symbol.dispose](): void {
    close(this.uffd);
  }

  #note(message: UffdMessage, children: AddressSpace[]): void {
    switch (message.event) {
      case UFFD_EVENT_PAGEFAULT:
        this.faults++;
        this.#waiting.push(pageOf(message.address));
        break;
      case UFFD_EVENT_FORK:
        children.push(new AddressSpace(`a child of ${this.label}`, message.uffd, this.#pending.copy(), true));
        break;
      case UFFD_EVENT_REMAP:
        this.#pending.move(message.from, message.to, message.bytes);
        break;
      default:
        this.#pending.take(message.start, message.end);
    }
  }

  #bring(page: number): void {
    const start = page - (page % FAULT_BYTES);
    const parts = this.#pending.take(start, start + FAULT_BYTES);
    const isThere = (part: PendingRun) => part.address <= page && page < part.address + part.bytes;
    // The page itself first.
    parts.sort((a, b) => Number(isThere(b)) - Number(isThere(a)));
    if (parts.every((part) => !isThere(part))) this.#bringZeros(page);
    for (const part of parts) this.#copy(part, page);
    if (parts.length > 0) this.#next = start + FAULT_BYTES;
  }

  /** The task has given the page up, or never used it; or it has just come. */
  #bringZeros(page: number): void {
    const result = tryUffdZeropage(this.uffd, page, PAGE_BYTES);
    if (result === -ERRNO.EAGAIN) this.#waiting.push(page);
    else if (result === -ERRNO.ESRCH) this.isGone = true;
    // Present by now, or no mapping of ours: the thread looks again.
    else if (result === -ERRNO.EEXIST || result === -ERRNO.ENOENT) uffdWake(this.uffd, page, PAGE_BYTES);
    else if (result < 0) throw this.#failed(page, result);
  }

  /** Copies a run; what a change of the task keeps back is missing again. `page` is one that somebody waits for. */
  #copy(run: PendingRun, page?: number): void {
    for (let done = 0, most = run.bytes; done < run.bytes; ) {
      const address = run.address + done;
      const result = tryUffdCopy(this.uffd, address, run.place + done, Math.min(run.bytes - done, most));
      if (result > 0) {
        done += result;
        this.bytesCopied += result;
      } else if (result === -ERRNO.EEXIST) {
        uffdWake(this.uffd, address, PAGE_BYTES);
        done += PAGE_BYTES;
      } else if (result === -ERRNO.EAGAIN) {
        this.#pending.putBack({ address, bytes: run.bytes - done, place: run.place + done });
        if (page !== undefined && page >= address && page < run.address + run.bytes) this.#waiting.push(page);
        return;
      } else if (result === -ERRNO.ENOENT) {
        // It reaches into another mapping, for the task has split this one; or, in a child, it was not inherited.
        if (most > PAGE_BYTES) most = PAGE_BYTES;
        else done += PAGE_BYTES;
      } else if (result === -ERRNO.ESRCH) {
        this.isGone = true;
        return;
      } else throw this.#failed(address, result);
    }
  }

  #failed(address: number, result: number): CriuError {
    return new CriuError({
      object: this.label,
      action: `cannot get its memory at ${address.toString(16)} (UFFDIO_COPY: ${errnoName(-result)})`,
      ...(WHY[-result] === undefined ? {} : { why: WHY[-result] }),
    });
  }
}

const WHY: Readonly<Record<number, string>> = {
  [ERRNO.EFAULT]: 'the image is truncated, or cannot be read',
  [ERRNO.ENOMEM]: 'there is not enough memory, in the machine or in the cgroup of the task',
};
