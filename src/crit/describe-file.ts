/** Open files in words for people, for `tree` and `report`. All texts are byte strings and come from images: untrusted. */
import type { FileEntry } from '../image/gen/fdinfo.ts';
import { FdTypes } from '../image/gen/fdinfo.ts';
import type { InetSkEntry } from '../image/gen/sk-inet.ts';
import type { UnixSkEntry } from '../image/gen/sk-unix.ts';
import type { TimerfdEntry } from '../image/gen/timerfd.ts';
import { TtyType } from '../image/gen/tty.ts';
import { tryFormatAddress, wordOf } from './field-formats.ts';
import type { ImageFolder } from './image-folder.ts';

const O_ACCMODE = 3;
const O_APPEND = 0o2000;
const O_NONBLOCK = 0o4000;
const O_DIRECTORY = 0o200000;
const O_PATH = 0o10000000;

/** What groups files in a report. */
export type FileGroup = 'file' | 'pipe' | 'socket' | 'terminal' | 'event' | 'other';

export interface FileText {
  readonly group: FileGroup;
  /** One or two words: "file", "TCP socket". */
  readonly kind: string;
  /** What makes it this one: a path, addresses. May be empty. */
  readonly name: string;
  /** More about it: "read and write, position 12". May be empty. */
  readonly detail: string;
}

export function describeFile(file: FileEntry, folder: ImageFolder): FileText {
  const {
    reg,
    pipe,
    fifo,
    usk,
    isk,
    efd,
    epfd,
    sgfd,
    tfd,
    ify,
    ffy,
    tty,
    memfd,
    nsf,
    pidfd,
    tunf,
    bpf,
    nlsk,
    psk,
    io_uring_ext,
  } = file;
  if (reg !== undefined) {
    const kind = (reg.flags & O_DIRECTORY) !== 0 ? 'directory' : (reg.flags & O_PATH) !== 0 ? 'path' : 'file';
    const position = reg.pos > 0 && reg.pos < 2 ** 63 ? [`position ${reg.pos}`] : [];
    const deleted = deletion(file.id, folder);
    return { group: 'file', kind, name: reg.name, detail: joined([...access(reg.flags), ...position, ...deleted]) };
  }
  if (pipe !== undefined) {
    return {
      group: 'pipe',
      kind: 'pipe',
      name: String(pipe.pipe_id),
      detail: joined([...access(pipe.flags), ...waiting(pipe.pipe_id, folder)]),
    };
  }
  if (fifo !== undefined) {
    const path = folder.openFiles.get(fifo.regf_id ?? file.id)?.reg?.name ?? '';
    return { group: 'pipe', kind: 'FIFO', name: path, detail: '' };
  }
  if (usk !== undefined) return describeUnixSocket(usk, folder);
  if (isk !== undefined) return describeInetSocket(isk);
  if (nlsk !== undefined) return simple('socket', 'netlink socket', `protocol ${nlsk.protocol}`, `port ${nlsk.portid}`);
  if (psk !== undefined)
    return simple('socket', 'packet socket', `interface ${psk.ifindex}`, `protocol 0x${psk.protocol.toString(16)}`);
  if (tty !== undefined) return describeTerminal(tty.tty_info_id, access(tty.flags), folder);
  if (efd !== undefined) return simple('event', 'eventfd', '', `counter ${efd.counter}`);
  if (epfd !== undefined)
    return simple('event', 'epoll', '', `watches ${list(epfd.tfd.map(({ tfd: fd }) => `fd ${fd}`))}`);
  if (sgfd !== undefined) return simple('event', 'signalfd', '', `signals ${signals(sgfd.sigmask)}`);
  if (tfd !== undefined) return simple('event', 'timerfd', '', timer(tfd));
  if (ify !== undefined) return simple('event', 'inotify', '', plural(ify.wd.length, 'watch', 'watches'));
  if (ffy !== undefined) return simple('event', 'fanotify', '', plural(ffy.mark.length, 'mark'));
  if (memfd !== undefined) {
    const inode = folder.tryRead('memfd')?.find(({ inode_id }) => inode_id === memfd.inode_id);
    const size = inode === undefined ? '' : byteText(inode.size);
    return simple('file', 'memfd', inode?.name ?? String(memfd.inode_id), joined([...access(memfd.flags), size]));
  }
  if (nsf !== undefined) return simple('other', 'namespace', namespaceName(nsf.ns_cflag), `number ${nsf.ns_id}`);
  if (pidfd !== undefined)
    return simple('other', 'pidfd', pidfd.nspid < 0 ? 'a task that is gone' : `task ${pidfd.nspid}`, '');
  if (tunf !== undefined) return simple('other', 'tun', tunf.netdev ?? '', '');
  if (io_uring_ext !== undefined)
    return simple('other', 'io_uring', '', plural(io_uring_ext.sq_entries, 'entry', 'entries'));
  if (bpf !== undefined) return simple('other', 'BPF map', bpf.map_name, plural(bpf.max_entries, 'entry', 'entries'));
  return simple('other', typeName(file.type), '', '');
}

export function typeName(type: number): string {
  return (Object.entries(FdTypes).find(([, number]) => number === type)?.[0] ?? `type ${type}`).toLowerCase();
}

function simple(group: FileGroup, kind: string, name: string, detail: string): FileText {
  return { group, kind, name, detail };
}

function access(flags: number): string[] {
  const words = [['read', 'write', 'read and write'][flags & O_ACCMODE] ?? 'no access'];
  if ((flags & O_PATH) !== 0) return [];
  if ((flags & O_APPEND) !== 0) words.push('append');
  if ((flags & O_NONBLOCK) !== 0) words.push('not blocking');
  return words;
}

/** Whether the file has no name any more. */
function deletion(id: number, folder: ImageFolder): string[] {
  const remap = folder.tryRead('remap-fpath')?.find(({ orig_id }) => orig_id === id);
  return remap === undefined ? [] : ['deleted'];
}

function waiting(pipeId: number, folder: ImageFolder): string[] {
  const data = folder.tryRead('pipes-data')?.find(({ message }) => message.pipe_id === pipeId);
  return data === undefined || data.message.bytes === 0 ? [] : [`${byteText(data.message.bytes)} waiting`];
}

function describeUnixSocket(socket: UnixSkEntry, folder: ImageFolder): FileText {
  const kind = `UNIX ${(wordOf('sk', 'type', socket.type) ?? `type ${socket.type}`).toLowerCase()} socket`;
  const peer = [...folder.openFiles.values()].find(({ usk }) => usk !== undefined && usk.ino === socket.peer);
  const details: string[] = [];
  if (wordOf('sk', 'state', socket.state) === 'LISTEN') details.push(`listens, backlog ${socket.backlog}`);
  if (socket.pending_ext.length > 0) details.push(`${socket.pending_ext.length} to be accepted`);
  if (socket.peer !== 0) details.push(`to ${peer?.usk === undefined ? `inode ${socket.peer}` : unixName(peer.usk)}`);
  const queued = (folder.tryRead('sk-queues') ?? []).filter(({ message }) => message.id_for === socket.id);
  const bytes = queued.reduce((sum, { message }) => sum + message.length, 0);
  if (bytes > 0) details.push(`${byteText(bytes)} waiting`);
  return { group: 'socket', kind, name: unixName(socket), detail: joined(details) };
}

/** Abstract names with "@" in front; sockets without a name by their inode. */
function unixName({ name, ino }: UnixSkEntry): string {
  if (name.length === 0) return `inode ${ino}`;
  const text = Buffer.from(name).toString('latin1').replace(/\0+$/, '');
  return text.startsWith('\0') ? `@${text.slice(1)}` : text;
}

function describeInetSocket(socket: InetSkEntry): FileText {
  const protocol = wordOf('sk', 'proto', socket.proto) ?? `protocol ${socket.proto}`;
  const version = wordOf('sk', 'family', socket.family) === 'INET6' ? ' (IPv6)' : '';
  const source = endpoint(socket.src_addr, socket.src_port);
  const state = wordOf('sk', 'state', socket.state) ?? String(socket.state);
  const isConnected = socket.dst_port !== 0;
  const name = isConnected ? `${source} to ${endpoint(socket.dst_addr, socket.dst_port)}` : source;
  const detail = state === 'LISTEN' ? `LISTEN, backlog ${socket.backlog}` : protocol === 'TCP' ? state : '';
  return { group: 'socket', kind: `${protocol} socket${version}`, name, detail };
}

function endpoint(words: readonly number[], port: number): string {
  const address = tryFormatAddress(words) ?? 'unknown address';
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function describeTerminal(id: number, words: string[], folder: ImageFolder): FileText {
  const info = folder.tryRead('tty-info')?.find((entry) => entry.id === id);
  const type = Object.entries(TtyType).find(([, number]) => number === info?.type)?.[0] ?? 'unknown';
  const index = info?.pty === undefined ? '' : ` ${info.pty.index}`;
  const size = info?.winsize === undefined ? [] : [`${info.winsize.ws_col} x ${info.winsize.ws_row}`];
  const session = info === undefined || info.sid === 0 ? [] : [`session ${info.sid}`];
  return {
    group: 'terminal',
    kind: 'terminal',
    name: `${type.toLowerCase()}${index}`,
    detail: joined([...words, ...size, ...session]),
  };
}

function timer({ vsec, vnsec, isec, insec }: TimerfdEntry): string {
  const left = Number(vsec) + Number(vnsec) / 1e9;
  const every = Number(isec) + Number(insec) / 1e9;
  if (left === 0 && every === 0) return 'not armed';
  return `in ${left.toFixed(3)} s${every === 0 ? '' : `, then every ${every.toFixed(3)} s`}`;
}

function signals(mask: bigint): string {
  const numbers: string[] = [];
  for (let signal = 1; signal <= 64; signal++)
    if (((BigInt(mask) >> BigInt(signal - 1)) & 1n) === 1n) numbers.push(String(signal));
  return list(numbers);
}

const NAMESPACES: readonly (readonly [flag: number, name: string])[] = [
  [0x20000, 'mount'],
  [0x2000000, 'cgroup'],
  [0x4000000, 'UTS'],
  [0x8000000, 'IPC'],
  [0x10000000, 'user'],
  [0x20000000, 'PID'],
  [0x40000000, 'network'],
  [0x80, 'time'],
];

function namespaceName(flag: number): string {
  return NAMESPACES.find(([known]) => known === flag)?.[1] ?? `0x${flag.toString(16)}`;
}

function joined(parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join(', ');
}

/** The first few. */
function list(items: readonly string[]): string {
  if (items.length === 0) return 'nothing';
  return items.length <= 8 ? items.join(', ') : `${items.slice(0, 8).join(', ')} and ${items.length - 8} more`;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** "4.0 KiB". */
export function byteText(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  let size = bytes;
  let unit = '';
  for (const next of ['KiB', 'MiB', 'GiB', 'TiB', 'PiB']) {
    if (size < 1024) break;
    size /= 1024;
    unit = next;
  }
  return `${size < 10 ? size.toFixed(1) : Math.round(size)} ${unit}`;
}
