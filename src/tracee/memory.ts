/** The memory of a stopped task, through process_vm_readv/writev, and through /proc/PID/mem where protections forbid. */
import { O_RDWR } from '../linux/abi/fcntl.ts';
import { addressOf, check } from '../linux/kernel.ts';
import { close, open, pread, tryPwrite } from '../linux/syscalls/fs.ts';
import { tryReadRemote, tryWriteRemote } from '../linux/syscalls/mm.ts';

/** Copies `bytes` bytes from `address` of the task. Throws SyscallError when not all could be read. */
export function readMemory(pid: number, address: number, bytes: number): Uint8Array {
  const buffer = new Uint8Array(bytes);
  if (bytes === 0) return buffer;
  const got = check('process_vm_readv', tryReadRemote(pid, address, addressOf(buffer), bytes), where(pid, address));
  if (got !== bytes) check('process_vm_readv', -14, where(pid, address + got));
  return buffer;
}

/** The same; undefined when not all could be read. */
export function tryReadMemory(pid: number, address: number, bytes: number): Uint8Array | undefined {
  const buffer = new Uint8Array(bytes);
  return tryReadRemote(pid, address, addressOf(buffer), bytes) === bytes ? buffer : undefined;
}

/** Writes to memory that the task itself may write. */
export function writeMemory(pid: number, address: number, bytes: Uint8Array): void {
  if (bytes.length === 0) return;
  const result = tryWriteRemote(pid, address, addressOf(bytes), bytes.length);
  const put = check('process_vm_writev', result, where(pid, address));
  if (put !== bytes.length) check('process_vm_writev', -14, where(pid, address + put));
}

const where = (pid: number, address: number) => `task ${pid}, 0x${address.toString(16)}`;

/** /proc/PID/mem: reads and writes whatever the protection of a mapping is (FOLL_FORCE, mm/gup.c; a tracer may). */
export class ForcedMemory {
  readonly #fd: number;
  readonly #pid: number;

  constructor(pid: number) {
    this.#pid = pid;
    this.#fd = open(`/proc/${pid}/mem`, O_RDWR);
  }

  read(address: number, bytes: Uint8Array): void {
    const got = pread(this.#fd, bytes, address);
    if (got !== bytes.length) check('pread64', -5, where(this.#pid, address + got));
  }

  write(address: number, bytes: Uint8Array): void {
    const put = check('pwrite64', tryPwrite(this.#fd, bytes, address), where(this.#pid, address));
    if (put !== bytes.length) check('pwrite64', -5, where(this.#pid, address + put));
  }

  [Symbol.dispose](): void {
    close(this.#fd);
  }
}
