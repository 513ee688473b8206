/**
 * What a kind of open file has to provide: recognising it in a dump, its image entry, and the steps that make it again.
 *
 * Everything generic is elsewhere: numbers of descriptors, sharing between tasks, owner and signal of a file (fown),
 * passing descriptors on, writing of files.img and fdinfo. Adding a kind is one folder and one line in registry.ts.
 */
import type { CriuErrorFields } from '../../base/errors.ts';
import type { FrozenTask } from '../../dump/frozen-tree.ts';
import type { FdTypes, FileEntry } from '../../image/gen/fdinfo.ts';
import type { FownEntry } from '../../image/gen/fown.ts';
import type { RemapFilePathEntry } from '../../image/gen/remap-file-path.ts';
import type { ImageDir } from '../../image/image-dir.ts';
import type { ElementOf } from '../../image/image-kinds.ts';
import type { Stat } from '../../linux/syscalls/fs.ts';
import type { Fdinfo } from '../../proc/fdinfo.ts';
import type { RestoreTask, RestoreTree } from '../../restore/restore-tree.ts';
import type { NetworkLock } from '../network-lock/network-lock.ts';
import type { Aftermath } from './aftermath.ts';
import type { FdTablePlan } from './fd-table/fd-table-plan.ts';
import type { PairKind } from './fd-table/pair-columns.ts';
import type { LaterNumber, StepArg } from './step-args.ts';

/** What the kernel says about an open file of a frozen task. */
export interface OpenFile {
  readonly task: FrozenTask;
  /** Its number in the task; −1 for exe, cwd, root and mappings. */
  readonly fd: number;
  /** The same open file description as a descriptor of ours (for mappings and the like: O_PATH). Not to be closed. */
  readonly localFd: number;
  readonly stat: Stat;
  /** What /proc/PID/fd/N points to, as the kernel prints it. */
  readonly link: string;
  /** O_* without O_CLOEXEC; 0 for exe, cwd, root and mappings. */
  readonly flags: number;
  readonly pos: bigint;
  readonly mntId: number;
  readonly fown: FownEntry;
  /** f_type of fstatfs(2); asked when first needed. */
  readonly fsType: number;
  /** Parsed when first needed. Only for descriptors. */
  readonly fdinfo: Fdinfo;
  /** AF_* of a socket; asked when first needed. Undefined when it is none. */
  readonly socketFamily: number | undefined;
  /**
   * What makes a UNIX socket alike to others (linux/socket-likeness.ts): those with the same bytes have the same options.
   * Undefined when it is not known.
   */
  readonly socketLikeness?: Uint8Array | undefined;
  /** Whether it lies in the kernel's own tmpfs: memfd, System V shared memory, shared anonymous memory. */
  readonly isKernelShmem: boolean;
  /** "fd 7 of task 1234 'nginx' (socket:[123])", for messages. */
  readonly object: string;
}

/** Why a file cannot be dumped. */
export interface Unsupported {
  readonly unsupported: string;
  readonly remedy?: string;
  /** How it failed, when that is not "cannot be dumped". */
  readonly action?: string;
}

export type DumpResult = FileEntry | Unsupported;

export interface DumpFilesOptions {
  /** --link-remap. */
  readonly linkRemap: boolean;
  /** --shell-job: terminals of other sessions may be taken over. */
  readonly shellJob: boolean;
  /** --file-locks. */
  readonly fileLocks: boolean;
  /** --ghost-limit. */
  readonly ghostLimitBytes: number;
  /** --evasive-devices. */
  readonly evasiveDevices: boolean;
  /** --file-validation. */
  readonly fileValidation: 'filesize' | 'buildid';
  /** How paths of watched files are searched: --force-irmap and --irmap-scan-path. */
  readonly irmap?: { readonly isForced: boolean; readonly scanPaths: readonly string[] };
  /** `--external` keys of the form file[MNT:INO]. */
  readonly externalFiles: ReadonlySet<string>;
  /** `--external` keys of the form tty[RDEV:DEV]. */
  readonly externalTerminals: ReadonlySet<string>;
  /** Sockets whose peer the user takes care of: `--external unix[INO]`, and those given to --ext-unix-sk. */
  readonly externalUnixInodes?: ReadonlySet<number>;
  /** --ext-unix-sk: peers outside the tree that have a name are connected to again. */
  readonly externalUnixSockets?: boolean;
  /** A client takes the master sides of terminals whose slaves alone are in the tree (orphan_pts_master of RPC). */
  readonly orphanMasters?: boolean;
  /** Inode of criu's end of the connection to the client that asked for the dump and may be part of the tree. */
  readonly serviceSocketInode?: number | undefined;
  /** --tcp-established, --tcp-close and --skip-in-flight. */
  readonly tcpEstablished?: boolean;
  readonly tcpClose?: boolean;
  readonly skipInFlight?: boolean;
  /** Holds back packets; −errno when that is impossible, undefined when the user sees to it. */
  readonly networkLock?: NetworkLock | number | undefined;
  /** Where kinds leave what is to be done when it is known whether the tree goes on. */
  readonly aftermath: Aftermath;
  /** Write mnt_id into the entries: the tree has a mount namespace of its own. */
  readonly hasOwnMounts: boolean;
  /** Prefix that makes a path of this task one of ours (`/proc/PID/root`); empty when they are the same. */
  readonly pathPrefix?: (task: FrozenTask) => string;
}

/** A descriptor of a process: of a task, or, of a file in flight, one of ours. */
export interface DescriptorOf {
  readonly pid: number;
  readonly fd: number;
}

/** Images with raw data after each entry that kinds may add to. */
export type DataImage = 'pipes-data' | 'fifo-data' | 'sk-queues' | 'bpfmap-data';

/** What a kind may use while it dumps a file. */
export interface KindDump {
  readonly options: DumpFilesOptions;
  /** All living tasks of the tree. */
  readonly tasks: readonly FrozenTask[];
  /** Whether a task or zombie of the tree has that pid. */
  hasTask(pid: number): boolean;
  /** A number for another entry of files.img. */
  nextFileId(): number;
  addEntry(entry: FileEntry): void;
  addRemap(remap: RemapFilePathEntry): void;
  addData<K extends DataImage>(image: K, element: ElementOf<K>): void;
  /** Something else to be written to the image directory, while the tree stands still. */
  addImage(write: (images: ImageDir) => void): void;
  /** The same for what has been read already: it is written when the tree may run. */
  addLateImage(write: (images: ImageDir) => void): void;
  /** True for the first call with this key in the dump: for state that several descriptions share. */
  isFirst(key: string): boolean;
  /** Id of a description by its number in a task; for `complete` only, when all are known. */
  idOf(task: FrozenTask, fd: number): number | undefined;
  /** All numbers in a task's table, ascending; for `complete` only. */
  fdsOf(task: FrozenTask): number[];
  /** Id of the first file with a descriptor that passes the test, in any task or in flight; for `complete` only. */
  findId(test: (descriptor: DescriptorOf) => boolean): number | undefined;
  /** A state of the kind for the whole dump, made when first asked for. */
  state<T>(key: string, make: () => T): T;
  /**
   * Id of a file that is in flight (SCM_RIGHTS) to a socket of that task; `localFd` is a descriptor of ours, which is
   * closed in time. Undefined when it cannot be dumped; a problem was added then.
   */
  registerInFlight(task: FrozenTask, localFd: number): number | undefined;
  /** Closes a descriptor of ours when all files are collected. */
  closeAfterwards(fd: number): void;
  warn(text: string): void;
  addProblem(problem: CriuErrorFields): void;
  /** When the dump turns out to fail: undoes what was done outside the image directory. */
  onRollback(undo: () => void): void;
  /** When the tree is not to go on here: for what must not be done to one that might. */
  onHandOver(action: () => void): void;
}

/** Sizes of the buffers of a new socket. */
export interface SocketBuffers {
  readonly sendBytes: number;
  readonly receiveBytes: number;
}

/** What a restore can learn before any process exists. Injected, so that planning is pure. */
export interface RestoreSystem {
  /** stat(2) or, for O_NOFOLLOW, lstat(2). Undefined when there is no such file; −errno on other failures. */
  stat(path: string, isFollowing: boolean): Stat | number;
  /** The first bytes of a file (at most `bytes`), or −errno. */
  head(path: string, bytes: number): Uint8Array | number;
  /** CLOCK_REALTIME. */
  wallClockNs(): bigint;
  /** What new UNIX sockets have; undefined when the kernel does not tell. */
  socketBuffers(): SocketBuffers | undefined;
  /** The supplementary groups of criu, and so of tasks until they get their own; ascending. */
  groups(): readonly number[];
  /** The index of a network device, or −errno. */
  deviceIndex(name: string): number;
  /** The name of a network device; undefined when there is none of that index. */
  deviceName(index: number): string | undefined;
}

export interface RestoreFilesOptions {
  /** `--inherit-fd`: descriptors of the controller by key. */
  readonly inheritFds: readonly { readonly fd: number; readonly key: string }[];
  readonly skipFileRwxCheck: boolean;
  /** --ext-unix-sk. */
  readonly externalUnixSockets?: boolean;
  /** Hands the master side of a terminal to a client (orphan_pts_master of RPC). Throws CriuError. */
  readonly offerMaster?: ((fd: number) => void) | undefined;
  /** --tcp-established and --tcp-close. */
  readonly tcpEstablished?: boolean;
  readonly tcpClose?: boolean;
  /** --shell-job. */
  readonly shellJob: boolean;
  readonly evasiveDevices: boolean;
  readonly fileValidation: 'filesize' | 'buildid';
}

/** What holds for a restore as a whole. */
export interface RestoreContext {
  readonly tree: RestoreTree;
  readonly images: ImageDir;
  readonly options: RestoreFilesOptions;
  readonly system: RestoreSystem;
  readonly controllerPid: number;
  /** The controller's descriptor for an `--inherit-fd` key. */
  inherited(key: string): number | undefined;
  /** The argument for openat(2) that reaches a file of files.img, also one that has no name any more. */
  pathOf(fileId: number): StepArg;
  /** The controller's descriptor (O_PATH) of a file that has no name any more. */
  holderOf(fileId: number): LaterNumber;
  /** Tells what is different from before. */
  warn(text: string): void;
  /** A state of the kind for the whole restore, made when first asked for. */
  state<T>(key: string, make: () => T): T;
}

/** The task that makes a description, and its table. */
export interface RestoreHome {
  readonly task: RestoreTask;
  readonly table: FdTablePlan;
  readonly context: RestoreContext;
  /** O_CLOEXEC when the description's first descriptor wants it, else 0: to be passed to the call that makes it. */
  cloexec(fileId: number): number;
  /** The descriptor of a file that `needs` names. */
  fdOf(fileId: number): number;
  /** Says that description `fileId` now exists as descriptor `fd` of the table. */
  made(fileId: number, fd: number, isCloexec: boolean): void;
  /** Fetches a descriptor of the controller; returns its number in the table. It has FD_CLOEXEC. */
  pull(controllerFd: number | LaterNumber): number;
}

export interface FileKind {
  readonly type: FdTypes;
  /** Pure. For any file exactly one kind says yes. */
  recognise(file: OpenFile): boolean;
  /** The entry for files.img, or why there can't be one. Called once per open file description. */
  dump(file: OpenFile, id: number, dump: KindDump): DumpResult;
  /** After all descriptions are known; may change `entry` (epoll: which files are watched). */
  complete?(entry: FileEntry, holder: DescriptorOf, task: FrozenTask, dump: KindDump): void;
  /** Once, after all `complete`s: what only shows when all descriptions of the tree are known. */
  afterAll?(dump: KindDump): void;

  /** Id of a regular file entry that is nothing but the path of this one, and not checked by itself. */
  pathEntry?(entry: FileEntry): number | undefined;
  /** What the controller has to do itself, once, before any op is added to a program. Throws CriuError. */
  prepare?(context: RestoreContext): void;
  /** Lets go of what tasks have fetched, and fetches what `resume` needs: when all are complete and none runs yet. */
  settle?(context: RestoreContext): void;
  /** Talks to others again: the last thing before the tasks run, when nothing can fail any more. Throws CriuError. */
  resume?(context: RestoreContext): void;
  /** Lets go of all that `prepare` and `settle` made: when the tasks run, or never will. May be called twice. */
  release?(context: RestoreContext): void;
  /** Where pairs of them may be thousands: those about which there is nothing special. */
  readonly pairs?: PairKind;
  /** Descriptions with the same key are made together, by one task (both ends of a pipe). Default: each alone. */
  groupKey?(entry: FileEntry, context: RestoreContext): number;
  /** Pid of the task that made it, which others may see, or the first one that has it. Undefined: nobody can see it. */
  maker?(entry: FileEntry): number | 'first' | undefined;
  /** Ids of other files that have to exist in the home when this one is made: they are sent to it. */
  needs?(entry: FileEntry, context: RestoreContext): readonly number[];
  /** Ids of other files that have to be in the home when `finish` is planned; `home.fdOf` tells where. */
  needsAtLast?(entry: FileEntry): readonly number[];
  /** Pure but for `context.system`: what speaks against restoring it, before any process exists. */
  check?(entry: FileEntry, context: RestoreContext): CriuErrorFields[];
  /** Plans the steps that make these descriptions (a group, by id); calls `home.made` for each. */
  create(entries: readonly FileEntry[], home: RestoreHome): void;
  /** Plans late steps in the home task, when all descriptions of all tasks are in place; `fd` is one of its numbers. */
  finish?(entry: FileEntry, fd: number, home: RestoreHome): void;
  /** Owner and signal of the description; undefined when the kind keeps none. */
  fown(entry: FileEntry, tree: RestoreTree): FownEntry | undefined;
  /** The O_* among which may be O_ASYNC, which is set after the owner. Default: those of a regular file entry. */
  statusFlags?(entry: FileEntry): number | undefined;
}
