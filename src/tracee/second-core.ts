/**
 * A thread of ours on another core that executes rows of tables (call-table.ts) when it is told to, while the calling thread
 * executes others. For calls by which the kernel makes text or looks up names, as the files of /proc; not for ptrace, which
 * belongs to the thread that attached.
 */
import type { Place } from '../agent/program.ts';
import { setWord } from '../base/bytes.ts';
import { assert, SyscallError } from '../base/errors.ts';
import { ERRNO } from '../linux/abi/errno.ts';
import { EFD_CLOEXEC } from '../linux/abi/event.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../linux/kernel.ts';
import { close } from '../linux/syscalls/fs.ts';
import { Running, threadCount } from './parallel.ts';

/** Starting the first thread takes 2 ms, as long as reading so many files of /proc; the next ones 0.2 ms. */
const MANY = 200;

export class SecondCore {
  readonly #go: number;
  readonly #done: number;
  /** Where the thread goes on when it is told to. */
  readonly #target: DataView;
  readonly #count = new Uint8Array(8);
  readonly #thread: Running;
  readonly #exit: number;
  /** Where rows lead to that are done. */
  readonly end: number;

  private constructor(go: number, done: number) {
    this.#go = go;
    this.#done = done;
    let [target, endAt, exitAt]: [Place | undefined, number, number] = [undefined, 0, 0];
    this.#thread = new Running((program) => {
      const [start, end, exit] = [program.label(), program.label(), program.label()];
      const count = program.words(1);
      target = program.words(0);
      program.place(start);
      program.call(SYS.read, go, count, 8);
      program.jump(program.wordAt(target));
      program.place(end);
      program.call(SYS.write, done, count, 8);
      program.jump(start);
      program.place(exit);
      endAt = program.labelOffset(end);
      exitAt = program.labelOffset(exit);
    });
    assert(target !== undefined, 'the program has been made');
    const word = this.#thread.bytes(target);
    this.#target = new DataView(word.buffer, word.byteOffset);
    this.end = this.#thread.address + endAt;
    this.#exit = this.#thread.address + exitAt;
  }

  /** Undefined when it would not pay for `count` things, on one core, and where there can't be one thread or descriptor more. */
  static tryStart(count: number): SecondCore | undefined {
    if (count < MANY || threadCount() < 2) return undefined;
    const events: number[] = [];
    try {
      const [go, done] = [newEvent(events), newEvent(events)];
      return new SecondCore(go, done);
    } catch (error) {
      for (const event of events) close(event);
      if (error instanceof SyscallError) return undefined;
      throw error;
    }
  }

  /** The thread goes on at an op, from where rows lead to `end`. */
  start(address: number): void {
    setWord(this.#target, 0, address);
    check('write', syscall(SYS.write, this.#go, ONE, 8), 'eventfd');
  }

  /** Returns when it is there. */
  wait(): void {
    let result: number;
    do result = syscall(SYS.read, this.#done, this.#count, 8);
    while (result === -ERRNO.EINTR);
    check('read', result, 'eventfd');
  }

  [Symbol.dispose](): void {
    this.start(this.#exit);
    this.#thread.join();
    close(this.#go);
    close(this.#done);
  }
}

const ONE = BigUint64Array.of(1n);

function newEvent(events: number[]): number {
  const event = check('eventfd2', syscall(SYS.eventfd2, 0, EFD_CLOEXEC));
  events.push(event);
  return event;
}
