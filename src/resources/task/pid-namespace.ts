/** Whether a process is in the first pid namespace, where numbers of processes are those that the kernel itself uses. */
import { PID_NS_INIT_INO } from '../../linux/abi/nsfs.ts';
import { tryReadlink } from '../../linux/syscalls/fs.ts';
import { parseNamespaceLink } from '../../proc/small.ts';

export function isInFirstPidNamespace(pid: number | 'self' = 'self'): boolean {
  const link = tryReadlink(`/proc/${pid}/ns/pid`);
  return typeof link === 'string' && parseNamespaceLink(link).inode === BigInt(PID_NS_INIT_INO);
}
