import { describe, expect, test } from 'bun:test';
import type { BpfmapFileEntry } from '../../../image/gen/bpfmap-file.ts';
import { FdTypes, type FileEntry } from '../../../image/gen/fdinfo.ts';
import type { OpenFile, RestoreContext } from '../file-kind.ts';
import { bpfMap } from './bpf-map.ts';

const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };

function entry(more: Partial<BpfmapFileEntry>): FileEntry {
  const bpf = {
    ...{ id: 5, flags: 2, pos: 0, fown, map_type: 1, key_size: 4, value_size: 8, map_id: 3, max_entries: 10 },
    ...{ map_flags: 0, memlock: 0, frozen: false, map_name: 'm', ifindex: 0 },
    ...more,
  };
  return { type: FdTypes.BPFMAP, id: 5, bpf };
}

/** Images with the content of one map. */
function context(mapId: number, count: number, keyBytes: number, valueBytes: number): RestoreContext {
  const message = { map_id: mapId, keys_bytes: keyBytes, values_bytes: valueBytes, count };
  const content = [{ message, payload: new Uint8Array(keyBytes + valueBytes) }];
  const states = new Map<string, unknown>();
  return {
    images: { tryRead: () => content },
    state: (key: string, make: () => unknown) => states.get(key) ?? states.set(key, make()).get(key),
  } as unknown as RestoreContext;
}

describe('a BPF map in the images', () => {
  const problem = (why: string) => [{ object: "BPF map 3 'm'", action: 'cannot be restored', why }];

  test('is restored when its content fits', () => {
    expect(bpfMap.check?.(entry({}), context(3, 2, 8, 16))).toEqual([]);
    expect(bpfMap.check?.(entry({}), context(3, 0, 0, 0))).toEqual([]);
  });

  test('is refused when its content does not fit, or is not there', () => {
    const size = problem('the size of its content does not fit its keys and values');
    expect(bpfMap.check?.(entry({}), context(3, 2, 8, 12))).toEqual(size);
    expect(bpfMap.check?.(entry({}), context(4, 2, 8, 16))).toEqual(
      problem('bpfmap-data.img does not have its content'),
    );
  });

  test('is refused when it has values for other CPUs', () => {
    const why = 'it has a value for each CPU, and this machine has another number of them';
    expect(bpfMap.check?.(entry({ map_type: 5 }), context(3, 1, 4, 8 * 5000))).toEqual(problem(why));
  });

  test('is refused when it is no set of pairs', () => {
    expect(bpfMap.check?.(entry({ map_type: 27 }), context(3, 0, 0, 0))).toEqual(
      problem('maps of type 27 are not supported'),
    );
  });
});

test('a mapping of a BPF map is refused', () => {
  const file = { fd: -1, link: 'anon_inode:bpf-map' } as OpenFile;
  expect(bpfMap.dump(file, 1, {} as never)).toEqual({ unsupported: 'it is a mapping of a BPF map' });
});
