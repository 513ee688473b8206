/**
 * Every kind of image file: its name, magic, message type and layout. The names, magics and layouts are CRIU's (criu
 * 4.2: criu/image-desc.c, criu/include/magic.h, lib/pycriu/images/images.py) and an interface between programs.
 *
 * Layouts:
 * - `entries`: messages, each after its size.
 * - `payload`: the same, but raw bytes follow each message; `payloadLength` tells how many.
 * - `pagemap`: a `pagemap_head`, then `pagemap_entry` messages.
 * - `ghost-file`: one message, then the content of the file, whole or in chunks.
 * - `ipc-msg`: after each queue its messages, each with its text.
 * - `raw`: no magic, no messages: another program's format.
 */
import { ApparmorEntry } from './gen/apparmor.ts';
import { AutofsEntry } from './gen/autofs.ts';
import { BinfmtMiscEntry } from './gen/binfmt-misc.ts';
import { BpfmapDataEntry } from './gen/bpfmap-data.ts';
import { BpfmapFileEntry } from './gen/bpfmap-file.ts';
import { CgroupEntry } from './gen/cgroup.ts';
import { CoreEntry, TaskKobjIdsEntry } from './gen/core.ts';
import { CpuinfoEntry } from './gen/cpuinfo.ts';
import { CredsEntry } from './gen/creds.ts';
import { EventfdFileEntry } from './gen/eventfd.ts';
import { EventpollFileEntry, EventpollTfdEntry } from './gen/eventpoll.ts';
import { ExtFileEntry } from './gen/ext-file.ts';
import { FdinfoEntry, FileEntry } from './gen/fdinfo.ts';
import { IrmapCacheEntry } from './gen/fh.ts';
import { FifoEntry } from './gen/fifo.ts';
import { FileLockEntry } from './gen/file-lock.ts';
import { FsEntry } from './gen/fs.ts';
import { FanotifyFileEntry, FanotifyMarkEntry, InotifyFileEntry, InotifyWdEntry } from './gen/fsnotify.ts';
import { type GhostChunkEntry, GhostFileEntry } from './gen/ghost-file.ts';
import { InventoryEntry } from './gen/inventory.ts';
import { type IpcMsg, IpcMsgEntry } from './gen/ipc-msg.ts';
import { IpcSemEntry } from './gen/ipc-sem.ts';
import { IpcShmEntry } from './gen/ipc-shm.ts';
import { IpcVarEntry } from './gen/ipc-var.ts';
import { MemfdInodeEntry } from './gen/memfd.ts';
import { MmEntry } from './gen/mm.ts';
import { MntEntry } from './gen/mnt.ts';
import { NetDeviceEntry, NetnsEntry } from './gen/netdev.ts';
import { NsFileEntry } from './gen/ns.ts';
import { PacketSockEntry } from './gen/packet-sock.ts';
import { PagemapEntry, type PagemapHead } from './gen/pagemap.ts';
import { PidfdEntry } from './gen/pidfd.ts';
import { PidnsEntry } from './gen/pidns.ts';
import { PipeEntry } from './gen/pipe.ts';
import { PipeDataEntry } from './gen/pipe-data.ts';
import { PstreeEntry } from './gen/pstree.ts';
import { RegFileEntry } from './gen/regfile.ts';
import { RemapFilePathEntry } from './gen/remap-file-path.ts';
import { RlimitEntry } from './gen/rlimit.ts';
import { SaEntry } from './gen/sa.ts';
import { SeccompEntry } from './gen/seccomp.ts';
import { SiginfoEntry } from './gen/siginfo.ts';
import { SignalfdEntry } from './gen/signalfd.ts';
import { InetSkEntry } from './gen/sk-inet.ts';
import { NetlinkSkEntry } from './gen/sk-netlink.ts';
import { SkPacketEntry } from './gen/sk-packet.ts';
import { UnixSkEntry } from './gen/sk-unix.ts';
import { StatsEntry } from './gen/stats.ts';
import { TcpStreamEntry } from './gen/tcp-stream.ts';
import { TimensEntry } from './gen/timens.ts';
import { ItimerEntry, PosixTimerEntry } from './gen/timer.ts';
import { TimerfdEntry } from './gen/timerfd.ts';
import { TtyDataEntry, TtyFileEntry, TtyInfoEntry } from './gen/tty.ts';
import { TunfileEntry } from './gen/tun.ts';
import { UsernsEntry } from './gen/userns.ts';
import { UtsnsEntry } from './gen/utsns.ts';
import { VmaEntry } from './gen/vma.ts';
import type { MessageType } from './message-type.ts';

/** First word of every image since version 1.1, except the inventory; the word of the kind follows. */
export const IMG_COMMON_MAGIC = 0x54564319;
/** The same for service files: statistics and the irmap cache. */
export const IMG_SERVICE_MAGIC = 0x55105940;
/** Value of inventory_entry.img_version: without and with the common magic. */
export const IMAGES_V1 = 1;
export const IMAGES_V1_1 = 2;

/** Name of the symbolic link to the images that pages may lie in as well: those of the dump before, or the base. */
export const PARENT_LINK = 'parent';
/** Name of the folder for pages of this dump that pagemaps refer to as if they were of a dump before. */
export const BASE_FOLDER = 'base';

/** A message and the raw bytes that follow it. */
export interface WithPayload<T> {
  message: T;
  payload: Uint8Array;
}

export interface GhostFile {
  message: GhostFileEntry;
  /** The whole content, when `message.chunks` is not set. */
  payload?: Uint8Array | undefined;
  /** The parts that are not holes, when `message.chunks` is set. */
  chunks?: WithPayload<GhostChunkEntry>[] | undefined;
}

export interface IpcMessageQueue {
  message: IpcMsgEntry;
  messages: WithPayload<IpcMsg>[];
}

export interface Pagemap {
  head: PagemapHead;
  entries: PagemapEntry[];
}

interface KindBase {
  /** As in CRIU: `%u`, `%lu`, `%d` and `%ld` decimal, `%x` hexadecimal, `%s` a word. */
  readonly fileName: string;
  readonly magic: number;
  /** The magic's name in CRIU, which crit shows: `PSTREE`. */
  readonly magicName: string;
  /** Has the service magic instead of the common one. */
  readonly isService?: true;
}

export interface EntriesKind<T> extends KindBase {
  readonly layout: 'entries';
  readonly type: MessageType<T>;
}

export interface PayloadKind<T> extends KindBase {
  readonly layout: 'payload';
  readonly type: MessageType<T>;
  // A method, not a function property: a table of kinds with different messages must type-check.
  payloadLength(message: T): number;
  /** The payload is filled up with zeros to a multiple of this. */
  readonly alignment: number;
}

export interface PagemapKind extends KindBase {
  readonly layout: 'pagemap';
  readonly type: MessageType<PagemapEntry>;
}

export interface GhostFileKind extends KindBase {
  readonly layout: 'ghost-file';
  readonly type: MessageType<GhostFileEntry>;
}

export interface IpcMsgKind extends KindBase {
  readonly layout: 'ipc-msg';
  readonly type: MessageType<IpcMsgEntry>;
}

export interface RawKind {
  readonly layout: 'raw';
  readonly fileName: string;
}

export type ImageKind =
  | EntriesKind<unknown>
  | PayloadKind<unknown>
  | PagemapKind
  | GhostFileKind
  | IpcMsgKind
  | RawKind;
/** All that are made of entries. */
export type FramedKind = Exclude<ImageKind, RawKind>;

function entries<T>(fileName: string, magicName: string, magic: number, type: MessageType<T>): EntriesKind<T> {
  return { layout: 'entries', fileName: `${fileName}.img`, magicName, magic, type };
}

function service<T>(fileName: string, magicName: string, magic: number, type: MessageType<T>): EntriesKind<T> {
  return { layout: 'entries', fileName, magicName, magic, type, isService: true };
}

function payload<T>(
  fileName: string,
  magicName: string,
  magic: number,
  type: MessageType<T>,
  payloadLength: (message: T) => number,
  alignment = 1,
): PayloadKind<T> {
  return { layout: 'payload', fileName: `${fileName}.img`, magicName, magic, type, payloadLength, alignment };
}

function pagemap(fileName: string): PagemapKind {
  return { layout: 'pagemap', fileName, magicName: 'PAGEMAP', magic: 0x56084025, type: PagemapEntry };
}

function raw(fileName: string): RawKind {
  return { layout: 'raw', fileName: `${fileName}.img` };
}

const pipeBytes = (message: PipeDataEntry): number => message.bytes;

/** All kinds; the key is the file name without number and `.img`. */
export const IMAGE_KINDS = {
  // The dump as a whole.
  inventory: entries('inventory', 'INVENTORY', 0x58313116, InventoryEntry),
  pstree: entries('pstree', 'PSTREE', 0x50273030, PstreeEntry),
  cpuinfo: entries('cpuinfo', 'CPUINFO', 0x61404013, CpuinfoEntry),
  cgroup: entries('cgroup', 'CGROUP', 0x59383330, CgroupEntry),
  seccomp: entries('seccomp', 'SECCOMP', 0x64413049, SeccompEntry),
  apparmor: entries('apparmor', 'APPARMOR', 0x59423047, ApparmorEntry),
  stats: service('stats-%s', 'STATS', 0x57093306, StatsEntry),
  'irmap-cache': service('irmap-cache', 'IRMAP_CACHE', 0x57004059, IrmapCacheEntry),

  // One process or thread; the number is its pid, of fdinfo the files_id.
  core: entries('core-%u', 'CORE', 0x55053847, CoreEntry),
  ids: entries('ids-%u', 'IDS', 0x54432030, TaskKobjIdsEntry),
  mm: entries('mm-%u', 'MM', 0x57492820, MmEntry),
  fs: entries('fs-%u', 'FS', 0x51403912, FsEntry),
  fdinfo: entries('fdinfo-%u', 'FDINFO', 0x56213732, FdinfoEntry),

  // Memory; the number is the pid, the shmid or the pages_id.
  pagemap: pagemap('pagemap-%lu.img'),
  'pagemap-shmem': pagemap('pagemap-shmem-%lu.img'),
  pages: raw('pages-%u'),

  // Open files.
  files: entries('files', 'FILES', 0x56303138, FileEntry),
  'remap-fpath': entries('remap-fpath', 'REMAP_FPATH', 0x59133954, RemapFilePathEntry),
  'ghost-file': {
    layout: 'ghost-file',
    fileName: 'ghost-file-%x.img',
    magicName: 'GHOST_FILE',
    magic: 0x52583605,
    type: GhostFileEntry,
  },
  filelocks: entries('filelocks', 'FILE_LOCKS', 0x54323616, FileLockEntry),
  'pipes-data': payload('pipes-data', 'PIPES_DATA', 0x56453709, PipeDataEntry, pipeBytes),
  'fifo-data': payload('fifo-data', 'FIFO_DATA', 0x59333054, PipeDataEntry, pipeBytes),
  'sk-queues': payload('sk-queues', 'SK_QUEUES', 0x56264026, SkPacketEntry, (message) => message.length),
  'tcp-stream': payload(
    'tcp-stream-%x',
    'TCP_STREAM',
    0x51465506,
    TcpStreamEntry,
    (message) => message.inq_len + message.outq_len,
  ),
  'tty-info': entries('tty-info', 'TTY_INFO', 0x59453036, TtyInfoEntry),
  'tty-data': entries('tty-data', 'TTY_DATA', 0x59413026, TtyDataEntry),
  memfd: entries('memfd', 'MEMFD_INODE', 0x48453499, MemfdInodeEntry),
  'bpfmap-data': payload(
    'bpfmap-data',
    'BPFMAP_DATA',
    0x64324033,
    BpfmapDataEntry,
    (message) => message.keys_bytes + message.values_bytes,
  ),

  // Namespaces; the number is the namespace id, of autofs and tmpfs-dev the device, of tmpfs the mount id.
  userns: entries('userns-%u', 'USERNS', 0x55474906, UsernsEntry),
  utsns: entries('utsns-%u', 'UTSNS', 0x54473203, UtsnsEntry),
  timens: entries('timens-%u', 'TIMENS', 0x43114433, TimensEntry),
  pidns: entries('pidns-%u', 'PIDNS', 0x61157326, PidnsEntry),
  mountpoints: entries('mountpoints-%u', 'MNTS', 0x55563928, MntEntry),
  autofs: entries('autofs-%u', 'AUTOFS', 0x49353943, AutofsEntry),
  'binfmt-misc': entries('binfmt-misc', 'BINFMT_MISC', 0x67343323, BinfmtMiscEntry),
  tmpfs: raw('tmpfs-%u.tar.gz'),
  'tmpfs-dev': raw('tmpfs-dev-%u.tar.gz'),
  'ipcns-var': entries('ipcns-var-%u', 'IPC_VAR', 0x53115007, IpcVarEntry),
  'ipcns-shm': payload(
    'ipcns-shm-%u',
    'IPCNS_SHM',
    0x46283044,
    IpcShmEntry,
    (message) => (message.in_pagemaps === true ? 0 : message.size),
    4,
  ),
  'ipcns-msg': {
    layout: 'ipc-msg',
    fileName: 'ipcns-msg-%u.img',
    magicName: 'IPCNS_MSG',
    magic: 0x55453737,
    type: IpcMsgEntry,
  },
  'ipcns-sem': payload('ipcns-sem-%u', 'IPCNS_SEM', 0x59573019, IpcSemEntry, (message) => message.nsems * 2, 8),
  netns: entries('netns-%u', 'NETNS', 0x55933752, NetnsEntry),
  netdev: entries('netdev-%u', 'NETDEV', 0x57373951, NetDeviceEntry),
  ifaddr: raw('ifaddr-%u'),
  route: raw('route-%u'),
  route6: raw('route6-%u'),
  rule: raw('rule-%u'),
  iptables: raw('iptables-%u'),
  ip6tables: raw('ip6tables-%u'),
  nftables: raw('nftables-%u'),
  'netns-ct': raw('netns-ct-%u'),
  'netns-exp': raw('netns-exp-%u'),

  // Older criu kept each kind of file in a file of its own; now they are in files.img.
  'reg-files': entries('reg-files', 'REG_FILES', 0x50363636, RegFileEntry),
  'ext-files': entries('ext-files', 'EXT_FILES', 0x59255641, ExtFileEntry),
  'ns-files': entries('ns-files', 'NS_FILES', 0x61394011, NsFileEntry),
  eventfd: entries('eventfd', 'EVENTFD_FILE', 0x44523722, EventfdFileEntry),
  eventpoll: entries('eventpoll', 'EVENTPOLL_FILE', 0x45023858, EventpollFileEntry),
  'eventpoll-tfd': entries('eventpoll-tfd', 'EVENTPOLL_TFD', 0x44433746, EventpollTfdEntry),
  signalfd: entries('signalfd', 'SIGNALFD', 0x57323820, SignalfdEntry),
  timerfd: entries('timerfd', 'TIMERFD', 0x50493712, TimerfdEntry),
  inotify: entries('inotify', 'INOTIFY_FILE', 0x48424431, InotifyFileEntry),
  'inotify-wd': entries('inotify-wd', 'INOTIFY_WD', 0x54562009, InotifyWdEntry),
  fanotify: entries('fanotify', 'FANOTIFY_FILE', 0x55096122, FanotifyFileEntry),
  'fanotify-mark': entries('fanotify-mark', 'FANOTIFY_MARK', 0x56506035, FanotifyMarkEntry),
  pipes: entries('pipes', 'PIPES', 0x56513555, PipeEntry),
  fifo: entries('fifo', 'FIFO', 0x58364939, FifoEntry),
  unixsk: entries('unixsk', 'UNIXSK', 0x54373943, UnixSkEntry),
  inetsk: entries('inetsk', 'INETSK', 0x56443851, InetSkEntry),
  packetsk: entries('packetsk', 'PACKETSK', 0x60454618, PacketSockEntry),
  netlinksk: entries('netlinksk', 'NETLINK_SK', 0x58005614, NetlinkSkEntry),
  tty: entries('tty', 'TTY_FILES', 0x59433025, TtyFileEntry),
  tunfile: entries('tunfile', 'TUNFILE', 0x57143751, TunfileEntry),
  'bpfmap-file': entries('bpfmap-file', 'BPFMAP_FILE', 0x57506142, BpfmapFileEntry),
  pidfd: entries('pidfd', 'PIDFD', 0x54435556, PidfdEntry),

  // Older criu kept these parts of a task in files of their own; now they are in core and mm.
  creds: entries('creds-%u', 'CREDS', 0x54023547, CredsEntry),
  vmas: entries('vmas-%u', 'VMAS', 0x54123737, VmaEntry),
  sigacts: entries('sigacts-%u', 'SIGACT', 0x55344201, SaEntry),
  'signal-s': entries('signal-s-%u', 'SIGNAL', 0x59255647, SiginfoEntry),
  'signal-p': entries('signal-p-%u', 'SIGNAL', 0x59255647, SiginfoEntry),
  itimers: entries('itimers-%u', 'ITIMERS', 0x57464056, ItimerEntry),
  'posix-timers': entries('posix-timers-%u', 'POSIX_TIMERS', 0x52603957, PosixTimerEntry),
  rlimit: entries('rlimit-%u', 'RLIMIT', 0x57113925, RlimitEntry),
  'binfmt-misc-old': entries('binfmt-misc-%u', 'BINFMT_MISC', 0x67343323, BinfmtMiscEntry),
} as const satisfies Record<string, ImageKind>;

export type ImageKindName = keyof typeof IMAGE_KINDS;

type KindOf<K extends ImageKindName> = (typeof IMAGE_KINDS)[K];

/** What is in an image of kind `K`. */
export type ContentOf<K extends ImageKindName> =
  KindOf<K> extends EntriesKind<infer T>
    ? T[]
    : KindOf<K> extends PayloadKind<infer T>
      ? WithPayload<T>[]
      : KindOf<K> extends PagemapKind
        ? Pagemap
        : KindOf<K> extends { layout: 'ghost-file' }
          ? GhostFile
          : KindOf<K> extends { layout: 'ipc-msg' }
            ? IpcMessageQueue[]
            : Uint8Array;

/** Kinds that are lists, so that elements can be written one after the other. */
export type ListKindName = { [K in ImageKindName]: ContentOf<K> extends unknown[] ? K : never }[ImageKindName];
export type ElementOf<K extends ListKindName> = ContentOf<K> extends (infer E)[] ? E : never;

/** The name of an image file: `imageFileName('core', 12)` is `core-12.img`. */
export function imageFileName(kind: ImageKindName, id?: number | string): string {
  const { fileName } = IMAGE_KINDS[kind];
  // The format is %u, %d, %lu, %x or %s. A regular expression would have to be compiled first.
  const at = fileName.indexOf('%');
  if (at < 0) return fileName;
  if (id === undefined) throw new TypeError(`an image of kind ${kind} needs a number`);
  const letters = fileName[at + 1] === 'l' ? 2 : 1;
  const isHex = fileName[at + 1] === 'x' && typeof id === 'number';
  return fileName.slice(0, at) + (isHex ? id.toString(16) : id) + fileName.slice(at + 1 + letters);
}

export interface ParsedFileName {
  readonly kind: ImageKindName;
  /** The number or word in the name, as it stands there; undefined when the kind has none. */
  readonly id: string | undefined;
}

/** The kind of an image file by its name; undefined when no image is called so. */
export function parseImageFileName(name: string): ParsedFileName | undefined {
  for (const kind of Object.keys(IMAGE_KINDS) as ImageKindName[]) {
    const id = idIn(IMAGE_KINDS[kind].fileName, name);
    if (id !== undefined) return { kind, id: id === '' ? undefined : id };
  }
  return undefined;
}

const ID_FORMS: Readonly<Record<string, RegExp>> = { u: /^[0-9]+$/, d: /^-?[0-9]+$/, x: /^[0-9a-f]+$/, s: /^[a-z]+$/ };

/** What stands for the number in a file name; '' when there is none in the form. */
function idIn(form: string, name: string): string | undefined {
  const match = /%l?([udxs])/.exec(form);
  if (match === null) return form === name ? '' : undefined;
  const before = form.slice(0, match.index);
  const after = form.slice(match.index + match[0].length);
  if (name.length <= before.length + after.length || !name.startsWith(before) || !name.endsWith(after))
    return undefined;
  const id = name.slice(before.length, name.length - after.length);
  return ID_FORMS[match[1] ?? '']?.test(id) === true ? id : undefined;
}
