/**
 * eventfd (man 2 eventfd): a counter.
 *
 * Semaphores: Linux shows since 6.5 whether it is one. The image has no field for it, but bit 0 of the flags means
 * nothing else (an eventfd is always O_RDWR) and CRIU ignores it, so it is kept there; CRIU restores a plain counter.
 */

import type { EventfdFileEntry } from '../../../image/gen/eventfd.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import { EFD_SEMAPHORE } from '../../../linux/abi/event.ts';
import { O_NONBLOCK } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { FileKind, RestoreHome } from '../file-kind.ts';

/** The first value is an unsigned int for eventfd2, a bigger one is written. */
const INITIAL_MAX = 0xffff_ffffn;

export const eventfd: FileKind = {
  type: FdTypes.EVENTFD,

  recognise: (file) => file.link === 'anon_inode:[eventfd]',

  dump(file, id) {
    const info = file.fdinfo.eventfd;
    if (info === undefined) return { unsupported: 'the kernel does not show its counter' };
    const flags = file.flags | (info.isSemaphore === true ? EFD_SEMAPHORE : 0);
    return { type: FdTypes.EVENTFD, id, efd: { id, flags, fown: file.fown, counter: info.count } };
  },

  create([entry], home) {
    if (entry?.efd !== undefined) createEventfd(entry.efd, home);
  },

  fown: (entry) => entry.efd?.fown,
};

function createEventfd({ id, flags, counter }: EventfdFileEntry, home: RestoreHome): void {
  const { table } = home;
  const cloexec = home.cloexec(id);
  const isSmall = counter <= INITIAL_MAX;
  const made = cloexec | (flags & (O_NONBLOCK | EFD_SEMAPHORE));
  const fd = table.open('make an eventfd', SYS.eventfd2, isSmall ? Number(counter) : 0, made);
  if (!isSmall) {
    const bytes = new Uint8Array(BigUint64Array.of(counter).buffer);
    table.doExpecting('set the counter of an eventfd', bytes.length, SYS.write, fd, { bytes }, bytes.length);
  }
  home.made(id, fd, cloexec !== 0);
}
