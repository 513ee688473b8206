/** What speaks against restoring a UNIX socket, before any process exists. */
import type { CriuErrorFields } from '../../../base/errors.ts';
import type { UnixSkEntry } from '../../../image/gen/sk-unix.ts';
import { S_IFMT, S_IFSOCK } from '../../../linux/abi/fcntl.ts';
import { SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM } from '../../../linux/abi/socket.ts';
import type { RestoreContext } from '../file-kind.ts';
import { checkSocketOptions } from '../socket-options/socket-options.ts';
import { isConnection, unixLinks } from './links.ts';
import { fullPath, isPath, movedPath, showName, UNIX_PATH_MAX } from './name.ts';
import { queuedMessages, SCM_RIGHTS } from './queue.ts';
import { TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN, USK_CALLBACK, USK_EXTERN } from './states.ts';

/** The key of a socket for --inherit-fd, which is also what /proc shows. */
export const socketKey = ({ ino }: UnixSkEntry): string => `socket:[${ino}]`;

export function checkSocket(entry: UnixSkEntry, context: RestoreContext): CriuErrorFields[] {
  if ((entry.uflags & USK_EXTERN) !== 0 || isInherited(entry, context)) return [];
  const problems: CriuErrorFields[] = [];
  const problem: Report = (why, remedy) => {
    const object = objectOf(entry);
    problems.push({ object, action: 'cannot be restored', why, ...(remedy === undefined ? {} : { remedy }) });
  };
  checkNumbers(entry, problem);
  checkPeer(entry, context, problem);
  checkQueue(entry, context, problem);
  checkBacklog(entry, context, problem);
  if (isPath(entry.name) && entry.deleted !== true && !isConnection(entry)) checkPath(entry, context, problem);
  const unfit = checkSocketOptions(entry.opts, () => objectOf(entry), context.system);
  return unfit.length === 0 ? problems : [...problems, ...unfit];
}

const objectOf = (entry: UnixSkEntry) => `${socketKey(entry)} (${showName(entry.name)})`;

/** Whether the user gives it with --inherit-fd. */
const isInherited = (entry: UnixSkEntry, { options, inherited }: RestoreContext): boolean =>
  options.inheritFds.length > 0 && inherited(socketKey(entry)) !== undefined;

type Report = (why: string, remedy?: string) => void;

function checkNumbers({ type, state, uflags, name }: UnixSkEntry, problem: Report): void {
  if (type !== SOCK_STREAM && type !== SOCK_DGRAM && type !== SOCK_SEQPACKET)
    problem(`there is no type ${type}: the image is damaged`);
  if (state !== TCP_ESTABLISHED && state !== TCP_CLOSE && state !== TCP_LISTEN) {
    problem(`there is no state ${state}: the image is damaged`);
  }
  if (name.length > UNIX_PATH_MAX) problem(`its name has ${name.length} bytes: the image is damaged`);
  if ((uflags & USK_CALLBACK) !== 0) problem('a plugin of the original criu dumped it, and there are no plugins here');
}

function checkPeer(entry: UnixSkEntry, context: RestoreContext, problem: Report): void {
  if (entry.peer === 0) return;
  const peer = unixLinks(context).peerOf(entry);
  if (peer === undefined) {
    const remedy = `give --inherit-fd fd[N]:${socketKey(entry)}`;
    problem(`its peer socket:[${entry.peer}] was outside the tree`, remedy);
    return;
  }
  if (isInherited(peer, context)) {
    problem(`its peer ${socketKey(peer)} is inherited`, `give --inherit-fd fd[N]:${socketKey(entry)} too`);
  }
  if (peer.type !== entry.type) problem(`its peer ${socketKey(peer)} is of another type: the image is damaged`);
  if ((peer.uflags & USK_EXTERN) !== 0 && context.options.externalUnixSockets !== true) {
    problem(`its peer (${showName(peer.name)}) is outside the tree`, 'give --ext-unix-sk to connect to it');
  }
  if (peer.name.length === 0 && peer.peer !== entry.ino && peer.peer !== 0) {
    problem(`its peer ${socketKey(peer)} has no name and is connected to another socket: the image is damaged`);
  }
}

function checkQueue(entry: UnixSkEntry, context: RestoreContext, problem: Report): void {
  for (const { message } of queuedMessages(entry.id, context)) {
    if (message.scm.length === 0 || message.scm.every(({ type }) => type === SCM_RIGHTS)) continue;
    problem('a message in its queue carries something else than descriptors: the image is damaged');
    return;
  }
}

function checkBacklog(entry: UnixSkEntry, context: RestoreContext, problem: Report): void {
  if (entry.pending_ext.length === 0) return;
  const links = unixLinks(context);
  for (const { peer, id = 0, name } of entry.pending_ext) {
    const client = links.peerOf({ peer });
    const isClient = client !== undefined && isConnection(client) && client.peer === entry.ino;
    if (peer !== 0 && !isClient) problem(`socket:[${peer}] does not wait to be accepted by it: the image is damaged`);
    const isDamaged = queuedMessages(id, context).some(({ message }) => message.scm.length > 0);
    if (isDamaged || context.tree.files.has(id) || (name?.length ?? 0) > UNIX_PATH_MAX) {
      problem('what it says about connections that nobody has accepted cannot be: the image is damaged');
    }
  }
}

function checkPath(entry: UnixSkEntry, { system }: RestoreContext, problem: Report): void {
  const path = movedPath(entry) ?? fullPath(entry);
  const there = system.stat(path, false);
  if (typeof there !== 'number') {
    if ((there.st_mode & S_IFMT) === S_IFSOCK) return;
    problem(`${path} exists and is no socket`, 'move that file away');
    return;
  }
  const folder = path.slice(0, path.lastIndexOf('/')) || '/';
  if (typeof system.stat(folder, true) === 'number') problem(`the directory ${folder} does not exist`, 'make it again');
}
