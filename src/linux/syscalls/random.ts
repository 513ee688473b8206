/**
 * Random bytes of the kernel. Not those of the runtime: its generator would go on from the same state in each process that
 * starts from an image of it (start/).
 */
import { SYS } from '../abi/syscall-numbers.ts';
import { check, syscall } from '../kernel.ts';

/** Fills up to 256 bytes with random ones (man 2 getrandom). Throws SyscallError. */
export function randomBytes(target: Uint8Array | BigUint64Array): void {
  check('getrandom', syscall(SYS.getrandom, target, target.byteLength, 0));
}
