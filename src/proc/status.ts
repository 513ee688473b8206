/**
 * /proc/PID/status: identity, credentials and signals of a task, man 5 proc_pid_status; fs/proc/array.c.
 *
 * Fields only grow, so they are found by key and unknown ones are ignored. A zombie or a kernel thread may lack Umask.
 */
import { byteString } from '../base/bytes.ts';
import type { CriuError } from '../base/errors.ts';
import { malformed, type Place, toIntegers, tryHexBigint, tryInteger } from './text.ts';

/** Real, effective, saved and file system id, as the reader's user namespace sees them. */
export type Ids = readonly [real: number, effective: number, saved: number, fs: number];

/** What is used of /proc/PID/status; `undefined` where the kernel printed no such line. */
export interface Status {
  /** comm, with the kernel's `\n` and `\\` undone. */
  readonly name: string;
  readonly umask: number | undefined;
  /** One letter: R, S, D, T, t, Z, X, I, P. */
  readonly state: string;
  readonly tgid: number;
  readonly pid: number;
  readonly ppid: number;
  /** 0 when nobody traces the task, or the tracer is not visible. */
  readonly tracerPid: number;
  readonly uid: Ids;
  readonly gid: Ids;
  readonly groups: readonly number[];
  /** Ids in the pid namespaces from the reader's down to the task's own. */
  readonly nsPid: readonly number[];
  /** Known since 6.8; false before. */
  readonly isKernelThread: boolean;
  /** Queued signals of this user, and the limit of that. */
  readonly queuedSignals: number;
  readonly queuedSignalsMax: number;
  /** Masks: bit n-1 is signal n. */
  readonly sigPnd: bigint;
  readonly shdPnd: bigint;
  readonly sigCgt: bigint;
  /** Masks: bit n is capability n. */
  readonly capInh: bigint;
  readonly capPrm: bigint;
  readonly capEff: bigint;
  readonly capBnd: bigint;
  readonly capAmb: bigint;
  readonly hasNoNewPrivs: boolean;
  /** SECCOMP_MODE_*. */
  readonly seccomp: number;
  /** Mask as the kernel prints it: groups of 8 hexadecimal digits with commas between, highest first. */
  readonly cpusAllowed: string;
}

/** Parses /proc/PID/status. Throws CriuError when a line is missing that every kernel since 4.10 prints. */
export function parseStatus(text: string, file = '/proc/PID/status'): Status {
  const lines = new StatusLines(text, file);
  const state = lines.required('State');
  if (state === '') throw lines.malformed('State', 'a state');
  const pid = lines.integer('Pid');
  const [queuedSignals, queuedSignalsMax] = lines.queue();
  return {
    name: unescapeComm(lines.name()),
    umask: lines.umask(),
    state: state.slice(0, 1),
    tgid: lines.integer('Tgid'),
    pid,
    ppid: lines.integer('PPid'),
    tracerPid: lines.integer('TracerPid'),
    uid: lines.ids('Uid'),
    gid: lines.ids('Gid'),
    groups: lines.integers('Groups'),
    // Without CONFIG_PID_NS there is no such line, nor any namespaces.
    nsPid: lines.find('NSpid') === undefined ? [pid] : lines.integers('NSpid'),
    isKernelThread: lines.find('Kthread') === '1',
    queuedSignals,
    queuedSignalsMax,
    sigPnd: lines.mask('SigPnd'),
    shdPnd: lines.mask('ShdPnd'),
    sigCgt: lines.mask('SigCgt'),
    capInh: lines.mask('CapInh'),
    capPrm: lines.mask('CapPrm'),
    capEff: lines.mask('CapEff'),
    capBnd: lines.mask('CapBnd'),
    capAmb: lines.mask('CapAmb'),
    hasNoNewPrivs: lines.find('NoNewPrivs') === '1',
    seccomp: lines.find('Seccomp') === undefined ? 0 : lines.integer('Seccomp'),
    cpusAllowed: lines.find('Cpus_allowed') ?? '',
  };
}

/** "\nPid:\t" and "\nNSpid:\t" hold numbers of the thread; from here on there are only counters. */
const [OWN_PID, OWN_NSPID, COUNTERS] = ['\nPid:\t', '\nNSpid:\t', '\nvoluntary_ctxt_switches:'];

/**
 * Parses the status files of many threads. The threads of a process differ in their numbers and little else, so what is
 * otherwise the same as in the file before is not parsed again.
 */
export class StatusParser {
  #status: Status | undefined = undefined;
  #end = 0;
  #bytes = new Uint8Array(0);
  /** Three parts of `#bytes` that must be the same: up to the pid, from there up to NSpid, from there up to the counters. */
  #parts: readonly { readonly start: number; readonly end: number }[] = [];

  /** Throws as `parseStatus` does. `bytes` may change afterwards. */
  parse(bytes: Uint8Array, file: string): Status {
    const known = this.#tryKnown(bytes);
    if (known !== undefined) return known;
    const text = byteString(bytes);
    const status = parseStatus(text, file);
    const [pid, nsPid, end] = [text.indexOf(OWN_PID), text.indexOf(OWN_NSPID), text.indexOf(COUNTERS)];
    this.#status = pid < 0 || nsPid < pid || end < nsPid ? undefined : status;
    this.#bytes = bytes.slice();
    this.#parts = [
      { start: 0, end: pid + OWN_PID.length },
      { start: text.indexOf('\n', pid + 1), end: nsPid + OWN_NSPID.length },
      { start: text.indexOf('\n', nsPid + 1), end: end + COUNTERS.length },
    ];
    return status;
  }

  #tryKnown(bytes: Uint8Array): Status | undefined {
    if (this.#status === undefined) return undefined;
    let at = this.#skip(bytes, 0, 0);
    const [pid] = this.#numbers(bytes, at);
    at = this.#skip(bytes, this.#end, 1);
    const nsPid = this.#numbers(bytes, at);
    at = this.#skip(bytes, this.#end, 2);
    return at < 0 || pid === undefined ? undefined : { ...this.#status, pid, nsPid };
  }

  /** Where a part that has to be the same ends; -1 when it is another. */
  #skip(bytes: Uint8Array, at: number, part: number): number {
    const { start, end } = this.#parts[part] ?? { start: 0, end: 0 };
    const next = at + end - start;
    const isSame = at >= 0 && Buffer.compare(bytes.subarray(at, next), this.#bytes.subarray(start, end)) === 0;
    return isSame ? next : -1;
  }

  /** The numbers of a line from `at` on; `#end` is where it ends, -1 when there is anything else. */
  #numbers(bytes: Uint8Array, at: number): number[] {
    const numbers: number[] = [];
    this.#end = -1;
    if (at < 0) return numbers;
    let number = 0;
    for (; at < bytes.length; at++) {
      const byte = bytes[at] ?? 0;
      if (byte >= ZERO && byte <= NINE) number = number * 10 + byte - ZERO;
      else {
        numbers.push(number);
        number = 0;
        if (byte !== TAB) break;
      }
    }
    if (bytes[at] === NEWLINE) this.#end = at;
    return numbers;
  }
}

const [TAB, NEWLINE, ZERO, NINE] = [9, 10, 48, 57];

/** Undoes string_escape_str() with ESCAPE_SPACE | ESCAPE_SPECIAL, which /proc uses for comm in status. */
export function unescapeComm(text: string): string {
  if (!text.includes('\\')) return text;
  return text.replace(/\\(n|\\)/g, (_, char: string) => (char === 'n' ? '\n' : '\\'));
}

/** Typed access to the lines by key. Each is searched when it is asked for: of sixty lines a third is. */
class StatusLines {
  private readonly text: string;
  private readonly file: string;

  constructor(text: string, file: string) {
    this.text = text;
    this.file = file;
  }

  /** Where the value of a line begins; 0 when there is no such line. No value holds a line break. */
  private start(key: string): number {
    const line = `\n${key}:\t`;
    const at = this.text.indexOf(line);
    return at < 0 ? 0 : at + line.length;
  }

  find(key: string): string | undefined {
    const start = this.start(key);
    return start === 0 ? undefined : this.text.slice(start, this.end(start)).trim();
  }

  private end(start: number): number {
    const end = this.text.indexOf('\n', start);
    return end < 0 ? this.text.length : end;
  }

  required(key: string): string {
    const value = this.find(key);
    if (value === undefined) throw malformed({ file: this.file, line: 0, text: this.text }, `a line "${key}:"`);
    return value;
  }

  /** comm, in the first line. It may start or end with blanks. */
  name(): string {
    const key = 'Name:\t';
    if (!this.text.startsWith(key)) throw malformed({ file: this.file, line: 1, text: this.text }, `a line "Name:"`);
    return this.text.slice(key.length, this.end(0));
  }

  umask(): number | undefined {
    const value = this.find('Umask');
    if (value === undefined) return undefined;
    const mask = Number(`0o${value}`);
    if (!Number.isSafeInteger(mask)) throw this.malformed('Umask', 'an octal number');
    return mask;
  }

  integer(key: string): number {
    const value = this.required(key);
    const number = tryInteger(value);
    if (number === undefined) throw this.malformed(key, 'a number');
    return number;
  }

  integers(key: string): readonly number[] {
    const value = this.required(key);
    if (value === '') return [];
    const number = tryInteger(value);
    return number === undefined ? toIntegers(value, this.place(key), 'numbers') : [number];
  }

  ids(key: string): Ids {
    const ids = this.required(key).split('\t');
    const numbers: number[] = [];
    for (let i = 0; i < 4; i++) numbers.push(tryInteger(ids[i] ?? '') ?? -1);
    if (ids.length !== 4 || numbers.includes(-1)) throw this.malformed(key, 'four ids');
    return numbers as unknown as Ids;
  }

  /** SigQ: "queued/limit", where a limit of 2^64-1 is none. */
  queue(): [queued: number, limit: number] {
    const value = this.required('SigQ');
    const slash = value.indexOf('/');
    const queued = tryInteger(value.slice(0, Math.max(slash, 0)));
    const text = value.slice(slash + 1);
    const limit = text === NO_LIMIT ? Number.POSITIVE_INFINITY : tryInteger(text);
    if (queued === undefined || limit === undefined) throw this.malformed('SigQ', 'queued signals/limit');
    return [queued, limit];
  }

  mask(key: string): bigint {
    const value = this.required(key);
    if (value === NO_BITS) return 0n;
    const mask = tryHexBigint(value);
    if (mask === undefined) throw this.malformed(key, 'a hexadecimal mask');
    return mask;
  }

  malformed(key: string, expected: string): CriuError {
    return malformed(this.place(key), expected);
  }

  private place(key: string): Place {
    const start = this.start(key) - key.length - 2;
    const text = this.text.slice(start, this.end(start));
    return { file: this.file, line: this.text.slice(0, start).split('\n').length, text };
  }
}

const NO_LIMIT = '18446744073709551615';
const NO_BITS = '0000000000000000';
