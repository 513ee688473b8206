/**
 * The lines of BPF maps and programs in fdinfo; kernel/bpf/syscall.c.
 */
import type { BpfMapInfo, BpfProgInfo } from './fdinfo-types.ts';
import { type Field, malformed, toBigint, toHexBigint, toInteger } from './text.ts';

type Fields = ReadonlyMap<string, Field>;

/** The BPF map of this fdinfo, or `undefined` when the file is no map. */
export function parseBpfMap(fields: Fields): BpfMapInfo | undefined {
  const type = fields.get('map_type');
  if (type === undefined) return undefined;
  return {
    type: toInteger(type.value, type.place, 'a map type'),
    keyBytes: integer(fields, 'key_size', type),
    valueBytes: integer(fields, 'value_size', type),
    maxEntries: integer(fields, 'max_entries', type),
    flags: Number(prefixedHex(fields, 'map_flags')),
    extra: prefixedHex(fields, 'map_extra'),
    memlockBytes: bigint(fields, 'memlock'),
    id: fields.has('map_id') ? integer(fields, 'map_id', type) : undefined,
    isFrozen: fields.has('frozen') && integer(fields, 'frozen', type) === 1,
  };
}

/** The BPF program of this fdinfo, or `undefined` when the file is none. A link has no prog_type. */
export function parseBpfProg(fields: Fields): BpfProgInfo | undefined {
  const type = fields.get('prog_type');
  if (type === undefined) return undefined;
  return {
    type: toInteger(type.value, type.place, 'a program type'),
    tag: fields.get('prog_tag')?.value ?? '',
    id: fields.has('prog_id') ? integer(fields, 'prog_id', type) : undefined,
  };
}

function integer(fields: Fields, key: string, near: Field): number {
  const field = fields.get(key);
  if (field === undefined) throw malformed(near.place, `a line "${key}:" near that`);
  return toInteger(field.value, field.place, `a value of "${key}"`);
}

function bigint(fields: Fields, key: string): bigint {
  const field = fields.get(key);
  return field === undefined ? 0n : toBigint(field.value, field.place, `a value of "${key}"`);
}

/** `0x…`; 0 when an older kernel lacks the line. */
function prefixedHex(fields: Fields, key: string): bigint {
  const field = fields.get(key);
  if (field === undefined) return 0n;
  if (!field.value.startsWith('0x')) throw malformed(field.place, `a value of "${key}"`);
  return toHexBigint(field.value.slice(2), field.place, `a value of "${key}"`);
}
