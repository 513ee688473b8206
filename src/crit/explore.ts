/**
 * `crit x DIR ps|fds|mems|rss`: what is in a folder of images, line by line, in the form of CRIU's crit, because scripts
 * read it. `crit tree` is the one for people.
 */
import { CriuError } from '../base/errors.ts';
import type { FdinfoEntry, FileEntry } from '../image/gen/fdinfo.ts';
import { FdTypes } from '../image/gen/fdinfo.ts';
import type { PstreeEntry } from '../image/gen/pstree.ts';
import type { VmaEntry } from '../image/gen/vma.ts';
import { imageFileName, type ListKindName } from '../image/image-kinds.ts';
import type { BytesReader } from '../image/image-reader.ts';
import { completeMm, readFiles } from '../image/old-images.ts';
import { PAGE_BYTES, pagemapEntryPages } from '../image/pagemap.ts';
import {
  VMA_ANON_SHARED,
  VMA_AREA_REGULAR,
  VMA_AREA_SOCKET,
  VMA_AREA_STACK,
  VMA_AREA_SYSVIPC,
  VMA_AREA_VDSO,
  VMA_AREA_VSYSCALL,
  VMA_FILE_PRIVATE,
  VMA_FILE_SHARED,
} from '../image/vma-status.ts';
import { encodeQuotedPrintable } from './text-codings.ts';

const MAP_GROWSDOWN = 0x100;

export const EXPLORATIONS = ['ps', 'fds', 'mems', 'rss'] as const;
export type Exploration = (typeof EXPLORATIONS)[number];

/** The lines, as byte strings. Throws a CriuError when an image is missing or damaged. */
export function explore(images: BytesReader, what: Exploration): string[] {
  const explorer = new Explorer(images);
  return explorer[what]();
}

class Explorer {
  private readonly images: BytesReader;
  private readonly processes: readonly PstreeEntry[];
  private cachedFiles: ReadonlyMap<number, FileEntry> | undefined;
  private readonly sharedIds = new Map<number, number>();

  constructor(images: BytesReader) {
    this.images = images;
    this.processes = images.tryRead('pstree') ?? missing('pstree');
  }

  ps(): string[] {
    const titles = ['PID', 'PGID', 'SID'].map((title) => title.padStart(7)).join('');
    const children = Map.groupBy(this.processes, ({ ppid }) => ppid);
    const list = ({ pid, pgid, sid }: PstreeEntry, depth: number): string[] => {
      const comm = this.one('core', pid).tc?.comm ?? '';
      const numbers = [pid, pgid, sid].map((number) => String(number).padStart(7)).join('');
      const below = (children.get(pid) ?? []).flatMap((child) => list(child, depth + 1));
      return [`${numbers}   ${' '.repeat(4 * depth)}${comm}`, ...below];
    };
    return [`${titles}   COMM`, ...(children.get(0) ?? []).flatMap((root) => list(root, 0))];
  }

  fds(): string[] {
    return this.processes.flatMap(({ pid }) => {
      const ids = this.images.tryFirst('ids', pid) ?? this.one('core', pid).ids;
      // A dead task has neither descriptors nor folders.
      if (ids === undefined) return [String(pid)];
      const table = this.images.tryRead('fdinfo', ids.files_id) ?? [];
      const { cwd_id, root_id } = this.one('fs', pid);
      return [
        String(pid),
        ...table.map((fd) => `\t${String(fd.fd).padStart(7)}: ${this.fileText(fd)}`),
        `\t    cwd: ${this.regularFile(cwd_id)}`,
        `\t   root: ${this.regularFile(root_id)}`,
      ];
    });
  }

  mems(): string[] {
    return this.alive().flatMap(({ pid, mm }) => [
      String(pid),
      `\t${'exe'.padEnd(36)}    ${this.regularFile(mm.exe_file_id)}`,
      ...mm.vmas.map((vma) => this.mapping(vma)),
    ]);
  }

  rss(): string[] {
    return this.alive().flatMap(({ pid, mm: { vmas } }) => {
      const { entries } = this.images.tryRead('pagemap', pid) ?? missing('pagemap', pid);
      const lines = [String(pid)];
      let next = 0;
      let shown = -1;
      for (const entry of entries) {
        const pages = pagemapEntryPages(entry);
        while (next < vmas.length && (vmas[next]?.end ?? 0) <= entry.vaddr) next++;
        let text = '';
        for (
          let vma = vmas[next];
          vma !== undefined && vma.start < entry.vaddr + pages * PAGE_BYTES;
          vma = vmas[++next]
        ) {
          text += next === shown ? ' ~' : this.mappingSize(vma);
          shown = next;
          text += `\n\t${' '.repeat(23)}`;
        }
        next = Math.max(next - 1, 0);
        lines.push(`${`\t${hex(entry.vaddr)} / ${String(pages).padEnd(8)}`.padEnd(24)}${text}`);
      }
      return lines;
    });
  }

  private mappingSize(vma: VmaEntry): string {
    const pages = Math.floor((vma.end - vma.start) / PAGE_BYTES);
    const file = (vma.status & (VMA_FILE_PRIVATE | VMA_FILE_SHARED)) === 0 ? '' : ` ${this.regularFile(vma.shmid)}`;
    return ` ${hex(vma.start).padStart(8, '0')} / ${String(pages).padEnd(8)}${file}`;
  }

  private mapping(vma: VmaEntry): string {
    const prot = ['r', 'w', 'x'].map((letter, bit) => ((vma.prot & (1 << bit)) === 0 ? '-' : letter)).join('');
    const range = `${hex(vma.start).padStart(8, '0')}-${hex(vma.end).padStart(8, '0')}`;
    const isRegular = (vma.status & VMA_AREA_REGULAR) !== 0;
    return `\t${range.padEnd(36)}${prot}${this.mappingName(vma)}${isRegular ? '' : ' *'}`;
  }

  private mappingName(vma: VmaEntry): string {
    const has = (bits: number) => (vma.status & bits) !== 0;
    if (has(VMA_AREA_SYSVIPC)) return ` ips[${this.sharedId(vma.shmid)}]`;
    if (has(VMA_ANON_SHARED)) return ` shmem[${this.sharedId(vma.shmid)}]`;
    if (has(VMA_AREA_SOCKET)) {
      const kind = this.files.get(vma.shmid)?.io_uring_ext === undefined ? 'packet' : 'io_uring';
      return ` ${kind}[${this.sharedId(vma.shmid)}]`;
    }
    if (has(VMA_FILE_PRIVATE | VMA_FILE_SHARED)) {
      const offset = vma.pgoff === 0 ? '' : ` + 0x${hex(vma.pgoff)}`;
      return ` ${this.regularFile(vma.shmid)}${offset}${has(VMA_FILE_SHARED) ? ' (s)' : ''}`;
    }
    if (has(VMA_AREA_STACK)) return ' [stack]';
    if (has(VMA_AREA_VSYSCALL)) return ' [vsyscall]';
    if (has(VMA_AREA_VDSO)) return ' [vdso]';
    return (vma.flags & MAP_GROWSDOWN) === 0 ? '' : ' [stack?]';
  }

  /** Shared memory is numbered in the order in which it is met. */
  private sharedId(id: number): string {
    const number = this.sharedIds.get(id) ?? this.sharedIds.size + 1;
    this.sharedIds.set(id, number);
    return hex(number);
  }

  private fileText({ type, id }: FdinfoEntry): string {
    const file = this.files.get(id);
    switch (type) {
      case FdTypes.REG:
        return this.regularFile(id);
      case FdTypes.PIPE:
        return `pipe[${file?.pipe?.pipe_id ?? '?'}]`;
      case FdTypes.UNIXSK: {
        if (file?.usk === undefined) return 'unix[?]';
        const { ino, peer, name } = file.usk;
        return `unix[${ino} (${peer})${name.length === 0 ? '' : ` ${encodeQuotedPrintable(name)}`}]`;
      }
      default:
        return `${Object.entries(FdTypes).find(([, number]) => number === type)?.[0] ?? type}.${id}`;
    }
  }

  private regularFile(id: number): string {
    const name = this.files.get(id)?.reg?.name;
    return name === undefined || name === '' ? 'unknown path' : name;
  }

  private get files(): ReadonlyMap<number, FileEntry> {
    this.cachedFiles ??= new Map(readFiles(this.images).map((file) => [file.id, file]));
    return this.cachedFiles;
  }

  /** Tasks that have memory. */
  private alive() {
    return this.processes.flatMap(({ pid }) => {
      const mm = this.images.tryFirst('mm', pid);
      return mm === undefined ? [] : [{ pid, mm: completeMm(this.images, pid, mm) }];
    });
  }

  private one<K extends ListKindName>(kind: K, id: number) {
    return this.images.tryFirst(kind, id) ?? missing(kind, id);
  }
}

function hex(number: number): string {
  return BigInt(number).toString(16);
}

function missing(kind: ListKindName | 'pagemap', id?: number): never {
  throw new CriuError({ object: imageFileName(kind, id), action: 'there is no such image' });
}
