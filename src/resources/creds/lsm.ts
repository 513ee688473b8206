/**
 * The label of a thread in a security module: SELinux or AppArmor, /proc/PID/attr/current, man 5 proc_pid_attr.
 * Without such a module the file is missing or says EINVAL, and there is nothing to keep.
 *
 * AppArmor says "PROFILE (mode)"; "unconfined" is the absence of a profile and not kept. SELinux has a second label, for
 * sockets that the thread makes.
 */

import type { Program } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import { perRun } from '../../base/per-run.ts';
import type { CredsEntry } from '../../image/gen/creds.ts';
import { AT_FDCWD, O_WRONLY } from '../../linux/abi/fcntl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { tryReadFile, tryStat } from '../../linux/syscalls/fs.ts';

export type LsmLabels = Pick<CredsEntry, 'lsm_profile' | 'lsm_sockcreate'>;

/** The module that labels tasks, as inventory_entry.lsmtype has it. */
export type LsmModule = 'none' | 'selinux' | 'apparmor';

/** What a new task has: the module of this kernel, and criu's own labels, which tasks inherit. */
export interface LsmNow {
  readonly module: LsmModule;
  readonly labels: LsmLabels;
}

/** Finds the security module of this kernel by the file systems that they mount. */
export function readLsmModule(): LsmModule {
  if (typeof tryStat('/sys/kernel/security/apparmor') !== 'number') return 'apparmor';
  return typeof tryStat('/sys/fs/selinux') !== 'number' ? 'selinux' : 'none';
}

const ofKernel = perRun(readLsmModule);

/** Reads the labels of a thread. */
export function readLsmLabels(pid: number, tid: number): LsmLabels {
  if (ofKernel() === 'none') return {};
  const profile = label(tryReadFile(`/proc/${pid}/task/${tid}/attr/current`));
  if (profile === undefined) return {};
  const sockcreate = label(tryReadFile(`/proc/${pid}/task/${tid}/attr/sockcreate`));
  return { lsm_profile: profile, ...(sockcreate === undefined ? {} : { lsm_sockcreate: sockcreate }) };
}

/** The label in the text of an attr file; undefined when there is none. */
export function label(text: string | number): string | undefined {
  if (typeof text === 'number') return undefined;
  const name = text.replace(/[\0\n]+$/, '').replace(/ \((enforce|complain|kill|prompt|mixed|user|unconfined)\)$/, '');
  return name === '' || name === 'unconfined' ? undefined : name;
}

const CURRENT = '/proc/thread-self/attr/current';

/**
 * SELinux lets a process change its label while it has one thread only, so this is done by the leader before the threads
 * are made. The program opens /proc.
 */
export function planSelinuxLabel(program: Program, labels: LsmLabels, now: LsmNow | undefined): void {
  const { lsm_profile: profile } = labels;
  if (profile === undefined || profile === now?.labels.lsm_profile) return;
  if (now === undefined || now.module === 'none') throw noModule(profile);
  if (now.module === 'selinux') writeLabel(program, CURRENT, profile);
}

/**
 * What is set by each thread: AppArmor's profile, SELinux's label for sockets. Before no_new_privs, under which a thread
 * may not change to any other profile.
 */
export function planThreadLabels(program: Program, labels: LsmLabels, now: LsmNow | undefined): void {
  const { lsm_profile: profile, lsm_sockcreate: sockcreate } = labels;
  if (profile !== undefined && profile !== now?.labels.lsm_profile) {
    if (now === undefined || now.module === 'none') throw noModule(profile);
    if (now.module === 'apparmor') writeLabel(program, CURRENT, `changeprofile ${profile}`);
  }
  if (now?.module === 'selinux' && sockcreate !== undefined && sockcreate !== now.labels.lsm_sockcreate) {
    writeLabel(program, '/proc/thread-self/attr/sockcreate', sockcreate);
  }
}

function writeLabel(program: Program, path: string, text: string): void {
  const fd = program.must(`open ${path}`, SYS.openat, AT_FDCWD, program.string(path), O_WRONLY);
  program.must(`set the security label "${text}"`, SYS.write, fd, program.string(text), text.length);
  program.must(`close ${path}`, SYS.close, fd);
}

function noModule(profile: string): CriuError {
  return new CriuError({
    object: `security label "${profile}"`,
    action: 'cannot be restored',
    why: 'this kernel has neither SELinux nor AppArmor',
    remedy: 'restore on a machine like the one of the dump',
  });
}
