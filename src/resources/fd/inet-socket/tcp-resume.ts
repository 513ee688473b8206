/**
 * What the controller does for the TCP connections of a restored tree: the network is locked while they are made, and when
 * all tasks are complete they are fetched, and begin to speak again. Nothing can fail then any more, and that is just as
 * well: what the other sides are told cannot be taken back.
 */

import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import { close } from '../../../linux/syscalls/fs.ts';
import { unlockIptables } from '../../network-lock/iptables.ts';
import { lockMethodOf, NETWORK_LOCK_IPTABLES, NETWORK_LOCK_SKIP, runIdOf } from '../../network-lock/methods.ts';
import { isLocked, NetworkLock, unlock } from '../../network-lock/network-lock.ts';
import { contextState } from '../context-state.ts';
import type { RestoreContext } from '../file-kind.ts';
import { filesOfType } from '../files-of-type.ts';
import { OwnSteps } from '../own-steps.ts';
import { fetchConnections, type Place } from './fetch-connections.ts';
import { type Held, resumeAll } from './resume-table.ts';
import { finishConnection, hasNothingToSend, isConnection, nameOf } from './tcp-restore.ts';

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

/** Those that the controller has fetched and not closed yet. */
const heldOf = (context: RestoreContext): Held[] => context.state('held TCP connections', () => []);

/** Fetches all connections, while a failure has not been told to anybody. Throws CriuError, SyscallError. */
export function holdConnections(context: RestoreContext): void {
  const wanted = connectionsOf(context).flatMap((entry) => {
    const place = placesOf(context).get(entry.id);
    return place === undefined ? [] : { ...place, entry };
  });
  fetchConnections(wanted, heldOf(context));
}

/** A restore that failed leaves the network as it was: locked by the dump, or not. */
export function releaseNetwork(context: RestoreContext): void {
  // In repair mode they end without a word.
  for (const { fd } of heldOf(context).splice(0)) close(fd);
  releaseLock(context);
}

function releaseLock(context: RestoreContext): void {
  ownLock(context).lock?.release();
  ownLock(context).lock = undefined;
}

/** Other sides may have reset a connection meanwhile: the program is told when it uses it. */
const LOST = [ERRNO.EPIPE, ERRNO.ECONNRESET, ERRNO.ENOTCONN, ERRNO.ETIMEDOUT, ERRNO.EHOSTUNREACH];

/** Unlocks the network, and lets all connections speak that are held. Throws CriuError. */
export function resumeConnections(context: RestoreContext): void {
  const connections = connectionsOf(context);
  if (connections.length === 0) return;
  if (methodOf(context) === NETWORK_LOCK_IPTABLES) unlockIptables(connections);
  if (ownLock(context).lock !== undefined) releaseLock(context);
  else if (methodOf(context) !== NETWORK_LOCK_SKIP) unlock(nameOfRun(context), methodOf(context));
  const steps = new OwnSteps();
  const plain: Held[] = [];
  for (const { fd, entry } of heldOf(context).splice(0)) {
    if (hasNothingToSend(entry, context)) {
      plain.push({ fd, entry });
      continue;
    }
    const object = nameOf(entry);
    steps.add(object, fd, (table) => finishConnection(table, fd, entry, object, context));
  }
  resumeAll(plain, LOST);
  steps.run(LOST);
}
