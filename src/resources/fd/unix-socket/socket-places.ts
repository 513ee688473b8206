/** Where names of sockets mean what they say: working directories, deleted names, renamed ones (ghost-names.ts). */
import type { UnixSkEntry } from '../../../image/gen/sk-unix.ts';
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_PATH } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { RestoreHome } from '../file-kind.ts';
import type { StepArg } from '../step-args.ts';
import { socketKey } from './check.ts';
import { GhostNames } from './ghost-names.ts';
import { isConnection } from './links.ts';
import { fullPath, isPath, movedPath, pathText, showName, socketAddress } from './name.ts';

export class SocketPlaces {
  readonly #home: RestoreHome;
  readonly #ghosts: UnixSkEntry[] = [];
  readonly #moved: UnixSkEntry[] = [];

  constructor(home: RestoreHome) {
    this.#home = home;
  }

  /** bind(2) of a socket that has a name. */
  bind(entry: UnixSkEntry, fd: number): void {
    const { name, file_perms } = entry;
    const { table } = this.#home;
    const address = socketAddress(name);
    this.where(entry, () => {
      const path = { text: pathText(name) };
      // Whatever socket was there is dead, or would have been seen by the check.
      if (isPath(name) && !isGhost(entry) && movedPath(entry) === undefined) {
        table.doUnchecked(`remove ${path.text}`, SYS.unlink, path);
      }
      const because = `bind ${socketKey(entry)} to ${showName(name)}`;
      table.doExpecting(because, 0, SYS.bind, fd, { bytes: address }, address.length);
      if (!isPath(name) || file_perms === undefined) return;
      table.do(`set the owner of ${path.text}`, SYS.chown, path, file_perms.uid, file_perms.gid);
      table.do(`set the mode of ${path.text}`, SYS.chmod, path, file_perms.mode & 0o7777);
    });
    if (!isPath(name)) return;
    if (isGhost(entry)) this.#ghosts.push(entry);
    else if (movedPath(entry) !== undefined) this.#moved.push(entry);
  }

  /** Brings the file of a socket to where it was renamed to. */
  #rename(entry: UnixSkEntry): void {
    const to = movedPath(entry);
    if (to === undefined) return;
    const root = this.#rootOf(entry);
    const from = { path: () => `${root.path()}${fullPath(entry)}` };
    this.#home.table.do(`rename the file of ${socketKey(entry)} to ${to}`, SYS.rename, from, { text: to });
  }

  /** Gives a socket that lives only for a while a name that somebody had. */
  bindForAWhile(fd: number, name: Uint8Array, what: string): void {
    const { table } = this.#home;
    const address = { bytes: socketAddress(name) };
    const because = `bind ${what} to ${showName(name)}`;
    const bind = () => table.doExpecting(because, 0, SYS.bind, fd, address, address.bytes.length);
    if (!isPath(name)) {
      bind();
      return;
    }
    const path = pathText(name);
    const fromRoot = path.startsWith('/') ? path : `/${path}`;
    this.#below(GhostNames.of(this.#home.context).rootFor(`sender ${path}`, fromRoot), () => {
      bind();
      table.do(`remove ${path} again`, SYS.unlink, { text: path });
    });
  }

  /** When nobody is going to connect any more: removes names that are not to stay, and renames files. */
  finish(): void {
    const { table } = this.#home;
    for (const entry of this.#moved) this.#rename(entry);
    for (const entry of this.#ghosts) {
      const path = pathText(entry.name);
      this.where(entry, () => table.do(`remove ${path} again`, SYS.unlink, { text: path }));
    }
  }

  /** Does something where the name of a socket is what it says; it must not open anything. */
  where(entry: UnixSkEntry, action: () => void): void {
    const { table } = this.#home;
    const { name, name_dir } = entry;
    const isRelative = isPath(name) && !pathText(name).startsWith('/') && name_dir !== undefined;
    const inFolder = () => {
      if (isRelative) table.do(`go to ${name_dir}`, SYS.chdir, { text: name_dir });
      action();
    };
    if (isPath(name) && (isGhost(entry) || movedPath(entry) !== undefined)) this.#below(this.#rootOf(entry), inFolder);
    else inFolder();
  }

  #rootOf(entry: UnixSkEntry): { readonly path: () => string } {
    const to = movedPath(entry);
    const beside = to === undefined || isGhost(entry) ? undefined : to.slice(0, to.lastIndexOf('/'));
    return GhostNames.of(this.#home.context).rootFor(`socket ${entry.id}`, fullPath(entry), beside);
  }

  /** Does something with another root directory. */
  #below(place: StepArg, action: () => void): void {
    const { table } = this.#home;
    const root = { text: '/' };
    const flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    const rootFd = table.open('hold the root directory', SYS.openat, AT_FDCWD, root, flags);
    table.do('go to a place for names', SYS.chdir, place);
    table.do('change the root directory', SYS.chroot, { text: '.' });
    action();
    table.do('go back to the root directory', SYS.fchdir, rootFd);
    table.do('change the root directory back', SYS.chroot, { text: '.' });
    table.close(rootFd);
  }
}

/** Deleted names; and those of connections, whose file belongs to a listening socket that is not in the image. */
const isGhost = (entry: UnixSkEntry): boolean => entry.deleted === true || isConnection(entry);
