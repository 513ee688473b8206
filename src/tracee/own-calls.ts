/**
 * Many system calls of our own for the price of one call from TypeScript: a program that the calling thread itself hands
 * to the agent and takes back when it has ended. It can be run again, with other words in its data.
 */

import { agentCode, OP_BYTES, OP_RESULT } from '../agent/agent-code.ts';
import type { Place, Program, Result } from '../agent/program.ts';
import { once } from '../base/per-run.ts';
import { addressOf, callable, placeCode } from '../linux/kernel.ts';

/** C function(program counter, agent): keeps what the agent uses and jumps to it. The agent needs no stack. */
const ENTER = [
  0x41, 0x57, // push r15
  0x41, 0x56, // push r14
  0x49, 0x89, 0xff, // mov r15, rdi
  0xff, 0xe6, // jmp rsi
]; // biome-ignore format: one instruction a line

/** Where the program leaves the agent to: back to the caller. */
const RETURN = [
  0x41, 0x5e, // pop r14
  0x41, 0x5f, // pop r15
  0xc3, // ret
]; // biome-ignore format: one instruction a line

const entry = once(() => ({
  enter: callable(placeCode(ENTER)),
  agent: placeCode(agentCode()),
  back: placeCode(RETURN),
}));

/** Where a program that our own thread executes leaves the agent to. */
export function wayOut(): number {
  return entry().back;
}

/** Executes a program at an address of our own memory; it must not stop, and end by leaving to `wayOut`. */
export function execute(address: number): void {
  const { enter, agent } = entry();
  enter(address, agent, 0, 0, 0, 0, 0);
}

export class OwnCalls {
  /** The program in memory: ops, then data. */
  readonly block: Uint8Array;
  readonly view: DataView;
  readonly #program: Program;
  readonly #address: number;

  /** Lays the program out; it must not stop, so none of its calls may be a `must`. */
  constructor(program: Program) {
    program.leave(wayOut());
    this.#program = program;
    // An array with a buffer of its own never moves.
    this.block = new Uint8Array(new ArrayBuffer(program.byteLength));
    this.view = new DataView(this.block.buffer);
    this.#address = addressOf(this.block);
    this.block.set(program.assemble(this.#address));
  }

  /** Executes all of it. */
  run(): void {
    execute(this.#address);
  }

  /** Where a place of the program is in `block`. */
  offsetOf(place: Place): number {
    return this.#program.placeOffset(place);
  }

  /** What an op returned; the calls made here return numbers of 32 bits, or −errno. */
  result(of: Result): number {
    return this.resultAt(of.op);
  }

  /** The same by the index of the op. */
  resultAt(op: number): number {
    return this.view.getInt32(op * OP_BYTES + OP_RESULT, true);
  }
}
