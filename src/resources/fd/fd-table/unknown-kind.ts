/**
 * Files of a kind that cannot be checkpointed: why not, and what the user can do. A kind that nobody has thought of gets a
 * text made of what the kernel calls it.
 */
import { S_IFCHR, S_IFMT, S_IFSOCK } from '../../../linux/abi/fcntl.ts';
import type { OpenFile, Unsupported } from '../file-kind.ts';
import { refuseSocket } from './unknown-socket.ts';

const VIRTUAL_MACHINE: Unsupported = {
  unsupported: 'the state of a virtual machine is in the kernel',
  remedy: 'save it with the means of its monitor (QEMU: savevm or migrate)',
};

const ANON_INODES: Readonly<Record<string, Unsupported>> = {
  '[userfaultfd]': {
    unsupported: 'another part of the program serves page faults through it (userfaultfd)',
    remedy: 'end what uses it before the dump',
  },
  '[perf_event]': {
    unsupported: 'performance counters cannot be set to a value',
    remedy: 'have the program close them, or start it without profiling',
  },
  '[landlock-ruleset]': {
    unsupported: 'the rules in a Landlock ruleset cannot be read',
    remedy: 'have the program close it once it has restricted itself',
  },
  '[fscontext]': {
    unsupported: 'the program is in the middle of mounting a file system',
    remedy: 'try again when the mount is done',
  },
  'kvm-vm': VIRTUAL_MACHINE,
};

const DEVICES: Readonly<Record<string, Unsupported>> = {
  '/dev/kvm': VIRTUAL_MACHINE,
  '/dev/fuse': {
    unsupported: 'a file system is served through it, and its requests cannot be seen',
    remedy: 'unmount the file system first, or leave its server outside of the tree',
  },
};

/** What speaks against a file that no kind has recognised. */
export function refuseUnknown({ stat, link, localFd }: Pick<OpenFile, 'stat' | 'link' | 'localFd'>): Unsupported {
  const name = link.startsWith('anon_inode:') ? link.slice('anon_inode:'.length) : undefined;
  const known = name === undefined ? DEVICES[link] : ANON_INODES[name];
  if (known !== undefined) return known;
  switch (stat.st_mode & S_IFMT) {
    case S_IFSOCK:
      return refuseSocket(localFd);
    case S_IFCHR:
      return { unsupported: `devices like ${link} are not supported, for their state cannot be seen` };
    default:
      return { unsupported: `files of kind ${name ?? link} are not supported yet` };
  }
}
