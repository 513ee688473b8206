/** Files as sources and sinks of crit. Other than images, they may be pipes and terminals. */
import { CriuError } from '../../base/errors.ts';
import type { ByteSink, ByteSource } from '../../crit/byte-stream.ts';
import { ERRNO, errnoName } from '../../linux/abi/errno.ts';
import { O_CREAT, O_RDONLY, O_TRUNC, O_WRONLY } from '../../linux/abi/fcntl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { syscall } from '../../linux/kernel.ts';
import { close, tryOpen } from '../../linux/syscalls/fs.ts';

/** So much is held back before the first byte is written: a small image that is damaged leaves no half output. */
const HELD_BACK_BYTES = 16 << 20;

/** A file, or stdin when there is no path. */
export class FileSource implements ByteSource, Disposable {
  /** For error texts. */
  readonly name: string;
  private readonly fd: number;

  constructor(path: string | undefined) {
    this.name = path ?? 'stdin';
    this.fd = path === undefined ? 0 : opened(path, tryOpen(path, O_RDONLY), 'cannot open it');
  }

  read(max: number): Uint8Array {
    const bytes = new Uint8Array(max);
    for (;;) {
      const count = syscall(SYS.read, this.fd, bytes, max);
      if (count >= 0) return bytes.subarray(0, count);
      if (count !== -ERRNO.EINTR) throw failed(this.name, 'cannot read it', count);
    }
  }

  [Symbol.dispose](): void {
    if (this.fd !== 0) close(this.fd);
  }
}

/** A file by its path, or a descriptor that is open. `finish` must be called; what fails before leaves a file as it was. */
export class FileSink implements ByteSink {
  private readonly path: string;
  private held: Uint8Array[] = [];
  private heldBytes = 0;
  private fd: number | undefined;
  private readonly isOwn: boolean;

  constructor(target: string | number) {
    this.path = typeof target === 'number' ? `descriptor ${target}` : target;
    this.fd = typeof target === 'number' ? target : undefined;
    this.isOwn = this.fd === undefined;
  }

  write(bytes: Uint8Array): void {
    this.held.push(bytes);
    this.heldBytes += bytes.length;
    if (this.heldBytes > HELD_BACK_BYTES) this.flush();
  }

  text(byteText: string): void {
    this.write(Buffer.from(byteText, 'latin1'));
  }

  finish(): void {
    this.flush();
    if (this.isOwn && this.fd !== undefined) close(this.fd);
  }

  private flush(): void {
    const { path } = this;
    this.fd ??= opened(path, tryOpen(path, O_WRONLY | O_CREAT | O_TRUNC, 0o666), 'cannot create it');
    for (const bytes of this.held) writeAll(this.fd, bytes, path);
    this.held = [];
    this.heldBytes = 0;
  }
}

function writeAll(fd: number, bytes: Uint8Array, name: string): void {
  let done = 0;
  while (done < bytes.length) {
    const count = syscall(SYS.write, fd, bytes.subarray(done), bytes.length - done);
    if (count >= 0) done += count;
    else if (count !== -ERRNO.EINTR) throw failed(name, 'cannot write it', count);
  }
}

function opened(path: string, result: number, action: string): number {
  if (result < 0) throw failed(path, action, result);
  return result;
}

function failed(object: string, action: string, result: number): CriuError {
  return new CriuError({ object, action, why: errnoName(-result) });
}

/** What is read from files may hold control characters, which a terminal would obey. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced.
  return text.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

export const STDOUT = 1;
const STDERR = 2;

/** Writes a text, a byte string, and a newline. */
export function print(text: string): void {
  put(text, STDOUT);
}

/** Writes lines, byte strings; a newline in one of them, which may come from an image, does not begin another. */
export function printLines(lines: readonly string[]): void {
  if (lines.length > 0) print(lines.map((line) => line.replaceAll('\n', '\\x0a')).join('\n'));
}

/** The same as print, to stderr. */
export function complain(text: string): void {
  put(text, STDERR);
}

function put(text: string, fd: number): void {
  const sink = new FileSink(fd);
  sink.text(`${printable(text)}\n`);
  sink.finish();
}
