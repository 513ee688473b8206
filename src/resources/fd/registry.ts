/** All kinds of open files. The order does not matter: each file is recognised by one kind only. */

import { bpfMap } from './bpf-map/bpf-map.ts';
import { eventfd } from './eventfd/eventfd.ts';
import { eventpoll } from './eventpoll/eventpoll.ts';
import { fanotify } from './fanotify/fanotify.ts';
import { fifo } from './fifo/fifo.ts';
import type { FileKind, OpenFile } from './file-kind.ts';
import { inetSocket } from './inet-socket/inet-socket.ts';
import { inotify } from './inotify/inotify.ts';
import { ioUring } from './io-uring/io-uring.ts';
import { memfd } from './memfd/memfd.ts';
import { namespaceFile } from './namespace-file/namespace-file.ts';
import { netlinkSocket } from './netlink-socket/netlink-socket.ts';
import { packetSocket } from './packet-socket/packet-socket.ts';
import { pidfd } from './pidfd/pidfd.ts';
import { pipe } from './pipe/pipe.ts';
import { regularFile } from './regular-file/regular-file.ts';

import { signalfd } from './signalfd/signalfd.ts';
import { timerfd } from './timerfd/timerfd.ts';
import { tty } from './tty/tty.ts';
import { tun } from './tun/tun.ts';
import { unixSocket } from './unix-socket/unix-socket.ts';

export const FILE_KINDS: readonly FileKind[] = [
  regularFile,
  pipe,
  fifo,
  eventfd,
  eventpoll,
  signalfd,
  timerfd,
  tty,
  memfd,
  inetSocket,
  pidfd,
  inotify,
  fanotify,
  namespaceFile,
  unixSocket,
  bpfMap,
  tun,
  netlinkSocket,
  packetSocket,
  ioUring,
];

/** The kind of an open file; undefined when there is none yet. */
export function findKind(file: OpenFile): FileKind | undefined {
  for (const kind of FILE_KINDS) if (kind.recognise(file)) return kind;
  return undefined;
}
