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
  return imageRegisters(shown);
}

/** A literal rather than loops over the tables above: every thread has one. */
function imageRegisters(registers: Registers): UserX86RegsEntry {
  const of = (name: Parameters<typeof register>[1]) => register(registers, name);
  return {
    r15: of('r15'), r14: of('r14'), r13: of('r13'), r12: of('r12'), bp: of('rbp'), bx: of('rbx'), r11: of('r11'),
    r10: of('r10'), r9: of('r9'), r8: of('r8'), ax: of('rax'), cx: of('rcx'), dx: of('rdx'), si: of('rsi'),
    di: of('rdi'), orig_ax: of('orig_rax'), ip: of('rip'), cs: of('cs'), flags: of('eflags'), sp: of('rsp'),
    ss: of('ss'), fs_base: of('fs_base'), gs_base: of('gs_base'), ds: of('ds'), es: of('es'), fs: of('fs'),
    gs: of('gs'), mode: MODE_NATIVE,
  }; // biome-ignore format: a table
}

/** True when only the kernel knows how an interrupted system call goes on. */
export function hasRestartBlock(registers: Registers): boolean {
  const isSystemCall = BigInt.asIntN(64, register(registers, 'orig_rax')) >= 0n;
  return isSystemCall && -BigInt.asIntN(64, register(registers, 'rax')) === BigInt(ERESTART_RESTARTBLOCK);
}
