/**
 * The log: CRIU's levels and line format, because runc, podman and zdtm.py read it.
 *
 * Level 0 is for messages to the user (stdout, never prefixed), 1 errors, 2 warnings (default), 3 information,
 * 4 debug. From level 3 every line starts with "(SS.UUUUUU) ", the time since the start of this process. The words
 * `Error` and `Warn` begin real errors and warnings only; the module stands where CRIU has file and line.
 * Lines written before `open` are kept and get the time zero. Texts are byte strings (one char a byte).
 */
import { bytesOf } from './bytes.ts';

export type LogLevel = 0 | 1 | 2 | 3 | 4;

const LOG_ERROR = 1;
const LOG_WARN = 2;
export const LOG_INFO = 3;
export const LOG_DEBUG = 4;

/** From this level on every line carries the time. */
const TIMESTAMP_LEVEL = LOG_INFO;
/** Debug lines wait in memory up to this many chars; everything else is written at once, after them. */
const BUFFER_CHARS_MAX = 64 * 1024;
/** Lines kept before `open`; a program that never opens its log must not grow without end. */
const EARLY_LINES_MAX = 4096;
/** How often a full pipe is tried again, a millisecond apart. */
const RETRIES_MAX = 1000;
/** man 3 errno; the same on every architecture Linux has. */
const EINTR = 4;
const EAGAIN = 11;
/** CRIU's RPC response carries at most this much of the first error. */
const FIRST_ERROR_CHARS_MAX = 1023;

/** write(2): the number of bytes written, or −errno. `base` knows no system calls, so the sink is given one. */
export type WriteToFd = (fd: number, bytes: Uint8Array) => number;

/** What modules see: bound to a module name by `child`. */
export interface Logger {
  /** The name in `Error (module): `. */
  readonly module: string;
  /** A logger for a part, such as `dump/seize`; its information lines begin with the last part of the name, `seize: `. */
  child(module: string): Logger;
  /** Ask before building an expensive text. */
  isEnabled(level: LogLevel): boolean;
  /** Level 0: to stdout, without any prefix; a line feed is added. */
  message(text: string): void;
  error(text: string): void;
  warn(text: string): void;
  info(text: string): void;
  debug(text: string): void;
  /** Writes what is buffered; call before a point after which this process may vanish. */
  flush(): void;
}

interface EarlyLine {
  readonly level: LogLevel;
  readonly text: string;
}

/** The owner of the descriptor and the buffer; one for each process. Not passed to modules: they get `logger`. */
export class LogSink {
  readonly logger: Logger = new BoundLogger(this, '');
  readonly #write: WriteToFd;
  readonly #now: () => number;
  #level: LogLevel = LOG_WARN;
  #fd: number | undefined = undefined;
  #early: EarlyLine[] = [];
  #buffered = '';
  #firstError: string | undefined = undefined;

  /** `now`: milliseconds since the start; without it all lines get the time zero. */
  constructor(write: WriteToFd, now: () => number = () => 0) {
    this.#write = write;
    this.#now = now;
  }

  /** The verbosity; 0 silences everything but messages. Values above 4 mean 4. */
  get level(): LogLevel {
    return this.#level;
  }

  setLevel(level: number): void {
    this.#level = Math.max(0, Math.min(LOG_DEBUG, Math.trunc(level))) as LogLevel;
  }

  /** The descriptor lines go to, once open. */
  get fd(): number | undefined {
    return this.#fd;
  }

  /** The first error line without time, cut to what CRIU's RPC response carries (cr_errmsg). */
  get firstError(): string | undefined {
    return this.#firstError;
  }

  /** Writes what is buffered. Returns the descriptor, which is the caller's to close; lines are kept again. */
  detach(): number | undefined {
    this.flush();
    const fd = this.#fd;
    this.#fd = undefined;
    return fd;
  }

  /**
   * Starts writing to `fd`, beginning with the lines kept so far. A file should be opened for appending, because
   * action scripts may write to it too.
   */
  open(fd: number): void {
    this.#fd = fd;
    const early = this.#early;
    this.#early = [];
    for (const { level, text } of early) {
      if (level <= this.#level) this.#buffered += `${this.#level >= TIMESTAMP_LEVEL ? '(00.000000) ' : ''}${text}\n`;
    }
    this.flush();
  }

  isEnabled(level: LogLevel): boolean {
    return level <= this.#level || this.#fd === undefined;
  }

  /** Writes one line; a text with line feeds becomes one line, since readers of the log are line based. */
  write(level: LogLevel, text: string): void {
    const line = text.includes('\n') ? text.replaceAll('\n', ' ') : text;
    if (level === LOG_ERROR) this.#firstError ??= line.slice(0, FIRST_ERROR_CHARS_MAX);
    if (this.#fd === undefined) {
      if (this.#early.length < EARLY_LINES_MAX) this.#early.push({ level, text: line });
      return;
    }
    if (level > this.#level) return;
    this.#buffered += this.#level >= TIMESTAMP_LEVEL ? `${timestamp(this.#now())}${line}\n` : `${line}\n`;
    if (level !== LOG_DEBUG || this.#buffered.length >= BUFFER_CHARS_MAX) this.flush();
  }

  /** Level 0: straight to stdout. */
  writeMessage(text: string): void {
    this.#writeAll(1, `${text}\n`);
  }

  flush(): void {
    if (this.#fd === undefined || this.#buffered === '') return;
    const text = this.#buffered;
    this.#buffered = '';
    this.#writeAll(this.#fd, text);
  }

  /**
   * Writes all of it or gives up silently: a log that cannot be written (full disk, reader gone) must not fail a dump.
   * A full non-blocking pipe is retried, since losing the middle of a log is worse than waiting for its reader.
   */
  #writeAll(fd: number, text: string): void {
    let bytes: Uint8Array = bytesOf(text);
    for (let retries = 0; bytes.length > 0 && retries < RETRIES_MAX; ) {
      const result = this.#write(fd, bytes);
      if (result > 0) {
        bytes = bytes.subarray(result);
      } else if (result === -EAGAIN || result === -EINTR) {
        retries++;
        Bun.sleepSync(1);
      } else {
        return;
      }
    }
  }
}

class BoundLogger implements Logger {
  readonly module: string;
  readonly #sink: LogSink;
  readonly #where: string;
  readonly #prefix: string;

  constructor(sink: LogSink, module: string) {
    this.#sink = sink;
    this.module = module;
    this.#where = module === '' ? 'criu' : module;
    this.#prefix = module === '' ? '' : `${module.slice(module.lastIndexOf('/') + 1)}: `;
  }

  child(module: string): Logger {
    return new BoundLogger(this.#sink, module);
  }
  isEnabled(level: LogLevel): boolean {
    return this.#sink.isEnabled(level);
  }
  message(text: string): void {
    this.#sink.writeMessage(text);
  }
  error(text: string): void {
    this.#sink.write(LOG_ERROR, `Error (${this.#where}): ${text}`);
  }
  warn(text: string): void {
    this.#sink.write(LOG_WARN, `Warn  (${this.#where}): ${text}`);
  }
  info(text: string): void {
    if (this.#sink.isEnabled(LOG_INFO)) this.#sink.write(LOG_INFO, this.#prefix + text);
  }
  debug(text: string): void {
    if (this.#sink.isEnabled(LOG_DEBUG)) this.#sink.write(LOG_DEBUG, this.#prefix + text);
  }
  flush(): void {
    this.#sink.flush();
  }
}

/** "(SS.UUUUUU) ", always 12 chars: from 100 s on the last digits of the fraction are cut, as in CRIU. */
export function timestamp(sinceStartMs: number): string {
  const microseconds = Math.floor(sinceStartMs * 1000);
  const seconds = Math.floor(microseconds / 1_000_000);
  const text = `(${String(seconds).padStart(2, '0')}.${String(microseconds % 1_000_000).padStart(6, '0')}`;
  return `${text.slice(0, 10)}) `;
}

/** A logger that drops everything; for tests and pure callers. */
export const silentLogger: Logger = {
  module: '',
  child: () => silentLogger,
  isEnabled: () => false,
  message: () => {},
  error: () => {},
  warn: () => {},
  info: () => {},
  debug: () => {},
  flush: () => {},
};
