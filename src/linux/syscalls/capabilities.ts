/** Capabilities of the calling thread (man 2 capget, man 7 capabilities). */
import { _LINUX_CAPABILITY_VERSION_3 } from '../abi/capability.ts';
import { SYS } from '../abi/syscall-numbers.ts';
import { check, syscall } from '../kernel.ts';

/** Sets as bit masks. */
export interface Capabilities {
  readonly effective: bigint;
  readonly permitted: bigint;
  readonly inheritable: bigint;
}

/** A set with these capabilities. */
export const capabilityMask = (...capabilities: readonly number[]): bigint =>
  capabilities.reduce((mask, capability) => mask | (1n << BigInt(capability)), 0n);

/** struct __user_cap_header_struct for the thread itself. */
export const capabilityHeader = (): Uint32Array => Uint32Array.of(_LINUX_CAPABILITY_VERSION_3, 0);

/** Two struct __user_cap_data_struct: the lower halves of the three sets, then the upper ones. */
export function capabilityData({ effective, permitted, inheritable }: Capabilities): Uint32Array {
  const sets = [effective, permitted, inheritable];
  return Uint32Array.from([0n, 32n].flatMap((shift) => sets.map((set) => Number((set >> shift) & 0xffff_ffffn))));
}

/** Throws SyscallError. */
export function getCapabilities(): Capabilities {
  const data = new Uint32Array(6);
  check('capget', syscall(SYS.capget, capabilityHeader(), data));
  const set = (index: number) => BigInt(data[index] ?? 0) | (BigInt(data[index + 3] ?? 0) << 32n);
  return { effective: set(0), permitted: set(1), inheritable: set(2) };
}

/** Throws SyscallError. */
export function setCapabilities(capabilities: Capabilities): void {
  check('capset', syscall(SYS.capset, capabilityHeader(), capabilityData(capabilities)));
}
