/**
 * criu in the network namespace of a tree. As long as a visit lasts, whatever our main thread does is done there: sockets
 * that it opens, /proc/net, /proc/sys/net (man 7 network_namespaces), and processes that it starts are born there. So no
 * other part has to know about namespaces. Only programs of the user, such as action scripts, run `outside`.
 */
import { CriuError } from '../../base/errors.ts';
import { errnoName } from '../../linux/abi/errno.ts';
import { O_CLOEXEC, O_RDONLY } from '../../linux/abi/fcntl.ts';
import { CLONE_NEWNET } from '../../linux/abi/sched.ts';
import { check } from '../../linux/kernel.ts';
import { close, open, readlink, tryOpen, tryReadlink } from '../../linux/syscalls/fs.ts';
import { trySetns, tryUnshare } from '../../linux/syscalls/namespace.ts';

const OWN = '/proc/self/ns/net';

/** The link of the namespace that our main thread is in, "net:[4026531840]". */
export const readNetworkLink = () => readlink(OWN);

/** The link of a thread's namespace, or −errno. */
export const tryReadNetworkLink = (pid: number, tid = pid) => tryReadlink(`/proc/${pid}/task/${tid}/ns/net`);

export class NetworkVisit {
  /** Of criu's own namespace. */
  readonly ownLink: string;
  /** A descriptor of it. */
  readonly own: number;
  readonly #visited: number;

  private constructor(ownLink: string, own: number, visited: number) {
    this.ownLink = ownLink;
    this.own = own;
    this.#visited = visited;
  }

  /** Enters the namespace behind a path of /proc/PID/ns or of a file it is mounted on. Throws CriuError naming it. */
  static enterPath(path: string, object: string): NetworkVisit {
    const fd = tryOpen(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
      throw new CriuError({ object, action: `cannot be opened (${path}: ${errnoName(-fd)})`, crErrno: -fd });
    }
    return NetworkVisit.#enter(fd, object);
  }

  /** Enters the namespace behind a descriptor of ours, which stays open. Throws CriuError. */
  static enterDescriptor(fd: number, object: string): NetworkVisit {
    return NetworkVisit.enterPath(`/proc/self/fd/${fd}`, object);
  }

  static #enter(fd: number, object: string): NetworkVisit {
    const ownLink = readNetworkLink();
    const own = open(OWN, O_RDONLY | O_CLOEXEC);
    const result = trySetns(fd, CLONE_NEWNET);
    if (result === 0) return new NetworkVisit(ownLink, own, fd);
    close(own);
    close(fd);
    throw new CriuError({ object, action: `cannot be entered (setns: ${errnoName(-result)})`, crErrno: -result });
  }

  /** Makes a namespace and enters it; it ends with the visit, unless somebody lives there by then. Throws CriuError. */
  static enterNew(): NetworkVisit {
    const ownLink = readNetworkLink();
    const own = open(OWN, O_RDONLY | O_CLOEXEC);
    const result = tryUnshare(CLONE_NEWNET);
    if (result === 0) return new NetworkVisit(ownLink, own, open(OWN, O_RDONLY | O_CLOEXEC));
    close(own);
    throw new CriuError({
      object: 'the network namespace of the tree',
      action: `cannot be made (unshare: ${errnoName(-result)})`,
      crErrno: -result,
    });
  }

  /** Does something in criu's own namespace. */
  outside<T>(action: () => T): T {
    check('setns', trySetns(this.own, CLONE_NEWNET), 'own network namespace');
    try {
      return action();
    } finally {
      check('setns', trySetns(this.#visited, CLONE_NEWNET), 'network namespace of the tree');
    }
  }

  [Symbol.dispose](): void {
    check('setns', trySetns(this.own, CLONE_NEWNET), 'own network namespace');
    close(this.own);
    close(this.#visited);
  }
}
