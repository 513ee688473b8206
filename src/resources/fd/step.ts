/**
 * Steps of a restore: system calls of one task as plain data, each with its reason, so that a plan can be printed and
 * tested without a kernel. `addSteps` turns them into ops of an agent program.
 */
import type { Abi } from '../../agent/abi.ts';
import type { Place, Program, ProgramArg } from '../../agent/program.ts';
import { assert } from '../../base/errors.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';

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

/** One system call that has to succeed, and to return `expected` when that is known. */
export interface Step {
  readonly nr: number;
  readonly args: readonly StepArg[];
  readonly because: string;
  readonly expected?: number | undefined;
  /** It may also fail: nobody looks at the result. */
  readonly mayFail?: boolean;
}

/**
 * Adds the steps to a program, in order. In a tree with 32-bit tasks (`abi`) files are opened as those do it: each open(2)
 * of a 64-bit task adds O_LARGEFILE (fs/open.c, force_o_largefile).
 */
export function addSteps(program: Program, steps: readonly Step[], abi: Abi): void {
  for (const { nr, args, because, expected, mayFail } of steps) {
    const words = args.map((arg) => toProgramArg(program, arg));
    if (nr === SYS.openat && expected !== undefined) program.expectAs(because, expected, abi, 'openat', ...words);
    else if (mayFail === true) program.call(nr, ...words);
    else if (expected === undefined) program.must(because, nr, ...words);
    else program.expect(because, expected, nr, ...words);
  }
}

function toProgramArg(program: Program, arg: StepArg): ProgramArg {
  if (typeof arg === 'number' || typeof arg === 'bigint') return arg;
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
