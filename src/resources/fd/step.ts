/**
 * Steps of a restore: system calls of one task as plain data, each with its reason, so that a plan can be printed and
 * tested without a kernel. `addSteps` turns them into ops of an agent program.
 */
import type { Place, Program, ProgramArg } from '../../agent/program.ts';
import { assert } from '../../base/errors.ts';

/** A number that is known when the steps are added, such as that of a descriptor of the controller. */
export interface LaterNumber {
  readonly later: () => number;
}

/** An argument of a step. */
export type StepArg =
  | number
  | bigint
  | LaterNumber
  /** A NUL-terminated byte string. */
  | { readonly text: string }
  /** Bytes that the task can read and write; addresses of other bytes are put in where `pointers` says. */
  | { readonly bytes: Uint8Array; readonly pointers?: readonly Pointer[] }
  /** The name under which the controller's descriptor `holder()` can be opened; known when the steps are added. */
  | { readonly path: () => string };

/** A structure of the kernel that has the address of another one, at byte `offset`. */
export interface Pointer {
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** Addresses in that one. */
  readonly pointers?: readonly Pointer[];
}

/** An int of the kernel that is only read (an option of a socket): the program has equal ones once. */
export class IntArg {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }

  get bytes(): Uint8Array {
    return new Uint8Array(Int32Array.of(this.value).buffer);
  }
}

/** One system call that has to succeed, and to return `expected` when that is known. */
export interface Step {
  readonly nr: number;
  readonly args: readonly StepArg[];
  readonly because: string;
  readonly expected?: number | undefined;
  /** It may also fail: nobody looks at the result. */
  readonly mayFail?: boolean;
}

/** Adds the steps to a program, in order. */
export function addSteps(program: Program, steps: readonly Step[]): void {
  for (const { nr, args, because, expected, mayFail } of steps) {
    const words: ProgramArg[] = [];
    for (let i = 0; i < args.length; i++) {
      const arg = args[i] ?? 0;
      words.push(typeof arg === 'number' ? arg : toProgramArg(program, arg));
    }
    if (mayFail === true) program.call(nr, ...words);
    else program.step(because, nr, words, expected);
  }
}

function toProgramArg(program: Program, arg: StepArg): ProgramArg {
  if (typeof arg === 'number' || typeof arg === 'bigint') return arg;
  if (arg instanceof IntArg) return program.int(arg.value);
  if ('later' in arg) return arg.later();
  if ('text' in arg) return program.string(arg.text);
  if ('bytes' in arg) return putBytes(program, arg);
  const path = arg.path();
  assert(path !== '', 'the path of a step is known when it is added to a program');
  return program.string(path);
}

function putBytes(program: Program, { bytes, pointers = [] }: Omit<Pointer, 'offset'>): Place {
  const place = program.data(bytes);
  for (const pointer of pointers) program.store64(program.at(place, pointer.offset), putBytes(program, pointer));
  return place;
}
