/** Whether the datagrams that a restore has sent to UDP sockets have arrived: packet filters of the host may drop them. */
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import { IPPROTO_UDP } from '../../../linux/abi/inet.ts';
import { SOCK_DGRAM } from '../../../linux/abi/socket.ts';
import { close } from '../../../linux/syscalls/fs.ts';
import { pidfd_open, tryPidfdGetfd } from '../../../linux/syscalls/process.ts';
import type { RestoreContext } from '../file-kind.ts';
import { filesOfType } from '../files-of-type.ts';
import { nameOf } from './tcp-restore.ts';
import { countDatagrams, packetsFor } from './udp-queue.ts';

export const isUdp = ({ type, proto }: Pick<InetSkEntry, 'type' | 'proto'>): boolean =>
  type === SOCK_DGRAM && proto === IPPROTO_UDP;

/** Warns of those that have not. To be called when all tasks are complete. Throws SyscallError. */
export function checkArrived(context: RestoreContext): void {
  for (const { isk } of filesOfType(context.tree.files, FdTypes.INETSK)) {
    if (isk === undefined || !isUdp(isk)) continue;
    const sent = packetsFor(isk, context).length;
    const arrived = sent === 0 ? 0 : countIn(isk.id, context);
    if (arrived >= sent) continue;
    context.warn(
      `${nameOf(isk)}: ${sent - arrived} of ${sent} datagrams that nobody had received yet are lost: they were sent again, ` +
        'and something on this host drops them (packet filters, a loopback device that is down)',
    );
  }
}

/** Of a socket in flight nobody has a descriptor, so that it cannot be looked at. */
function countIn(id: number, { tree }: RestoreContext): number {
  for (const { pid, fds } of tree.tasks) {
    const fd = fds.find((one) => one.id === id)?.fd;
    if (fd === undefined) continue;
    const pidfd = pidfd_open(pid);
    const own = tryPidfdGetfd(pidfd, fd);
    close(pidfd);
    if (own < 0) continue;
    try {
      return countDatagrams(own);
    } finally {
      close(own);
    }
  }
  return Number.POSITIVE_INFINITY;
}
