/**
 * The client at the other end of a connection: who it is, its descriptors, and its rights.
 *
 * The kernel tells who made the other end (SO_PEERCRED); nothing that the client says counts. A worker of a service that
 * runs as root becomes the user of the client before it opens anything that the request names: user, groups, and no
 * effective capability but CAP_CHECKPOINT_RESTORE, which lets it choose pids and see what tasks of that user have mapped.
 * So the kernel itself refuses what the client could not do: tasks, files and sockets of others. Only a new time namespace
 * needs more; the capabilities for it stay permitted, and only the child that makes it raises them (tracee/stub.ts).
 * Descriptors that the request names are fetched before that, from the client itself, which has the right to them.
 */
import { CriuError } from '../base/errors.ts';
import { CAP_CHECKPOINT_RESTORE, CAP_SYS_ADMIN, CAP_SYS_TIME } from '../linux/abi/capability.ts';
import { ERRNO, errnoName } from '../linux/abi/errno.ts';
import {
  PR_CAP_AMBIENT,
  PR_CAP_AMBIENT_CLEAR_ALL,
  PR_CAP_AMBIENT_RAISE,
  PR_SET_DUMPABLE,
  PR_SET_KEEPCAPS,
  SUID_DUMP_USER,
} from '../linux/abi/prctl.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { type Arg, check, cString, syscall } from '../linux/kernel.ts';
import { capabilityMask, setCapabilities } from '../linux/syscalls/capabilities.ts';
import { close, tryStat } from '../linux/syscalls/fs.ts';
import { tryPeerCredentials, tryPeerGroups, tryPeerPidfd } from '../linux/syscalls/messages.ts';
import { getpid, tryPidfdGetfd } from '../linux/syscalls/process.ts';

export class Client {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  readonly #connectionFd: number;
  readonly #pidfd: number;
  readonly #fds: number[] = [];
  #borrowed = 0n;

  /** Throws CriuError when the kernel does not know who is at the other end of the connection. */
  constructor(connectionFd: number) {
    const credentials = tryPeerCredentials(connectionFd);
    if (credentials === undefined || credentials.pid <= 0) {
      throw unknown('the kernel does not tell who is at the other end');
    }
    this.#connectionFd = connectionFd;
    this.pid = credentials.pid;
    this.uid = credentials.uid;
    this.gid = credentials.gid;
    this.#pidfd = tryPeerPidfd(connectionFd);
    if (this.#pidfd < 0) throw unknown(`process ${this.pid} has gone (SO_PEERPIDFD: ${errnoName(-this.#pidfd)})`);
  }

  /** A descriptor of the client as one of ours, which the caller closes. Throws CriuError that names the field. */
  fetch(fd: number, field: string): number {
    const own = tryPidfdGetfd(this.#pidfd, fd);
    if (own < 0) {
      throw new CriuError({
        object: field,
        action: `descriptor ${fd} of the client cannot be used: ${errnoName(-own)}`,
        crErrno: ERRNO.EBADRQC,
      });
    }
    return own;
  }

  /** The path of a folder that the client has open, for us and our children, until `release`. */
  folder(fd: number, field: string): string {
    const own = this.fetch(fd, field);
    this.#fds.push(own);
    return `/proc/${getpid()}/fd/${own}`;
  }

  /**
   * Relative paths of the request begin in the folder of the client. Throws CriuError when the client lives under
   * another root than we: paths would mean something else there.
   */
  enterItsFolder(): void {
    const [theirs, ours] = [tryStat(`/proc/${this.pid}/root/`), tryStat('/')];
    const isReadable = typeof theirs !== 'number' && typeof ours !== 'number';
    if (isReadable && (theirs.st_dev !== ours.st_dev || theirs.st_ino !== ours.st_ino)) {
      throw new CriuError({
        object: `process ${this.pid}`,
        action: 'cannot be served: it lives under another root folder than criu',
        remedy: 'start criu itself from there, with criu swrk FD',
      });
    }
    syscall(SYS.chdir, cString(`/proc/${this.pid}/cwd`));
    // Its pid, which stood in these paths, may be that of another process by now.
    if (syscall(SYS.pidfd_send_signal, this.#pidfd, 0, 0, 0) === -ERRNO.ESRCH)
      throw unknown(`process ${this.pid} has gone`);
  }

  /**
   * Takes the identity of the client on, unless it is root or we are no more than it anyway. The credentials are those
   * of this thread, which does all the work; processes that it starts inherit them. Throws CriuError.
   */
  becomeIt(): void {
    const own = syscall(SYS.geteuid);
    if (this.uid === 0 || own !== 0) {
      if (own !== 0 && own !== this.uid) throw notPermitted(`user ${own} cannot act for user ${this.uid}`);
      return;
    }
    const groups = tryPeerGroups(this.#connectionFd);
    if (typeof groups === 'number') throw unknown(`its groups cannot be read (SO_PEERGROUPS: ${errnoName(-groups)})`);
    this.#borrowed = becomeUser(this.uid, this.gid, groups);
  }

  /** Capabilities that this process has kept when it became the client. */
  get borrowedCapabilities(): bigint {
    return this.#borrowed;
  }

  /** Closes what was fetched. */
  release(): void {
    for (const fd of this.#fds.splice(0)) close(fd);
  }

  [Symbol.dispose](): void {
    this.release();
    close(this.#pidfd);
  }
}

function unknown(why: string): CriuError {
  return new CriuError({ action: 'the client is not known', why, crErrno: ERRNO.EPERM });
}

function notPermitted(why: string): CriuError {
  return new CriuError({ action: 'the client may not ask for this', why, crErrno: ERRNO.EPERM });
}

/**
 * man 7 capabilities, "Effect of user ID changes on capabilities". The capability is made ambient too, since a stub gets
 * its capabilities by execve(2). Returns the capabilities that were kept. The dumpable flag, which a change of ids takes away, makes /proc/self readable again.
 */
function becomeUser(uid: number, gid: number, groups: Uint32Array): bigint {
  const must = (what: string, nr: number, ...args: Arg[]) => check(what, syscall(nr, ...args), `user ${uid}`);
  must('setgroups', SYS.setgroups, groups.length, groups.length === 0 ? 0 : groups);
  must('setresgid', SYS.setresgid, gid, gid, gid);
  must('prctl(KEEPCAPS)', SYS.prctl, PR_SET_KEEPCAPS, 1);
  must('setresuid', SYS.setresuid, uid, uid, uid);
  must('prctl(KEEPCAPS)', SYS.prctl, PR_SET_KEEPCAPS, 0);
  const restore = capabilityMask(CAP_CHECKPOINT_RESTORE);
  const permitted = restore | capabilityMask(CAP_SYS_ADMIN, CAP_SYS_TIME);
  setCapabilities({ effective: restore, permitted, inheritable: restore });
  must('prctl(CAP_AMBIENT)', SYS.prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  must('prctl(CAP_AMBIENT)', SYS.prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHECKPOINT_RESTORE, 0, 0);
  must('prctl(DUMPABLE)', SYS.prctl, PR_SET_DUMPABLE, SUID_DUMP_USER);
  return permitted;
}
