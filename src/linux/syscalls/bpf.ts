/** BPF maps: making, finding, reading and filling them (man 2 bpf). Batches need Linux 5.6. */
import { byteString, bytesOf } from '../../base/bytes.ts';
import {
  BPF_ATTR_BATCH,
  BPF_ATTR_CREATE,
  BPF_ATTR_ID,
  BPF_ATTR_INFO,
  BPF_MAP_CREATE,
  BPF_MAP_FREEZE,
  BPF_MAP_GET_FD_BY_ID,
  BPF_MAP_INFO,
  BPF_MAP_LOOKUP_BATCH,
  BPF_MAP_UPDATE_BATCH,
  BPF_OBJ_GET_INFO_BY_FD,
  BPF_OBJ_NAME_LEN,
} from '../abi/bpf.ts';
import { ERRNO } from '../abi/errno.ts';
import { SYS } from '../abi/syscall-numbers.ts';
import { addressOf, syscall } from '../kernel.ts';

/** What a new map is like. */
export interface MapShape {
  readonly type: number;
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly maxEntries: number;
  readonly flags: number;
  /** A byte string. */
  readonly name: string;
  readonly ifindex: number;
  readonly extra: bigint;
}

/** Pairs of a map: all keys, and all values in the same order. */
export interface MapContent {
  readonly count: number;
  readonly keys: Uint8Array;
  readonly values: Uint8Array;
}

function bpf(command: number, attr: Uint8Array): number {
  return syscall(SYS.bpf, command, attr, attr.length);
}

/** Makes a map; returns its descriptor (close-on-exec), or −errno. */
export function tryCreateMap(shape: MapShape): number {
  const attr = new Uint8Array(BPF_ATTR_CREATE.bytes);
  const view = new DataView(attr.buffer);
  view.setUint32(BPF_ATTR_CREATE.map_type, shape.type, true);
  view.setUint32(BPF_ATTR_CREATE.key_size, shape.keyBytes, true);
  view.setUint32(BPF_ATTR_CREATE.value_size, shape.valueBytes, true);
  view.setUint32(BPF_ATTR_CREATE.max_entries, shape.maxEntries, true);
  view.setUint32(BPF_ATTR_CREATE.map_flags, shape.flags, true);
  attr.set(bytesOf(shape.name).subarray(0, BPF_OBJ_NAME_LEN - 1), BPF_ATTR_CREATE.map_name);
  view.setUint32(BPF_ATTR_CREATE.map_ifindex, shape.ifindex, true);
  view.setBigUint64(BPF_ATTR_CREATE.map_extra, shape.extra, true);
  return bpf(BPF_MAP_CREATE, attr);
}

/** Another open description of a map; BPF_F_RDONLY, BPF_F_WRONLY or 0 for both. The descriptor, or −errno. */
export function tryOpenMap(id: number, openFlags: number): number {
  const attr = new Uint8Array(BPF_ATTR_ID.bytes);
  const view = new DataView(attr.buffer);
  view.setUint32(BPF_ATTR_ID.id, id, true);
  view.setUint32(BPF_ATTR_ID.open_flags, openFlags, true);
  return bpf(BPF_MAP_GET_FD_BY_ID, attr);
}

/** What fdinfo does not tell; or −errno. */
export function tryMapInfo(fd: number): { id: number; name: string; ifindex: number; btfId: number } | number {
  const info = new Uint8Array(BPF_MAP_INFO.bytes);
  const attr = new Uint8Array(BPF_ATTR_INFO.bytes);
  const view = new DataView(attr.buffer);
  view.setUint32(BPF_ATTR_INFO.bpf_fd, fd, true);
  view.setUint32(BPF_ATTR_INFO.info_len, info.length, true);
  view.setBigUint64(BPF_ATTR_INFO.info, BigInt(addressOf(info)), true);
  const result = bpf(BPF_OBJ_GET_INFO_BY_FD, attr);
  if (result < 0) return result;
  const word = (offset: number) => new DataView(info.buffer).getUint32(offset, true);
  const name = info.subarray(BPF_MAP_INFO.name, BPF_MAP_INFO.name + BPF_OBJ_NAME_LEN);
  return {
    id: word(BPF_MAP_INFO.id),
    name: byteString(name.subarray(0, name.indexOf(0))),
    ifindex: word(BPF_MAP_INFO.ifindex),
    btfId: word(BPF_MAP_INFO.btf_id),
  };
}

/** No more changes by system calls. 0 or −errno. */
export function tryFreezeMap(fd: number): number {
  return bpf(BPF_MAP_FREEZE, new Uint8Array(Uint32Array.of(fd).buffer));
}

/** All pairs of a map with at most `max` of them, or −errno. `valueBytes`: what one value takes here. */
export function tryReadMap(fd: number, keyBytes: number, valueBytes: number, max: number): MapContent | number {
  const keys = new Uint8Array(keyBytes * max);
  const values = new Uint8Array(valueBytes * max);
  // A place in the map, opaque; of hash tables it is 32 bits wide whatever the keys are (kernel/bpf/hashtab.c).
  const place = new Uint8Array(Math.max(keyBytes, 8));
  let count = 0;
  while (count < max) {
    const rest = { keys: keys.subarray(count * keyBytes), values: values.subarray(count * valueBytes) };
    const { attr, view } = batchOf(fd, rest.keys, rest.values, max - count);
    if (count > 0) view.setBigUint64(BPF_ATTR_BATCH.in_batch, BigInt(addressOf(place)), true);
    view.setBigUint64(BPF_ATTR_BATCH.out_batch, BigInt(addressOf(place)), true);
    const result = bpf(BPF_MAP_LOOKUP_BATCH, attr);
    if (result < 0 && result !== -ERRNO.ENOENT) return result;
    const got = view.getUint32(BPF_ATTR_BATCH.count, true);
    count += got;
    if (result === -ERRNO.ENOENT || got === 0) break;
  }
  return { count, keys: keys.subarray(0, count * keyBytes), values: values.subarray(0, count * valueBytes) };
}

/** Puts pairs into a map. 0 or −errno. */
export function tryFillMap(fd: number, { count, keys, values }: MapContent): number {
  if (count === 0) return 0;
  const { attr } = batchOf(fd, keys, values, count);
  return Math.min(bpf(BPF_MAP_UPDATE_BATCH, attr), 0);
}

function batchOf(fd: number, keys: Uint8Array, values: Uint8Array, count: number) {
  const attr = new Uint8Array(BPF_ATTR_BATCH.bytes);
  const view = new DataView(attr.buffer);
  view.setBigUint64(BPF_ATTR_BATCH.keys, BigInt(addressOf(keys)), true);
  view.setBigUint64(BPF_ATTR_BATCH.values, BigInt(addressOf(values)), true);
  view.setUint32(BPF_ATTR_BATCH.count, count, true);
  view.setUint32(BPF_ATTR_BATCH.map_fd, fd, true);
  return { attr, view };
}
