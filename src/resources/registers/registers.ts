/** General registers: the kernel's struct user_regs_struct and the image's user_x86_regs_entry. */
import type { UserX86RegsEntry } from '../../image/gen/core-x86.ts';
import { ERESTART_RESTARTBLOCK, ERRNO } from '../../linux/abi/errno.ts';
import { newRegisters, type Registers, register, restarted, setRegister } from '../../tracee/registers.ts';

/** Image names of the registers whose names differ from the kernel's. */
const RENAMED = {
  rbp: 'bp', rbx: 'bx', rax: 'ax', rcx: 'cx', rdx: 'dx', rsi: 'si', rdi: 'di', orig_rax: 'orig_ax', rip: 'ip',
  eflags: 'flags', rsp: 'sp',
} as const; // biome-ignore format: a table
const SAME = [
  'r15',
  'r14',
  'r13',
  'r12',
  'r11',
  'r10',
  'r9',
  'r8',
  'cs',
  'ss',
  'fs_base',
  'gs_base',
  'ds',
  'es',
  'fs',
  'gs',
] as const;
const RENAMED_PAIRS = Object.entries(RENAMED) as [keyof typeof RENAMED, (typeof RENAMED)[keyof typeof RENAMED]][];

const MODE_NATIVE = 1;

/** The kernel's register set from the image's. */
export function registersFromImage(entry: UserX86RegsEntry): Registers {
  const registers = newRegisters();
  for (const name of SAME) setRegister(registers, name, entry[name]);
  for (const [kernel, image] of RENAMED_PAIRS) setRegister(registers, kernel, entry[image]);
  // The dump has dealt with an interrupted system call already; the kernel must not restart it a second time.
  setRegister(registers, 'orig_rax', -1n);
  return registers;
}

/**
 * The image's registers of a stopped thread. An interrupted system call is set up to be made again. Where only the kernel
 * knows how it goes on (−ERESTART_RESTARTBLOCK, as for a sleep), it is made again if `isMadeAgain`, else it returns
 * −EINTR, as after a stop signal (man 7 signal, "Interruption of system calls and library functions by stop signals").
 */
export function describeRegisters(registers: Registers, isMadeAgain: boolean): UserX86RegsEntry {
  let shown = restarted(registers);
  if (hasRestartBlock(registers)) {
    shown = registers.slice();
    setRegister(shown, 'rax', isMadeAgain ? register(registers, 'orig_rax') : -ERRNO.EINTR);
    if (isMadeAgain) setRegister(shown, 'rip', register(registers, 'rip') - 2n);
  }
  const entry = { mode: MODE_NATIVE } as UserX86RegsEntry;
  for (const name of SAME) entry[name] = register(shown, name);
  for (const [kernel, image] of RENAMED_PAIRS) entry[image] = register(shown, kernel);
  return entry;
}

/** True when only the kernel knows how an interrupted system call goes on. */
export function hasRestartBlock(registers: Registers): boolean {
  const isSystemCall = BigInt.asIntN(64, register(registers, 'orig_rax')) >= 0n;
  return isSystemCall && -BigInt.asIntN(64, register(registers, 'rax')) === BigInt(ERESTART_RESTARTBLOCK);
}
