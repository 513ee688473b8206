/**
 * The words after `criu exec -t PID`: a system call by name or number, and up to six arguments.
 *
 *     12  -1  0x1000  010     numbers
 *     &text                   the address of a string of that text, put into the task for the call
 *     @64                     the address of 64 zeroed bytes, whose content is shown after the call
 *
 * This is the language of CRIU up to 2.x (criu/cr-exec.c); 3.x refuses the command.
 */
import { CriuError } from '../base/errors.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';

export type CallArg =
  | { readonly kind: 'number'; readonly value: bigint }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'buffer'; readonly bytes: number };

export interface Call {
  readonly name: string;
  readonly nr: number;
  readonly args: readonly CallArg[];
}

const ARGS_MAX = 6;
const BUFFER_MAX = 4096;
const NR_MAX = 1023;

/** Calls after which the task would not be what it was, or that would never return to it. */
const UNFIT: ReadonlySet<string> = new Set([
  'execve', 'execveat', 'exit', 'exit_group', 'fork', 'vfork', 'clone', 'clone3', 'rt_sigreturn', 'rt_sigprocmask',
  'restart_syscall', 'pause', 'rt_sigsuspend', 'rt_sigtimedwait', 'arch_prctl', 'set_tid_address',
]); // biome-ignore format: a list of words

/** Throws CriuError naming the word that is wrong. */
export function parseCall(words: readonly string[]): Call {
  const [word = '', ...rest] = words;
  const { name, nr } = findCall(word);
  if (UNFIT.has(name)) {
    throw mistake(`${name} cannot be called in another task`, 'it would end the task, copy it, or never return');
  }
  if (rest.length > ARGS_MAX) throw mistake(`${name} has ${rest.length} arguments`, `a system call takes ${ARGS_MAX}`);
  return { name, nr, args: rest.map(parseArg) };
}

function findCall(word: string): { name: string; nr: number } {
  if (/^\d+$/.test(word) && Number(word) <= NR_MAX) {
    const nr = Number(word);
    return { name: Object.entries(SYS).find(([, value]) => value === nr)?.[0] ?? word, nr };
  }
  const nr = Object.hasOwn(SYS, word) ? SYS[word as keyof typeof SYS] : undefined;
  if (nr === undefined) throw mistake(`Unknown syscall [${word}]`, 'man 2 syscalls has the names');
  return { name: word, nr };
}

function parseArg(word: string): CallArg {
  if (word.startsWith('&')) return { kind: 'text', text: word.slice(1) };
  if (word.startsWith('@')) {
    const bytes = Number(word.slice(1));
    if (!(Number.isInteger(bytes) && bytes >= 1 && bytes <= BUFFER_MAX)) {
      throw mistake(`Bad argument size ${word.slice(1)}`, `a buffer has 1 to ${BUFFER_MAX} bytes`);
    }
    return { kind: 'buffer', bytes };
  }
  const value = parseNumber(word);
  if (value === undefined) throw mistake(`'${word}' is not a number`, 'a string begins with &, a buffer with @');
  return { kind: 'number', value };
}

/** As strtol(3) with base 0. */
function parseNumber(word: string): bigint | undefined {
  const match = /^(-?)(0x[0-9a-f]+|\d+)$/i.exec(word);
  if (match === null) return undefined;
  const [, sign, digits = ''] = match;
  if (/^0\d/.test(digits) && /[89]/.test(digits)) return undefined;
  const value = BigInt(/^0\d/.test(digits) ? `0o${digits.slice(1)}` : digits);
  const limit = sign === '-' ? 2n ** 63n : 2n ** 64n - 1n;
  if (value > limit) return undefined;
  return sign === '-' ? -value : value;
}

function mistake(action: string, why: string): CriuError {
  return new CriuError({ action, why });
}
