/**
 * The service: accepts clients on a socket and starts a worker for each, `criu swrk`, a process of its own. What becomes
 * of one client is no matter for the others, and nothing that a client sends is read here.
 */

import { fromByteString } from '../base/bytes.ts';
import { CriuError } from '../base/errors.ts';
import { invocation } from '../base/invocation.ts';
import type { Logger } from '../base/log.ts';
import type { CommandContext } from '../cli/command-context.ts';
import { absolutePath } from '../cli/startup.ts';
import { reportReady, writePidfile } from '../cli/status-files.ts';
import { ERRNO, errnoName } from '../linux/abi/errno.ts';
import { EFD_CLOEXEC, EFD_NONBLOCK } from '../linux/abi/event.ts';
import { S_IFMT, S_IFSOCK } from '../linux/abi/fcntl.ts';
import { SIGCHLD, SIGINT, SIGTERM } from '../linux/abi/signal.ts';
import { SOCK_NONBLOCK, SOCK_SEQPACKET } from '../linux/abi/socket.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { forgetSignals, isNoted, noteSignals } from '../linux/interrupts.ts';
import { check, syscall } from '../linux/kernel.ts';
import { close, tryLstat } from '../linux/syscalls/fs.ts';
import { fitsUnixAddress, listen, tryAccept, tryBindUnix, unixSocket } from '../linux/syscalls/messages.ts';
import { tryChmod, tryUnlink } from '../linux/syscalls/names.ts';
import { getpid } from '../linux/syscalls/process.ts';
import { SERVICE_WORKER } from '../options/parse-command-line.ts';
import { configWords } from './config-words.ts';

/** CRIU's, in the work folder. */
const DEFAULT_ADDRESS = 'criu_service.socket';
/** Everybody may ask; what they may have done is decided by who they are (client.ts). */
const SOCKET_MODE = 0o666;
const BACKLOG = 128;
/** The descriptor that a worker finds its client at. */
const WORKER_FD = 3;

/** Serves until it is ended by a signal. Throws CriuError when it cannot begin. */
export async function serve({ options, log, workDir }: CommandContext): Promise<number> {
  const address = options.address ?? DEFAULT_ADDRESS;
  if (options.address === undefined) log.warn('Binding to local dir address!');
  const socket = openServiceSocket(absolutePath(address, workDir));
  log.info(`The service socket is bound to ${address}`);
  const wake = check('eventfd2', syscall(SYS.eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
  try {
    // A child that has ended is worth a look, the others end the service.
    noteSignals([SIGCHLD, SIGTERM, SIGINT], wake);
    if (options.pidfile !== undefined) writePidfile(options.pidfile, getpid());
    if (options.statusFd !== undefined) reportReady(options.statusFd);
    await acceptClients(
      socket,
      wake,
      ['swrk', String(WORKER_FD), SERVICE_WORKER, ...configWords(options).map(fromByteString)],
      log,
    );
  } finally {
    forgetSignals([SIGCHLD, SIGTERM, SIGINT]);
    close(wake);
    close(socket);
    tryUnlink(absolutePath(address, workDir));
  }
  return 0;
}

/** A socket file that is left over from another service is replaced, as CRIU does; any other file is not. */
function openServiceSocket(path: string): number {
  const object = `service socket ${path}`;
  if (!fitsUnixAddress(path))
    throw new CriuError({ object, action: 'cannot be made: the path is too long for a socket' });
  const stat = tryLstat(path);
  if (typeof stat !== 'number' && (stat.st_mode & S_IFMT) === S_IFSOCK) tryUnlink(path);
  const socket = unixSocket(SOCK_SEQPACKET | SOCK_NONBLOCK);
  const result = tryBindUnix(socket, path);
  if (result < 0) throw new CriuError({ object, action: `Can't bind: ${errnoName(-result)}`, remedy: 'see --address' });
  const changed = tryChmod(path, SOCKET_MODE);
  if (changed < 0) throw new CriuError({ object, action: `Can't change permissions: ${errnoName(-changed)}` });
  listen(socket, BACKLOG);
  return socket;
}

async function acceptClients(socket: number, wake: number, words: readonly string[], log: Logger): Promise<void> {
  for (;;) {
    log.debug('Waiting for connection...');
    waitFor(socket, wake);
    if (isNoted(SIGTERM) || isNoted(SIGINT)) return;
    const client = tryAccept(socket);
    if (client >= 0) {
      startWorker(client, words, log);
      close(client);
    } else if (isShortage(client)) {
      log.warn(`Can't accept connection: ${errnoName(-client)}`);
      await Bun.sleep(RETRY_MS);
    } else if (!isNobody(client)) {
      throw new CriuError({ action: `Can't accept connection: ${errnoName(-client)}` });
    }
    // Lets the runtime reap workers that have ended.
    await Bun.sleep(0);
  }
}

/** Returns when there is a client or a signal, or was one since the last time. */
function waitFor(socket: number, wake: number): void {
  // struct pollfd: fd, then events in the lower half of a word.
  syscall(SYS.poll, Int32Array.of(socket, POLLIN, wake, POLLIN), 2, -1);
  syscall(SYS.read, wake, new BigUint64Array(new ArrayBuffer(8)), 8);
}

/** struct pollfd (man 2 poll). */
const POLLIN = 1;

const RETRY_MS = 50;

/** The machine is short of something for now (man 2 accept). */
function isShortage(result: number): boolean {
  return [ERRNO.EMFILE, ERRNO.ENFILE, ERRNO.ENOMEM, ERRNO.ENOBUFS].some((errno) => errno === -result);
}

/** There is no client, or it has gone already. */
function isNobody(result: number): boolean {
  return [ERRNO.EAGAIN, ERRNO.EINTR, ERRNO.ECONNABORTED].some((errno) => errno === -result);
}

function startWorker(client: number, words: readonly string[], log: Logger): void {
  try {
    const worker = Bun.spawn(['/proc/self/exe', ...words], {
      argv0: 'criu',
      env: invocation().environment(),
      stdio: ['ignore', 'inherit', 'inherit', client],
    });
    log.info(`Connected: worker ${worker.pid}`);
    worker.exited.then((status) => log.info(`Worker(pid ${worker.pid}) exited with ${status}`));
  } catch (error) {
    log.error(`cannot start a worker: ${error instanceof Error ? error.message : String(error)}`);
  }
}
