/**
 * BPF maps (man 2 bpf): tables of pairs in the kernel, shared by programs of the kernel and of users.
 *
 * criu makes a map and fills it; each description of the image is another one of that map, which the tasks fetch. So
 * descriptions of one map stay descriptions of one map.
 *
 * Lost: that somebody else has the same map too (a BPF program, a pin in bpffs, another process): the restored one is a
 * map of its own, with a new id. And type information (BTF). Both are said in the log.
 */
import { CriuError, type CriuErrorFields } from '../../../base/errors.ts';
import type { BpfmapFileEntry } from '../../../image/gen/bpfmap-file.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import {
  BPF_F_RDONLY,
  BPF_F_WRONLY,
  BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_LPM_TRIE,
  BPF_MAP_TYPE_LRU_HASH,
  BPF_MAP_TYPE_LRU_PERCPU_HASH,
  BPF_MAP_TYPE_PERCPU_ARRAY,
  BPF_MAP_TYPE_PERCPU_HASH,
} from '../../../linux/abi/bpf.ts';
import { errnoName } from '../../../linux/abi/errno.ts';
import { O_ACCMODE, O_RDONLY, O_WRONLY } from '../../../linux/abi/fcntl.ts';
import { possibleCpus } from '../../../linux/cpus.ts';
import {
  type MapContent,
  tryCreateMap,
  tryFillMap,
  tryFreezeMap,
  tryMapInfo,
  tryOpenMap,
  tryReadMap,
} from '../../../linux/syscalls/bpf.ts';
import { close } from '../../../linux/syscalls/fs.ts';
import type { BpfMapInfo } from '../../../proc/fdinfo-types.ts';
import type { DumpResult, FileKind, KindDump, OpenFile, RestoreContext } from '../file-kind.ts';
import { filesOfType } from '../files-of-type.ts';

/** Types that are a set of pairs, and whether each CPU has a value of its own. */
const IS_PER_CPU: ReadonlyMap<number, boolean> = new Map([
  [BPF_MAP_TYPE_HASH, false],
  [BPF_MAP_TYPE_ARRAY, false],
  [BPF_MAP_TYPE_LRU_HASH, false],
  [BPF_MAP_TYPE_LPM_TRIE, false],
  [BPF_MAP_TYPE_PERCPU_HASH, true],
  [BPF_MAP_TYPE_PERCPU_ARRAY, true],
  [BPF_MAP_TYPE_LRU_PERCPU_HASH, true],
]);

export const bpfMap: FileKind = {
  type: FdTypes.BPFMAP,

  recognise: (file) => file.link === 'anon_inode:bpf-map',

  dump: (file, id, dump) => dumpMap(file, id, dump),

  check: ({ bpf }, context) => (bpf === undefined ? [] : findProblems(bpf, context)),

  prepare: (context) => madeMaps(context).make(context),

  release: (context) => madeMaps(context).release(),

  create([entry], home) {
    if (entry?.bpf === undefined) return;
    const { id } = entry.bpf;
    home.made(id, home.pull({ later: () => madeMaps(home.context).descriptor(id) }), true);
  },

  fown: (entry) => entry.bpf?.fown,

  statusFlags: (entry) => entry.bpf?.flags,
};

function dumpMap(file: OpenFile, id: number, dump: KindDump): DumpResult {
  if (file.fd < 0) return { unsupported: 'it is a mapping of a BPF map' };
  const map = file.fdinfo.bpfMap;
  const info = tryMapInfo(file.localFd);
  if (map === undefined || typeof info === 'number') {
    const why = typeof info === 'number' ? ` (bpf: ${errnoName(-info)})` : '';
    return { unsupported: `the kernel does not tell what this BPF map is${why}` };
  }
  if (!IS_PER_CPU.has(map.type)) {
    return { unsupported: `it is a BPF map of type ${map.type}, whose content cannot be read and written as pairs` };
  }
  const name = `BPF map ${info.id} '${info.name}'`;
  if (dump.isFirst(`bpf-map ${info.id}`)) {
    const content = readContent(info.id, map);
    if (typeof content === 'number') return { unsupported: `its content cannot be read (bpf: ${errnoName(-content)})` };
    addContent(info.id, content, dump);
    dump.warn(`${name} becomes a map of its own: programs, pins and processes outside of the tree keep the old one`);
    if (info.btfId !== 0) dump.warn(`${name} loses its type information (BTF)`);
  }
  return {
    type: FdTypes.BPFMAP,
    id,
    bpf: {
      id,
      flags: file.flags,
      pos: Number(file.pos),
      fown: file.fown,
      map_type: map.type,
      key_size: map.keyBytes,
      value_size: map.valueBytes,
      map_id: info.id,
      max_entries: map.maxEntries,
      map_flags: map.flags,
      memlock: Number(map.memlockBytes),
      frozen: map.isFrozen,
      map_name: info.name,
      ifindex: info.ifindex,
      ...(map.extra === 0n ? {} : { map_extra: map.extra }),
    },
  };
}

/** The description at hand may be one for writing only. */
function readContent(id: number, map: BpfMapInfo): MapContent | number {
  const fd = tryOpenMap(id, 0);
  if (fd < 0) return fd;
  try {
    return tryReadMap(fd, map.keyBytes, storedBytes(map.type, map.valueBytes), map.maxEntries);
  } finally {
    close(fd);
  }
}

function addContent(id: number, { count, keys, values }: MapContent, dump: KindDump): void {
  const payload = new Uint8Array(keys.length + values.length);
  payload.set(keys);
  payload.set(values, keys.length);
  const message = { map_id: id, keys_bytes: keys.length, values_bytes: values.length, count };
  dump.addData('bpfmap-data', { message, payload });
}

/** What a value takes in a batch: of maps with one for each CPU it is a multiple of 8 for each that there may be. */
function storedBytes(type: number, valueBytes: number): number {
  return IS_PER_CPU.get(type) === true ? Math.ceil(valueBytes / 8) * 8 * possibleCpus() : valueBytes;
}

function findProblems(bpf: BpfmapFileEntry, context: RestoreContext): CriuErrorFields[] {
  const object = describe(bpf);
  const action = 'cannot be restored';
  if (!IS_PER_CPU.has(bpf.map_type)) return [{ object, action, why: `maps of type ${bpf.map_type} are not supported` }];
  const content = contentOf(bpf, context);
  if (content === undefined) return [{ object, action, why: 'bpfmap-data.img does not have its content' }];
  const { count, keys, values } = content;
  const stored = storedBytes(bpf.map_type, bpf.value_size);
  if (keys.length === count * bpf.key_size && values.length === count * stored) return [];
  const why =
    IS_PER_CPU.get(bpf.map_type) === true
      ? 'it has a value for each CPU, and this machine has another number of them'
      : 'the size of its content does not fit its keys and values';
  return [{ object, action, why }];
}

function contentOf({ map_id }: BpfmapFileEntry, context: RestoreContext): MapContent | undefined {
  const all = context.state('bpf-map content', () => context.images.tryRead('bpfmap-data') ?? []);
  const found = all.find(({ message }) => message.map_id === map_id);
  if (found === undefined) return undefined;
  const { keys_bytes, count } = found.message;
  return { count, keys: found.payload.subarray(0, keys_bytes), values: found.payload.subarray(keys_bytes) };
}

const describe = ({ map_id, map_name }: BpfmapFileEntry) => `BPF map ${map_id} '${map_name}'`;

const madeMaps = (context: RestoreContext): MadeMaps => context.state('bpf-map made', () => new MadeMaps());

class MadeMaps {
  /** Our own descriptors: of maps by their old id, of descriptions by their number. */
  readonly #maps = new Map<number, number>();
  readonly #descriptions = new Map<number, number>();

  /** Makes every map of the tree, and a description for each of the image. Throws CriuError. */
  make(context: RestoreContext): void {
    for (const { bpf } of filesOfType(context.tree.files, FdTypes.BPFMAP)) {
      if (bpf === undefined) continue;
      const map = this.#maps.get(bpf.map_id) ?? this.#makeMap(bpf, contentOf(bpf, context));
      this.#maps.set(bpf.map_id, map);
      this.#descriptions.set(bpf.id, openAgain(bpf, map, accessOf(bpf.flags)));
    }
  }

  /** Our descriptor for a description of the image. */
  descriptor(id: number): number {
    return this.#descriptions.get(id) ?? -1;
  }

  release(): void {
    for (const fds of [this.#maps, this.#descriptions]) {
      for (const fd of fds.values()) close(fd);
      fds.clear();
    }
  }

  #makeMap(bpf: BpfmapFileEntry, content: MapContent | undefined): number {
    const map = tryCreateMap({
      type: bpf.map_type,
      keyBytes: bpf.key_size,
      valueBytes: bpf.value_size,
      maxEntries: bpf.max_entries,
      flags: bpf.map_flags,
      name: bpf.map_name,
      ifindex: bpf.ifindex,
      extra: bpf.map_extra ?? 0n,
    });
    if (map < 0) throw failed(bpf, 'BPF_MAP_CREATE', map);
    this.#maps.set(bpf.map_id, map);
    // The flags may say that this description is for reading only.
    const writable = openAgain(bpf, map, 0);
    let result = content === undefined ? 0 : tryFillMap(writable, content);
    if (result === 0 && bpf.frozen) result = tryFreezeMap(writable);
    close(writable);
    if (result < 0) throw failed(bpf, 'filling it', result);
    return map;
  }
}

function accessOf(flags: number): number {
  const mode = flags & O_ACCMODE;
  return mode === O_RDONLY ? BPF_F_RDONLY : mode === O_WRONLY ? BPF_F_WRONLY : 0;
}

function openAgain(bpf: BpfmapFileEntry, map: number, openFlags: number): number {
  const info = tryMapInfo(map);
  const fd = typeof info === 'number' ? info : tryOpenMap(info.id, openFlags);
  if (fd < 0) throw failed(bpf, 'BPF_MAP_GET_FD_BY_ID', fd);
  return fd;
}

function failed(bpf: BpfmapFileEntry, call: string, result: number): CriuError {
  return new CriuError({
    object: describe(bpf),
    action: `cannot be made again (${call}: ${errnoName(-result)})`,
    remedy: 'criu needs CAP_BPF and CAP_SYS_ADMIN for BPF maps',
    crErrno: -result,
  });
}
