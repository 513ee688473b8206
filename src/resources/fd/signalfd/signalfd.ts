/**
 * signalfd (man 2 signalfd): a set of signals. Pending signals belong to the task and are restored with it.
 */
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import { O_NONBLOCK } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { FileKind } from '../file-kind.ts';

const NEW = -1;
const SIGSET_BYTES = 8;

export const signalfd: FileKind = {
  type: FdTypes.SIGNALFD,

  recognise: (file) => file.link === 'anon_inode:[signalfd]',

  dump(file, id) {
    const { sigmask } = file.fdinfo;
    if (sigmask === undefined) return { unsupported: 'the kernel does not show its signals' };
    return { type: FdTypes.SIGNALFD, id, sgfd: { id, flags: file.flags, fown: file.fown, sigmask } };
  },

  create([entry], home) {
    if (entry?.sgfd === undefined) return;
    const { id, flags, sigmask } = entry.sgfd;
    const cloexec = home.cloexec(id);
    const mask = { bytes: new Uint8Array(BigUint64Array.of(sigmask).buffer) };
    const made = cloexec | (flags & O_NONBLOCK);
    const fd = home.table.open('make a signalfd', SYS.signalfd4, NEW, mask, SIGSET_BYTES, made);
    home.made(id, fd, cloexec !== 0);
  },

  fown: (entry) => entry.sgfd?.fown,
};
