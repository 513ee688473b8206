/**
 * Reading many entries of one folder: names are looked up from an open folder (openat, readlinkat), which saves the walk
 * through /proc/PID for each of thousands of descriptors.
 */

import { byteString } from '../../base/bytes.ts';
import { O_CLOEXEC, O_DIRECTORY, O_PATH, O_RDONLY } from '../abi/fcntl.ts';
import { SYS } from '../abi/syscall-numbers.ts';
import { syscall } from '../kernel.ts';
import { close, open } from './fs.ts';

const buffer = new Uint8Array(4096);
const NAME_BYTES_MAX = 256;
const nameBuffer = new Uint8Array(NAME_BYTES_MAX);

/** A decimal number as a C string in a buffer that the next call overwrites. */
function numberName(name: number): Uint8Array {
  const text = String(name);
  for (let i = 0; i < text.length; i++) nameBuffer[i] = text.charCodeAt(i);
  nameBuffer[text.length] = 0;
  return nameBuffer;
}

export class Folder {
  /** The folder, opened with O_PATH. */
  readonly fd: number;

  /** Throws SyscallError. */
  constructor(path: string) {
    this.fd = open(path, O_PATH | O_DIRECTORY);
  }

  /** readlinkat(2) of a name that is a number; a byte string, or −errno. */
  tryReadlink(name: number): string | number {
    const length = syscall(SYS.readlinkat, this.fd, numberName(name), buffer, buffer.length);
    return length < 0 ? length : byteString(buffer.subarray(0, length));
  }

  /** The text of a file whose name is a number, or −errno. */
  tryReadText(name: number): string | number {
    const fd = syscall(SYS.openat, this.fd, numberName(name), O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return fd;
    let text = '';
    let got = syscall(SYS.read, fd, buffer, buffer.length);
    // A file of seq_file ends a read before the buffer is full, but only the last one is short of it by more than a line.
    while (got > 0) {
      text += byteString(buffer.subarray(0, got));
      if (got < buffer.length / 2) break;
      got = syscall(SYS.read, fd, buffer, buffer.length);
    }
    close(fd);
    return got < 0 ? got : text;
  }

  [Symbol.dispose](): void {
    close(this.fd);
  }
}
