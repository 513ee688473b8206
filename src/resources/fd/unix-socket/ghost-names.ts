/**
 * Places where sockets are bound to paths that are not to be touched. What is bound keeps the name it was given, whatever
 * becomes of the file:
 *
 * - A path that no longer exists is bound in an empty file system of its own, which only criu and the task that binds it
 *   can reach; the file is deleted again at once.
 * - A path whose file was renamed is bound in a folder beside its new place, and then renamed.
 */
import { O_DIRECTORY, O_PATH } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check, cString, syscall } from '../../../linux/kernel.ts';
import { close, open } from '../../../linux/syscalls/fs.ts';
import { tryMkdir, tryRmdir } from '../../../linux/syscalls/names.ts';
import type { RestoreContext } from '../file-kind.ts';

const FSCONFIG_CMD_CREATE = 6;
const CLOEXEC = 1;

/** A root directory below which a path can be bound. */
interface Place {
  /** The path to be bound: its folders are made. */
  readonly path: string;
  /** The folder that is made in the real file system; undefined: a file system of its own. */
  readonly folder: string | undefined;
  fd: number | undefined;
}

export class GhostNames {
  readonly #controllerPid: number;
  readonly #places = new Map<string, Place>();

  private constructor(controllerPid: number) {
    this.#controllerPid = controllerPid;
  }

  static of(context: RestoreContext): GhostNames {
    return context.state('unix ghosts', () => new GhostNames(context.controllerPid));
  }

  /** The root directory below which a path can be bound; it exists after `prepare`. `beside`: on that folder's device. */
  rootFor(key: string, path: string, beside?: string): { readonly path: () => string } {
    if (!this.#places.has(key)) {
      const folder = beside === undefined ? undefined : `${beside}/.criu-${this.#controllerPid}-${this.#places.size}`;
      this.#places.set(key, { path, folder, fd: undefined });
    }
    return { path: () => `/proc/${this.#controllerPid}/fd/${this.#places.get(key)?.fd ?? -1}` };
  }

  /** Makes the places. Throws SyscallError. */
  prepare(): void {
    for (const place of this.#places.values()) {
      if (place.fd !== undefined) continue;
      const { folder, path } = place;
      if (folder !== undefined) check('mkdir', tryMkdir(folder, 0o700), folder);
      place.fd = folder === undefined ? makeFileSystem() : open(folder, O_PATH | O_DIRECTORY);
      for (const inner of foldersOf(path)) tryMkdir(`/proc/self/fd/${place.fd}${inner}`, 0o755);
    }
  }

  /** Lets go of them. What is in use stays as long as it is. */
  release(): void {
    for (const { fd, folder, path } of this.#places.values()) {
      if (fd === undefined) continue;
      if (folder !== undefined) for (const inner of [...foldersOf(path)].reverse()) tryRmdir(`${folder}${inner}`);
      if (folder !== undefined) tryRmdir(folder);
      close(fd);
    }
    this.#places.clear();
  }
}

/** The folders above the file of a path, from the top. */
function foldersOf(path: string): string[] {
  const folders: string[] = [];
  for (let at = path.indexOf('/', 1); at > 0; at = path.indexOf('/', at + 1)) folders.push(path.slice(0, at));
  return folders;
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
