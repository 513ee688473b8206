/**
 * What the controller does for the TCP connections of a restored tree: the network is locked while they are made, and when
 * all tasks are complete they begin to speak again. Nothing can fail then any more, and that is just as well: what the
 * other sides are told cannot be taken back.
 */

import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import { close } from '../../../linux/syscalls/fs.ts';
import { pidfd_open } from '../../../linux/syscalls/process.ts';
import { unlockIptables } from '../../network-lock/iptables.ts';
import { lockMethodOf, NETWORK_LOCK_IPTABLES, NETWORK_LOCK_SKIP, runIdOf } from '../../network-lock/methods.ts';
import { isLocked, NetworkLock, unlock } from '../../network-lock/network-lock.ts';
import { contextState } from '../context-state.ts';
import type { RestoreContext } from '../file-kind.ts';
import { filesOfType } from '../files-of-type.ts';
import { OwnSteps } from '../own-steps.ts';
import { type Resumed, resumeAll } from './resume-table.ts';
import { finishConnection, hasNothingToSend, isConnection, nameOf } from './tcp-restore.ts';

/** Where a task has a connection open. */
interface Place {
  readonly pid: number;
  readonly fd: number;
}

/** By id of the file; those that are only in flight inside of UNIX sockets have none. */
const placesOf = contextState('places of TCP connections', ({ tree }): ReadonlyMap<number, Place> => {
  const places = new Map<number, Place>();
  for (const { pid, fds } of tree.tasks) {
    for (const { id, fd, type } of fds) {
      const isk = type === FdTypes.INETSK ? tree.files.get(id)?.isk : undefined;
      if (isk !== undefined && isConnection(isk) && !places.has(id)) places.set(id, { pid, fd });
    }
  }
  return places;
});

/** Whether the controller can reach it when the tasks are complete. */
export const isWithinReach = ({ id }: InetSkEntry, context: RestoreContext) => placesOf(context).has(id);

const connectionsOf = ({ tree, options }: RestoreContext): InetSkEntry[] =>
  options.tcpClose === true
    ? []
    : filesOfType(tree.files, FdTypes.INETSK).flatMap(({ isk }) => (isk !== undefined && isConnection(isk) ? isk : []));

/** The lock that this restore has made, because that of the dump is not there any more. */
const ownLock = (context: RestoreContext): { lock?: NetworkLock | undefined } =>
  context.state('network lock', () => ({}));

const methodOf = ({ tree }: RestoreContext) => lockMethodOf(tree.inventory);
const nameOfRun = ({ tree }: RestoreContext) => runIdOf(tree.inventory, tree.root.pid);

/** Sees to it that the network is locked, also after a reboot or on another host. */
export function lockNetwork(context: RestoreContext): void {
  const connections = connectionsOf(context);
  if (connections.length === 0 || methodOf(context) === NETWORK_LOCK_SKIP || isLocked(nameOfRun(context))) return;
  const lock = NetworkLock.tryMake(nameOfRun(context));
  const result = typeof lock === 'number' ? lock : lock.tryAdd(connections);
  if (typeof lock !== 'number') ownLock(context).lock = lock;
  if (result === 0 || result === -ERRNO.EEXIST) return;
  context.warn(`packets of TCP connections are not held back while these are made (nf_tables: ${errnoName(-result)})`);
}

/** A restore that failed leaves the network as it was: locked by the dump, or not. */
export function releaseNetwork(context: RestoreContext): void {
  ownLock(context).lock?.release();
  ownLock(context).lock = undefined;
}

/** Other sides may have reset a connection meanwhile: the program is told when it uses it. */
const LOST = [ERRNO.EPIPE, ERRNO.ECONNRESET, ERRNO.ENOTCONN, ERRNO.ETIMEDOUT, ERRNO.EHOSTUNREACH];

/** Unlocks the network, and lets all connections speak. Throws CriuError. */
export function resumeConnections(context: RestoreContext): void {
  const connections = connectionsOf(context);
  if (connections.length === 0) return;
  if (methodOf(context) === NETWORK_LOCK_IPTABLES) unlockIptables(connections);
  if (ownLock(context).lock !== undefined) releaseNetwork(context);
  else if (methodOf(context) !== NETWORK_LOCK_SKIP) unlock(nameOfRun(context), methodOf(context));
  const pidfds = new Map<number, number>();
  try {
    const steps = new OwnSteps();
    const plain: Resumed[] = [];
    for (const entry of connections) {
      const place = placesOf(context).get(entry.id);
      if (place === undefined) continue;
      const { fd } = place;
      const pidfd = pidfds.get(place.pid) ?? pidfd_open(place.pid);
      pidfds.set(place.pid, pidfd);
      if (hasNothingToSend(entry, context)) {
        plain.push({ pidfd, fd, entry });
        continue;
      }
      const object = nameOf(entry);
      steps.add(object, pidfd, fd, (table) => finishConnection(table, fd, entry, object, context));
    }
    resumeAll(plain, LOST);
    steps.run(LOST);
  } finally {
    for (const pidfd of pidfds.values()) close(pidfd);
  }
}
