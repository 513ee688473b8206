/**
 * The label of a task in a security module (SELinux, AppArmor, Smack): /proc/PID/attr/current, man 5 proc_pid_attr.
 * Without such a module the file is missing or says EINVAL, and there is nothing to keep.
 *
 * AppArmor says "PROFILE (mode)"; "unconfined" is the absence of a profile and not kept.
 */
import type { CredsEntry } from '../../image/gen/creds.ts';
import { tryReadFile } from '../../linux/syscalls/fs.ts';

export type LsmLabels = Pick<CredsEntry, 'lsm_profile' | 'lsm_sockcreate'>;

/** Reads the labels of a thread. */
export function readLsmLabels(pid: number, tid: number): LsmLabels {
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
