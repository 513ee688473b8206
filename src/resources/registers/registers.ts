/** General registers: the kernel's struct user_regs_struct and the image's user_x86_regs_entry. */
import { ABI_32, ABI_64, type Abi } from '../../agent/abi.ts';
import { type UserX86RegsEntry, UserX86RegsMode } from '../../image/gen/core-x86.ts';
import { ERESTARTSYS, ERRNO } from '../../linux/abi/errno.ts';
import { USER_REGS } from '../../linux/abi/ptrace.ts';
import { abiOf, isRestartBlockCall, newRegisters, type Registers, restart } from '../../tracee/registers.ts';

/** The image's names of the registers, in the kernel's order. */
export const NAMES = [
  'r15', 'r14', 'r13', 'r12', 'bp', 'bx', 'r11', 'r10', 'r9', 'r8', 'ax', 'cx', 'dx', 'si', 'di', 'orig_ax', 'ip', 'cs',
  'flags', 'sp', 'ss', 'fs_base', 'gs_base', 'ds', 'es', 'fs', 'gs',
] as const; // biome-ignore format: a table

/** Whether the thread of an image executes 64-bit or 32-bit code. */
export const abiOfImage = ({ mode }: Pick<UserX86RegsEntry, 'mode'>): Abi =>
  mode === UserX86RegsMode.COMPAT ? ABI_32 : ABI_64;

/** The kernel's register set from the image's. */
export function registersFromImage(entry: UserX86RegsEntry): Registers {
  const registers = newRegisters();
  putRegisters(registers, 0, entry);
  return registers;
}

/** The same into other words, from `at` on. */
export function putRegisters(words: BigUint64Array, at: number, entry: UserX86RegsEntry): void {
  for (let i = 0; i < NAMES.length; i++) words[at + i] = entry[NAMES[i] as (typeof NAMES)[number]];
  // The dump has dealt with an interrupted system call already; the kernel must not restart it a second time.
  words[at + USER_REGS.orig_rax] = NO_CALL;
}

/** −1 in orig_rax. */
const NO_CALL = 0xffff_ffff_ffff_ffffn;

/**
 * Makes the registers of a stopped thread, in words of 32 bits, what the image has. An interrupted system call is set up to
 * be made again. Where only the kernel knows how it goes on (−ERESTART_RESTARTBLOCK, as for a sleep), it is made again if
 * `isMadeAgain`, else it returns −EINTR, as after a stop signal (man 7 signal, "Interruption of system calls and library
 * functions by stop signals").
 */
export function showRegisters(words: Uint32Array, isMadeAgain: boolean): void {
  if (!isMadeAgain && isRestartBlockCall(words)) {
    words[USER_REGS.rax * 2] = -ERRNO.EINTR;
    return;
  }
  const rax = USER_REGS.rax * 2;
  // It is not to be looked for in the restart block of another thread.
  if (isRestartBlockCall(words)) words[rax] = -ERESTARTSYS;
  restart(words);
}

/** The same as an image entry. */
export function describeRegisters(registers: Registers, isMadeAgain: boolean): UserX86RegsEntry {
  const shown = registers.slice();
  showRegisters(new Uint32Array(shown.buffer), isMadeAgain);
  const mode = abiOf(registers) === ABI_32 ? UserX86RegsMode.COMPAT : UserX86RegsMode.NATIVE;
  const entry = { mode } as UserX86RegsEntry;
  for (let i = 0; i < NAMES.length; i++) entry[NAMES[i] as (typeof NAMES)[number]] = shown[i] ?? 0n;
  return entry;
}

/** True when only the kernel knows how an interrupted system call goes on. */
export function hasRestartBlock(registers: Registers): boolean {
  return isRestartBlockCall(new Uint32Array(registers.buffer, registers.byteOffset));
}
