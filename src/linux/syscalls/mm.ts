/** Memory: mmap of ours, and the memory of other tasks (man 2 mmap, process_vm_readv). */
import { SYS } from '../abi/syscall-numbers.ts';
import { check, memoryAt, syscall } from '../kernel.ts';

/** mmap(2) in our own process; returns the address. Throws SyscallError. */
export function mmap(address: number, bytes: number, prot: number, flags: number, fd: number, offset: number): number {
  return check('mmap', syscall(SYS.mmap, address, bytes, prot, flags, fd, offset), `${bytes} bytes`);
}

/** munmap(2) in our own process. */
export function munmap(address: number, bytes: number): void {
  check('munmap', syscall(SYS.munmap, address, bytes));
}

const local = new BigUint64Array(2);
const remote = new BigUint64Array(2);

/** process_vm_readv(2) of one range into one range of ours, both by address; returns bytes moved, or −errno. */
export function tryReadRemote(pid: number, from: number, to: number, bytes: number): number {
  local[0] = BigInt(to);
  local[1] = BigInt(bytes);
  remote[0] = BigInt(from);
  remote[1] = BigInt(bytes);
  return syscall(SYS.process_vm_readv, pid, local, 1, remote, 1, 0);
}

/** process_vm_writev(2) of one range of ours to one range of the task, both by address; bytes moved, or −errno. */
export function tryWriteRemote(pid: number, to: number, from: number, bytes: number): number {
  local[0] = BigInt(from);
  local[1] = BigInt(bytes);
  remote[0] = BigInt(to);
  remote[1] = BigInt(bytes);
  return syscall(SYS.process_vm_writev, pid, local, 1, remote, 1, 0);
}

export { memoryAt };
