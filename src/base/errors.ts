/**
 * The three kinds of failure, and the one place that turns a failure into text.
 *
 * - `SyscallError`: the kernel said no. Thrown by `src/linux` only.
 * - `CriuError`: anything a user may see. Carries the object, the action, why it matters and what to do.
 * - `AssertionError` (from `assert`): a mistake of ours; stays on in release builds.
 */

/** A system call failed. `errno` is positive; `args` is the call in symbolic form, without the name. */
export class SyscallError extends Error {
  override readonly name = 'SyscallError';
  readonly syscall: string;
  readonly errno: number;
  readonly errnoName: string;

  constructor(syscall: string, errno: number, errnoName: string, args = '') {
    super(`${syscall}${args === '' ? '' : `(${args})`}: ${errnoName}`);
    this.syscall = syscall;
    this.errno = errno;
    this.errnoName = errnoName;
  }
}

export interface CriuErrorFields {
  /** What it happened to, in the user's words: "fd 7 (timerfd) of task 1234 'nginx'". */
  readonly object?: string;
  /** What criu was doing and how it failed: "cannot read /proc/1234/maps". */
  readonly action: string;
  /** Why it matters or why it happened. */
  readonly why?: string;
  /** What the user can do; names the option where one helps. */
  readonly remedy?: string;
  /** Exit status of the process; 1 unless stated. */
  readonly exitCode?: number;
  /** RPC `cr_errno`, positive: ESRCH, EEXIST, EBADRQC, ENOTSUP…; 0 when none fits. */
  readonly crErrno?: number;
  /** The error below this one. */
  readonly cause?: unknown;
}

/** A failure for the user's eyes. `message` is one line, composed by `composeMessage`. */
export class CriuError extends Error {
  override readonly name = 'CriuError';
  readonly fields: CriuErrorFields;

  constructor(fields: CriuErrorFields) {
    super(composeMessage(fields), fields.cause === undefined ? undefined : { cause: fields.cause });
    this.fields = fields;
  }

  get exitCode(): number {
    return this.fields.exitCode ?? 1;
  }

  get crErrno(): number {
    const { crErrno, cause } = this.fields;
    if (crErrno !== undefined) return crErrno;
    return cause instanceof CriuError ? cause.crErrno : 0;
  }
}

/** Several failures found at once (all blockers of a dump); the message has one line for each. */
export class CriuErrors extends CriuError {
  readonly errors: readonly CriuErrorFields[];

  constructor(summary: string, errors: readonly CriuErrorFields[]) {
    const crErrno = errors.find((error) => error.crErrno !== undefined)?.crErrno;
    super({ action: summary, ...(crErrno === undefined ? {} : { crErrno }) });
    this.errors = errors;
  }

  /** The summary first, then one line an error. */
  get lines(): string[] {
    return [this.message, ...this.errors.map(composeMessage)];
  }
}

/** "object: action: cause; why; remedy", leaving out what is not known. Always one line. */
export function composeMessage(fields: CriuErrorFields): string {
  const { object, action, why, remedy, cause } = fields;
  let text = object === undefined ? action : `${object}: ${action}`;
  if (cause instanceof Error) text += ` (${cause.message})`;
  if (why !== undefined) text += `: ${why}`;
  if (remedy !== undefined) text += `; ${remedy}`;
  return text.replaceAll('\n', ' ');
}

/** Throws when an invariant of our own code does not hold. `invariant` says what should have been true. */
export function assert(condition: boolean, invariant: string): asserts condition {
  if (!condition) throw new AssertionError(invariant);
}

export class AssertionError extends Error {
  override readonly name = 'AssertionError';
  constructor(invariant: string) {
    super(`bug in criu: ${invariant}`);
  }
}

/** The text of anything thrown, for a log line. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
