/** The interrupted calls of a frozen tree: which are made again, and for how long the others go on. */
import type { Program } from '../../agent/program.ts';
import type { FrozenThread, FrozenTree } from '../../dump/frozen-tree.ts';
import type { InterruptedCallExt } from '../../image/gen/core.ts';
import { readClock } from '../../linux/clock.ts';
import { tryReadMemory } from '../../tracee/memory.ts';
import { hasRestartBlock } from '../registers/registers.ts';
import { canBeMadeAgain, describeInterruptedCall } from './interrupted-call.ts';
import { RestartBlocks } from './restart-blocks.ts';
import { parseTimespec, type TimedCall } from './timed-calls.ts';

export interface DescribedCall {
  /** The registers are to make the call again. */
  readonly isMadeAgain: boolean;
  /** The call goes on for the rest of its time. Neither of both: it returns EINTR. */
  readonly rest: InterruptedCallExt | undefined;
}

/** A call of which nothing has to be asked. */
export const MADE_AGAIN: DescribedCall = { isMadeAgain: true, rest: undefined };

export class InterruptedCalls {
  /** Threads of which only the restart block tells the rest. */
  readonly #unknown: ReadonlySet<FrozenThread>;
  /** Opened for the first thread that is asked. */
  #opened: { readonly blocks: RestartBlocks | undefined } | undefined = undefined;

  constructor({ tasks }: Pick<FrozenTree, 'tasks'>) {
    const interrupted = tasks.flatMap(({ threads }) => threads.filter(({ registers }) => hasRestartBlock(registers)));
    this.#unknown = new Set(
      interrupted.filter(
        ({ pid, registers }) => !canBeMadeAgain(registers, (at, call) => tryReadTimespec(pid, at, call)),
      ),
    );
  }

  /** Whether `ask` adds anything to the program of a thread. */
  isAsked(thread: FrozenThread): boolean {
    return this.#unknown.has(thread);
  }

  /** Adds what is to be asked to the program of a thread. The result is to be called when that has run. */
  ask(program: Program, thread: FrozenThread): () => DescribedCall {
    if (!this.isAsked(thread)) return () => MADE_AGAIN;
    this.#opened ??= { blocks: RestartBlocks.tryOpen(this.#unknown.size) };
    const { blocks } = this.#opened;
    const index = blocks?.ask(program);
    return () => {
      const block = index === undefined ? undefined : blocks?.read(index);
      // Our own clocks are the kernel's: restart blocks know nothing of time namespaces.
      const rest = block === undefined ? undefined : describeInterruptedCall(thread.registers, block, readClock);
      return { isMadeAgain: false, rest };
    };
  }

  [Symbol.dispose](): void {
    this.#opened?.blocks?.[Symbol.dispose]();
  }
}

/** Undefined when there is no such memory: then the call would have failed. */
function tryReadTimespec(pid: number, address: bigint, { wordBytes }: TimedCall): bigint | undefined {
  const bytes = tryReadMemory(pid, Number(address), 2 * wordBytes);
  return bytes === undefined ? undefined : parseTimespec(bytes);
}
