/**
 * One line of progress on a terminal, for work of more than a second: "dump: 512 MiB of 2.0 GiB (25 %)".
 *
 * Nothing is written when stderr is no terminal, with -v0, or when the log itself goes to the terminal at -v3 and up.
 */

import { SYS } from '../linux/abi/syscall-numbers.ts';
import { TCGETS } from '../linux/abi/tty.ts';
import { sinceStartMs } from '../linux/clock.ts';
import { syscall } from '../linux/kernel.ts';
import { ioctl } from '../linux/syscalls/fs.ts';
import type { CommandContext } from './command-context.ts';

const STDERR = 2;
/** Quick work should not flicker. */
const SILENT_MS = 1000;
const INTERVAL_MS = 100;
const CLEAR_LINE = '\r\x1b[K';

export interface ProgressOptions {
  readonly label: string;
  readonly totalBytes: number;
  readonly logLevel: number;
  /** Whether the log goes to stderr. */
  readonly isLogOnStderr: boolean;
  /** For tests: what stands in for the terminal and the clock. */
  readonly write?: ((text: string) => void) | undefined;
  readonly now?: () => number;
}

export class Progress {
  readonly #options: ProgressOptions;
  readonly #write: ((text: string) => void) | undefined;
  readonly #now: () => number;
  readonly #startMs: number;
  #shownMs: number | undefined = undefined;

  constructor(options: ProgressOptions) {
    this.#options = options;
    this.#now = options.now ?? sinceStartMs;
    this.#startMs = this.#now();
    this.#write = isWanted(options) ? (options.write ?? terminal()) : undefined;
  }

  /** Call as often as you like. */
  update(doneBytes: number): void {
    if (this.#write === undefined) return;
    const nowMs = this.#now();
    if (nowMs - this.#startMs < SILENT_MS) return;
    if (this.#shownMs !== undefined && nowMs - this.#shownMs < INTERVAL_MS) return;
    this.#shownMs = nowMs;
    this.#write(CLEAR_LINE + formatProgress(this.#options.label, doneBytes, this.#options.totalBytes));
  }

  /** Takes the line away. */
  finish(): void {
    if (this.#shownMs !== undefined) this.#write?.(CLEAR_LINE);
    this.#shownMs = undefined;
  }

  [Symbol.dispose](): void {
    this.finish();
  }
}

/** Pure. The percentage never shows 100 before the end. */
export function formatProgress(label: string, doneBytes: number, totalBytes: number): string {
  if (totalBytes <= 0) return `${label}: ${formatBytes(doneBytes)}`;
  const percent = Math.min(100, Math.floor((doneBytes * 100) / totalBytes));
  return `${label}: ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)} (${percent} %)`;
}

/** "0 B", "17 KiB", "2.0 GiB". */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit > 0 && value < 10 ? 1 : 0;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

function isWanted({ logLevel, isLogOnStderr }: ProgressOptions): boolean {
  return logLevel > 0 && !(isLogOnStderr && logLevel >= 3);
}

/** man 2 TCGETS: only a terminal answers it. */
function terminal(): ((text: string) => void) | undefined {
  if (ioctl(STDERR, TCGETS, new Uint8Array(64)) < 0) return undefined;
  return (text) => {
    const bytes = Buffer.from(text, 'latin1');
    syscall(SYS.write, STDERR, bytes, bytes.length);
  };
}

/** The progress of a command that moves memory. */
export function memoryProgress({ options, client }: CommandContext, label: string, totalBytes: number): Progress {
  // The terminal of a request belongs to its client.
  const logLevel = client === undefined ? options.logLevel : 0;
  return new Progress({ label, totalBytes, logLevel, isLogOnStderr: options.logFile === undefined });
}
