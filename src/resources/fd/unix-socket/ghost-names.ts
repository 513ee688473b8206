/**
 * Paths that sockets are bound to and that no longer exist: each is bound in an empty file system of its own, which only
 * criu and the task that binds it can reach, so nothing in the real one is touched. The socket keeps the name it was
 * given; its file is deleted again at once.
 */
import type { UnixSkEntry } from '../../../image/gen/sk-unix.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check, cString, syscall } from '../../../linux/kernel.ts';
import { close } from '../../../linux/syscalls/fs.ts';
import { tryMkdir } from '../../../linux/syscalls/names.ts';
import type { RestoreContext } from '../file-kind.ts';
import type { StepArg } from '../step.ts';
import { fullPath } from './name.ts';

const FSCONFIG_CMD_CREATE = 6;
const CLOEXEC = 1;

export class GhostNames {
  readonly #controllerPid: number;
  /** Paths that need a place, by id of the socket. */
  readonly #wanted = new Map<number, string>();
  readonly #fds = new Map<number, number>();

  private constructor(controllerPid: number) {
    this.#controllerPid = controllerPid;
  }

  static of(context: RestoreContext): GhostNames {
    return context.state('unix ghosts', () => new GhostNames(context.controllerPid));
  }

  /** The root directory below which the name of a socket can be bound; exists after `prepare`. */
  rootFor(entry: UnixSkEntry): StepArg {
    this.#wanted.set(entry.id, fullPath(entry));
    return { path: () => `/proc/${this.#controllerPid}/fd/${this.#fds.get(entry.id) ?? -1}` };
  }

  /** Makes the places. Throws SyscallError. */
  prepare(): void {
    for (const [id, path] of this.#wanted) {
      if (this.#fds.has(id)) continue;
      const fd = makeFileSystem();
      this.#fds.set(id, fd);
      for (let at = path.indexOf('/', 1); at > 0; at = path.indexOf('/', at + 1)) {
        tryMkdir(`/proc/self/fd/${fd}${path.slice(0, at)}`, 0o755);
      }
    }
  }

  /** Lets go of them. What is in use stays as long as it is. */
  release(): void {
    for (const fd of this.#fds.values()) close(fd);
    this.#fds.clear();
  }
}

/** A tmpfs that is mounted nowhere (man 2 fsopen, fsmount). */
function makeFileSystem(): number {
  const context = check('fsopen', syscall(SYS.fsopen, cString('tmpfs'), CLOEXEC), 'tmpfs');
  try {
    check('fsconfig', syscall(SYS.fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0), 'FSCONFIG_CMD_CREATE');
    return check('fsmount', syscall(SYS.fsmount, context, CLOEXEC, 0), 'tmpfs');
  } finally {
    close(context);
  }
}
