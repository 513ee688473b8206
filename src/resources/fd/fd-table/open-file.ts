/** Reading what the kernel says about one open file of a frozen task. */

import { SyscallError } from '../../../base/errors.ts';
import { perRun } from '../../../base/per-run.ts';
import type { FrozenTask } from '../../../dump/frozen-tree.ts';
import type { FownEntry } from '../../../image/gen/fown.ts';
import { errnoName } from '../../../linux/abi/errno.ts';
import {
  F_GETFL,
  F_GETOWN_EX,
  F_GETOWNER_UIDS,
  F_GETSIG,
  O_CLOEXEC,
  O_PATH,
  S_IFCHR,
  S_IFMT,
} from '../../../linux/abi/fcntl.ts';
import { MFD_CLOEXEC } from '../../../linux/abi/mman.ts';
import { SO_DOMAIN, SOL_SOCKET } from '../../../linux/abi/socket.ts';
import { HUGETLBFS_MAGIC } from '../../../linux/abi/statfs.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check, cString, syscall } from '../../../linux/kernel.ts';
import { Folder } from '../../../linux/syscalls/folder.ts';
import { close, fcntl, fstat, fstatfsType, readProc, type Stat } from '../../../linux/syscalls/fs.ts';
import { tryGetsockoptInt } from '../../../linux/syscalls/socket.ts';
import { type Fdinfo, parseFdinfo } from '../../../proc/fdinfo.ts';
import type { OpenFile } from '../file-kind.ts';

/** What an open file is at. */
export interface Position {
  readonly pos: bigint;
  /** O_* of the description, with O_CLOEXEC only where a driver has left it there. */
  readonly flags: number;
  readonly mntId: number;
  /** FD_CLOEXEC of the descriptor; undefined when it was not asked for. */
  readonly isCloexec: boolean | undefined;
}

/** What was read of a file. */
interface FileFacts {
  readonly stat: Stat;
  readonly link: string;
  readonly position: Position;
  /** Text of /proc/PID/fdinfo/N; undefined when it holds no file locks and says nothing else. */
  readonly fdinfo: string | undefined;
  /** Asked for when they are not known yet. */
  readonly owner?: FownEntry;
  readonly socket?: SocketFacts | undefined;
}

export interface SocketFacts {
  /** Undefined for what is no socket. */
  readonly family: number | undefined;
}

/** An open file with what only its descriptor has. */
export interface DescriptorFile extends OpenFile {
  /** FD_CLOEXEC; undefined when only the task itself can tell. */
  readonly isCloexec: boolean | undefined;
  /** Whether the descriptor holds a file lock. */
  readonly hasLocks: boolean;
  /** Lets go of what was fetched because somebody needed it; to be called after it was looked at. */
  close?(): void;
}

export class InspectedFile implements DescriptorFile {
  readonly task: FrozenTask;
  readonly fd: number;
  readonly localFd: number;
  readonly stat: Stat;
  readonly link: string;
  readonly flags: number;
  readonly pos: bigint;
  readonly mntId: number;
  readonly fown: FownEntry;
  readonly #isCloexec: boolean | undefined;
  readonly #role: string | undefined;
  readonly #fdinfoText: string | undefined;
  #fdinfo: Fdinfo | undefined = undefined;
  #fsType: number | undefined = undefined;
  #socket: SocketFacts | undefined = undefined;

  /** `fd`: −1 for what is no descriptor of the task, whose `role` says what it is. */
  constructor(task: FrozenTask, fd: number, localFd: number, role: string | undefined, facts: FileFacts) {
    const { position, owner } = facts;
    const { flags } = position;
    this.task = task;
    this.fd = fd;
    this.localFd = localFd;
    this.stat = facts.stat;
    this.link = facts.link;
    this.flags = fd < 0 ? 0 : flags & ~O_CLOEXEC;
    this.pos = fd < 0 ? 0n : position.pos;
    this.mntId = position.mntId;
    this.fown = fd < 0 || (flags & O_PATH) !== 0 ? NO_OWNER : (owner ?? readOwner(localFd));
    this.#isCloexec = position.isCloexec;
    this.#role = role;
    this.#fdinfoText = facts.fdinfo;
    this.#socket = facts.socket;
  }

  /** A descriptor of ours. Throws SyscallError. */
  static ofOwn(task: FrozenTask, localFd: number): InspectedFile {
    return new InspectedFile(task, localFd, localFd, undefined, readFacts(localFd));
  }

  /** What is behind exe, cwd, root or a mapping, opened by us with O_PATH; `role` says so. */
  static ofPath(task: FrozenTask, localFd: number, role: string): InspectedFile {
    return new InspectedFile(task, -1, localFd, role, readFacts(localFd));
  }

  /**
   * FD_CLOEXEC of the descriptor; undefined when only the task itself can tell. fdinfo shows it where it is not set when a
   * terminal was opened by ioctl(TIOCGPTPEER): that keeps O_CLOEXEC among the flags of the open file
   * (drivers/tty/pty.c ptm_open_peer()), and all its descriptors show it.
   */
  get isCloexec(): boolean | undefined {
    if (this.#isCloexec !== true || (this.stat.st_mode & S_IFMT) !== S_IFCHR) return this.#isCloexec;
    if ((this.flags & O_PATH) !== 0) return true;
    return (fcntl(this.localFd, F_GETFL) & O_CLOEXEC) !== 0 ? undefined : true;
  }

  get fsType(): number {
    this.#fsType ??= fstatfsType(this.localFd);
    return this.#fsType;
  }

  get socketFamily(): number | undefined {
    this.#socket ??= { family: tryGetsockoptInt(this.localFd, SOL_SOCKET, SO_DOMAIN) };
    return this.#socket.family;
  }

  get fdinfo(): Fdinfo {
    if (this.#fdinfo === undefined) {
      const path = `/proc/${this.task.pid}/fdinfo/${this.fd}`;
      this.#fdinfo = parseFdinfo(this.#fdinfoText ?? readProc(path), path);
    }
    return this.#fdinfo;
  }

  /** Whether the descriptor holds a file lock. */
  get hasLocks(): boolean {
    return this.#fdinfoText?.includes('\nlock:') === true;
  }

  get isKernelShmem(): boolean {
    if (this.stat.st_nlink !== 0 || !this.link.startsWith('/')) return false;
    return (
      this.stat.st_dev === kernelShmemDevice() ||
      (/^\/(memfd:|anon_hugepage|SYSV)/.test(this.link) && this.fsType === HUGETLBFS_MAGIC)
    );
  }

  get object(): string {
    return `${this.#role ?? `fd ${this.fd}`} of ${this.task.label} (${this.link})`;
  }
}

function readFacts(localFd: number): FileFacts {
  const fdinfo = readProc(`/proc/self/fdinfo/${localFd}`);
  return { stat: fstat(localFd), link: readLink(localFd), position: parsePosition(fdinfo), fdinfo };
}

const ownFds = perRun(
  () => new Folder('/proc/self/fd'),
  (folder) => close(folder.fd),
);

function readLink(localFd: number): string {
  const link = ownFds().tryReadlink(localFd);
  if (typeof link === 'number') throw failed('readlink', link, `/proc/self/fd/${localFd}`);
  return link;
}

function failed(name: string, result: number, path: string): SyscallError {
  return new SyscallError(name, -result, errnoName(-result), path);
}

/** Lines of /proc/PID/fdinfo after the first one, which are mostly the same as for the file before. */
interface CommonLines {
  /** With the end of the line before. */
  readonly text: string;
  readonly flags: number;
  readonly isCloexec: boolean;
  readonly mntId: number;
}

const COMMON = /^pos:\t\d+(\nflags:\t([0-7]+)\nmnt_id:\t(\d+)\n)/;
const POSITION_AT = 'pos:\t'.length;

/** What the text says, in each run. */
let common: CommonLines = { text: '\n\n', flags: 0, isCloexec: false, mntId: -1 };

/** Parses what all texts of fdinfo begin with: most need no more than this. */
export function parsePosition(fdinfo: string): Position {
  const newline = fdinfo.indexOf('\n');
  if (!fdinfo.startsWith(common.text, newline)) {
    const match = COMMON.exec(fdinfo);
    if (match === null) return positionOf(parseFdinfo(fdinfo));
    const [, text = '', digits = '', mntId = ''] = match;
    const flags = Number.parseInt(digits, 8);
    common = { text, flags: flags & ~O_CLOEXEC, isCloexec: (flags & O_CLOEXEC) !== 0, mntId: Number(mntId) };
  }
  const position = Number(fdinfo.slice(POSITION_AT, newline));
  const pos = Number.isSafeInteger(position) ? BigInt(position) : parseFdinfo(fdinfo).pos;
  return { pos, flags: common.flags, mntId: common.mntId, isCloexec: common.isCloexec };
}

function positionOf({ pos, flags, mntId }: Fdinfo): Position {
  return { pos, flags: flags & ~O_CLOEXEC, mntId: mntId ?? -1, isCloexec: (flags & O_CLOEXEC) !== 0 };
}

/** Of a file that nobody is told about. */
export const NO_OWNER: FownEntry = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };

const ownerEx = new Int32Array(2);
const ownerUids = new Uint32Array(2);

/** Throws SyscallError. */
export function readOwner(fd: number): FownEntry {
  const signum = fcntl(fd, F_GETSIG);
  check('fcntl', fcntl(fd, F_GETOWN_EX, ownerEx), 'F_GETOWN_EX');
  const [pid_type = 0, pid = 0] = ownerEx;
  const fown = { ...NO_OWNER, signum: Math.max(signum, 0) };
  if (pid === 0) return fown;
  check('fcntl', fcntl(fd, F_GETOWNER_UIDS, ownerUids), 'F_GETOWNER_UIDS');
  const [uid = 0, euid = 0] = ownerUids;
  return { ...fown, uid, euid, pid_type, pid };
}

/** The device number of the kernel's own tmpfs (mm/shmem.c shm_mnt), where memfds are. */
const kernelShmemDevice = perRun(() => {
  const fd = check('memfd_create', syscall(SYS.memfd_create, cString('criu-device'), MFD_CLOEXEC));
  const { st_dev } = fstat(fd);
  close(fd);
  return st_dev;
});
