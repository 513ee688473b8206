/**
 * The agent as the host of a task that is being built: the controller writes programs into the agent's home and runs
 * them, stage by stage. Programs end in int3, which the tracer sees as SIGTRAP.
 */
import type { Abi } from '../agent/abi.ts';
import { agentCode, OP_BYTES } from '../agent/agent-code.ts';
import type { Program, Result } from '../agent/program.ts';
import { assert, CriuError } from '../base/errors.ts';
import { errnoName } from '../linux/abi/errno.ts';
import { SIGSTOP, SIGTRAP } from '../linux/abi/signal.ts';
import { readMemory, writeMemory } from './memory.ts';
import { newRegisters, type Registers, readRegisters, register, setRegister, writeRegisters } from './registers.ts';
import { resume, waitForStop } from './stop.ts';

/** The agent's code is at the start of its home, the program follows on the next multiple of this. */
const PROGRAM_OFFSET = 512;

/** How much room a home needs for programs of `bytes` bytes. */
export function homeBytes(bytes: number): number {
  return (PROGRAM_OFFSET + bytes + 4095) & ~4095;
}

export class HostTask {
  readonly pid: number;
  readonly home: { address: number; bytes: number };
  #program: Program | undefined = undefined;
  #address: number;
  #isRunning = false;
  #registers: Registers = newRegisters();
  #isGone = false;

  constructor(pid: number, home: { address: number; bytes: number }) {
    this.pid = pid;
    this.home = home;
    this.#address = this.scratchAddress;
  }

  /** Where the last program is, or the first one will be. */
  get programAddress(): number {
    return this.#address;
  }

  /** Room up to the end of the home, while no program runs. */
  get scratchAddress(): number {
    return this.home.address + PROGRAM_OFFSET;
  }

  /** Runs the stub's built-in program, which maps the home, and puts the agent there. */
  continueInStub(program: Program): void {
    this.#program = program;
    resume(this.pid);
    this.#waitForTrap(undefined);
    this.moveIn();
  }

  /**
   * Runs a program that ends with the execution of a stub, whose built-in program is `inStub`. Nothing of the task's memory
   * is left afterwards but the agent.
   */
  execute(program: Program, inStub: Program): void {
    this.start(program);
    this.#isRunning = false;
    this.#waitForTrap(undefined);
    const index = (Number(register(this.#registers, 'r15')) - this.programAddress) / OP_BYTES;
    if (index >= 0 && index < program.length) this.#failed(program, index);
    this.continueInStub(inStub);
  }

  /** Puts the agent into its home, which is there already. */
  moveIn(): void {
    writeMemory(this.pid, this.home.address, agentCode());
  }

  /** A child made by a clone op of this task: it has its own copy of the home. It has stopped when this returns. */
  adopt(pid: number): HostTask {
    const child = new HostTask(pid, this.home);
    const stop = waitForStop(pid);
    assert(stop !== 'gone', `the new task ${pid} stops`);
    child.#registers = readRegisters(pid);
    return child;
  }

  /**
   * Starts a program; `finish` waits for its end. The last op must be a stop. While another one runs it is laid out behind
   * that, and starts when that has ended, so that the task works while the next part of its work is planned.
   */
  start(program: Program): void {
    const address = this.#isRunning ? this.#address + (this.#program?.byteLength ?? 0) : this.scratchAddress;
    const end = address + program.byteLength;
    assert(end <= this.home.address + this.home.bytes, `${program.byteLength} bytes fit the agent's home`);
    writeMemory(this.pid, address, program.assemble(address, undefined, false));
    // They are not copied a second time.
    for (const { offset, bytes } of program.blobs()) writeMemory(this.pid, address + offset, bytes);
    if (this.#isRunning) this.finish();
    this.#program = program;
    this.#address = address;
    if (register(this.#registers, 'cs') === 0n) this.#registers = readRegisters(this.pid);
    // No stack: where the old one happens to be could be the task's alternate signal stack, which is then in use.
    setRegister(this.#registers, 'rsp', 0);
    setRegister(this.#registers, 'rip', this.home.address);
    setRegister(this.#registers, 'r15', address);
    setRegister(this.#registers, 'orig_rax', -1n);
    writeRegisters(this.pid, this.#registers);
    resume(this.pid);
    this.#isRunning = true;
  }

  /** Waits for the end of the program. Throws CriuError when an op failed. */
  finish(): void {
    this.#isRunning = false;
    this.#waitForTrap(this.#address);
  }

  run(program: Program): void {
    this.start(program);
    this.finish();
  }

  /** False when the task has died. */
  get isThere(): boolean {
    return !this.#isGone;
  }

  /** What an op of the finished program returned. */
  result(of: Result): number {
    assert(this.#program !== undefined, 'a program ran');
    const bytes = readMemory(this.pid, this.programAddress + this.#program.resultOffset(of), 8);
    return Number(new DataView(bytes.buffer).getBigInt64(0, true));
  }

  #waitForTrap(programAddress: number | undefined): void {
    const stop = waitForStop(this.pid);
    this.#isGone = stop === 'gone';
    if (stop === 'gone' || stop.kind !== 'signal' || (stop.signal !== SIGTRAP && stop.signal !== SIGSTOP)) {
      const how = stop === 'gone' ? 'died' : stop.kind === 'signal' ? `got signal ${stop.signal}` : stop.kind;
      throw new CriuError({ object: `task ${this.pid}`, action: `cannot be restored: the task ${how}` });
    }
    this.#registers = readRegisters(this.pid);
    const program = this.#program;
    if (programAddress === undefined || program === undefined) return;
    const index = (Number(register(this.#registers, 'r15')) - programAddress) / OP_BYTES;
    if (!program.endsAt(index)) this.#failed(program, index);
  }

  #failed(program: Program, index: number): never {
    const { nr, because, abi } = program.describe(index);
    const result = Number(BigInt.asIntN(64, register(this.#registers, 'rax')));
    const answer = result < 0 && result >= -4095 ? errnoName(-result) : `unexpected result ${result}`;
    throw new CriuError({
      object: `task ${this.pid}`,
      action: `cannot ${because} (${systemCallName(nr, abi)}: ${answer})`,
      crErrno: result < 0 && result >= -4095 ? -result : 0,
    });
  }
}

function systemCallName(nr: number, { calls }: Abi): string {
  return Object.entries(calls).find(([, value]) => value === nr)?.[0] ?? `system call ${nr}`;
}
