import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import type { IpcDescEntry } from './gen/ipc-desc.ts';
import type { PipeDataEntry } from './gen/pipe-data.ts';
import type { PstreeEntry } from './gen/pstree.ts';
import { ImageError } from './image-error.ts';
import { detectImageKind, parseImage } from './image-file.ts';
import { type ContentOf, IMAGE_KINDS, type ImageKind, type ImageKindName, imageFileName } from './image-kinds.ts';
import { arbitraryMessage } from './message-arbitrary.test-support.ts';
import { ImageWriter, PART_BYTES, serializeImage, serializeInParts } from './serialize-image.ts';
import { WireWriter } from './wire-writer.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const bytes = (text: string) => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'));

const TASK: PstreeEntry = { pid: 12, ppid: 0, pgid: 12, sid: 12, threads: [12] };
const TASK_HEX = '0a000000 080c1000180c200c280c';
const PSTREE_HEAD = '19435654 30302750';

describe('framing', () => {
  test('is the common magic, the magic of the kind, and a size before each entry', () => {
    const image = serializeImage('pstree', [TASK, TASK]);
    expect(hex(image)).toBe(`${PSTREE_HEAD} ${TASK_HEX} ${TASK_HEX}`.replaceAll(' ', ''));
    expect(parseImage('pstree', image, 'pstree.img')).toEqual([TASK, TASK]);
  });

  test('of the inventory has no common magic', () => {
    const image = serializeImage('inventory', [{ img_version: 2 }]);
    expect(hex(image)).toBe('16313158 02000000 0802'.replaceAll(' ', ''));
    expect(parseImage('inventory', image, 'inventory.img')).toEqual([{ img_version: 2 }]);
  });

  test('of statistics has the service magic', () => {
    expect(hex(serializeImage('stats', [{}]))).toBe('40591055 06330957 00000000'.replaceAll(' ', ''));
  });

  test('of version 1 has no common magic either', () => {
    expect(parseImage('pstree', bytes(`30302750 ${TASK_HEX}`), 'pstree.img')).toEqual([TASK]);
  });

  test('allows an image without entries', () => {
    expect(parseImage('pstree', bytes(PSTREE_HEAD), 'pstree.img')).toEqual([]);
  });

  test.each([
    ['', 'pstree.img: the file is empty'],
    ['194356', 'pstree.img: the file is too short for an image'],
    ['19435654 3030', 'pstree.img: the file is too short for an image'],
    ['7f454c46', 'pstree.img: this is not a PSTREE image: its magic is 0x464c457f'],
    ['19435654 47380555', 'pstree.img: this is a CORE image, but a PSTREE image is expected'],
    [`${PSTREE_HEAD} 0a0000`, 'pstree.img: entry 0: the file ends inside the size of the entry'],
    [
      `${PSTREE_HEAD} 0a000000 08`,
      'pstree.img: entry 0: the file is truncated: the entry has 10 bytes, but only 1 are left',
    ],
    [`${PSTREE_HEAD} ${TASK_HEX} 02000000 080c`, 'pstree.img: entry 1: ppid: required field is missing'],
    [
      `${PSTREE_HEAD} ffffffff`,
      'pstree.img: entry 0: the file is truncated: the entry has 4294967295 bytes, but only 0 are left',
    ],
  ])('%s is refused', (text, message) => {
    expect(() => parseImage('pstree', bytes(text), 'pstree.img')).toThrow(new Error(message));
  });

  test('an entry cannot read beyond its end', () => {
    expect(() => parseImage('pstree', bytes(`${PSTREE_HEAD} 01000000 080c1000`), 'pstree.img')).toThrow(
      new Error('pstree.img: entry 0: pid: the data ends inside a number'),
    );
  });

  test('a value that cannot be stored is named with its entry', () => {
    expect(() => serializeImage('pstree', [TASK, { ...TASK, pid: -1 }])).toThrow(
      new Error('pstree.img: entry 1: pid: -1 is not an integer of 0 to 4294967295'),
    );
  });
});

describe('payloads', () => {
  const roundTrip = <K extends ImageKindName>(kind: K, content: ContentOf<K>) => {
    const image = serializeImage(kind, content);
    expect(parseImage(kind, image, 'x.img')).toEqual(content);
    return image;
  };
  const desc: IpcDescEntry = { key: 1, uid: 0, gid: 0, cuid: 0, cgid: 0, mode: 0o600, id: 5 };

  test('follow each entry', () => {
    const message: PipeDataEntry = { pipe_id: 7, bytes: 3 };
    roundTrip('pipes-data', [
      { message, payload: bytes('010203') },
      { message: { ...message, bytes: 0 }, payload: bytes('') },
      { message, payload: bytes('040506') },
    ]);
  });

  test('of a TCP connection are both queues', () => {
    const message = { inq_len: 1, inq_seq: 9, outq_len: 2, outq_seq: 9, opt_mask: 0, snd_wscale: 0, mss_clamp: 0 };
    roundTrip('tcp-stream', [{ message, payload: bytes('aabbcc') }]);
  });

  test('of System V objects are padded', () => {
    const semaphores = roundTrip('ipcns-sem', [{ message: { desc, nsems: 3 }, payload: bytes('010002000300') }]);
    expect(hex(semaphores)).toEndWith('010002000300' + '0000');
    const shm = roundTrip('ipcns-shm', [
      { message: { desc, size: 5 }, payload: bytes('0102030405') },
      { message: { desc, size: 4096, in_pagemaps: true }, payload: bytes('') },
    ]);
    expect(hex(shm)).toContain('0102030405' + '000000');
    const text = { message: { mtype: 1n, msize: 3 }, payload: bytes('616263') };
    const queue = { message: { desc, qbytes: 16384, qnum: 2 }, messages: [text, text] };
    expect(
      hex(roundTrip('ipcns-msg', [queue, { ...queue, message: { ...queue.message, qnum: 0 }, messages: [] }])),
    ).toContain('616263' + '0000000000');
  });

  test('of a ghost file are its whole content or chunks', () => {
    const message = { uid: 0, gid: 0, mode: 0o100644, xattrs_ext: [] };
    roundTrip('ghost-file', { message, payload: bytes('0102') });
    roundTrip('ghost-file', {
      message: { ...message, chunks: true, size: 100 },
      chunks: [
        { message: { len: 2, off: 0 }, payload: bytes('0102') },
        { message: { len: 1, off: 50 }, payload: bytes('03') },
      ],
    });
  });

  test('pagemaps have a head', () => {
    roundTrip('pagemap', {
      head: { pages_id: 3 },
      entries: [{ vaddr: 4096, compat_nr_pages: 1, nr_pages: 1, flags: 4 }],
    });
    expect(() => parseImage('pagemap', bytes('19435654 25400856'), 'pagemap-1.img')).toThrow(
      new Error('pagemap-1.img: entry 0: the file ends inside the size of the entry'),
    );
  });

  test('raw images are bytes', () => {
    expect(hex(roundTrip('route', bytes('0102')))).toBe('0102');
  });

  test('that are cut are refused', () => {
    const image = serializeImage('pipes-data', [{ message: { pipe_id: 7, bytes: 3 }, payload: bytes('010203') }]);
    expect(() => parseImage('pipes-data', image.subarray(0, -1), 'pipes-data.img')).toThrow(
      new Error(
        'pipes-data.img: entry 0: the file is truncated: the data after the entry has 3 bytes, but only 2 are left',
      ),
    );
  });

  test('must be as long as the entry says', () => {
    expect(() => serializeImage('pipes-data', [{ message: { pipe_id: 7, bytes: 3 }, payload: bytes('01') }])).toThrow(
      new Error('pipes-data.img: entry 0: 1 bytes of data where the entry says 3'),
    );
    expect(() =>
      serializeImage('ipcns-msg', [{ message: { desc, qbytes: 1, qnum: 1 }, messages: [] }], 'ipcns-msg-9.img'),
    ).toThrow(new Error('ipcns-msg-9.img: entry 0: 0 messages where qnum is 1'));
  });
});

test('an image can be written in pieces', () => {
  const writer = new ImageWriter('pstree');
  writer.add(TASK);
  expect(writer.pendingBytes).toBe(22);
  const first = writer.take();
  expect(writer.pendingBytes).toBe(0);
  writer.add(TASK);
  expect(hex(Buffer.concat([first, writer.take()]))).toBe(hex(serializeImage('pstree', [TASK, TASK])));
});

test('a long image is serialized in parts, with or without payloads', () => {
  const tasks = Array.from({ length: 40_000 }, (_, pid) => ({ ...TASK, pid }));
  const pipes = Array.from({ length: 9 }, (_, i) => ({
    message: { pipe_id: i, bytes: i * 20_000, size: 65_536 },
    payload: new Uint8Array(i * 20_000).fill(i),
  }));
  const parts: number[] = [];
  serializeInParts('pstree', tasks, undefined, new WireWriter(64), (part) => parts.push(part.length));
  expect([parts.length > 2, Math.max(...parts) < 2 * PART_BYTES]).toEqual([true, true]);
  expect(parseImage('pstree', serializeImage('pstree', tasks), 'pstree.img')).toEqual(tasks);
  expect(parseImage('pipes-data', serializeImage('pipes-data', pipes), 'pipes-data.img')).toEqual(pipes);
});

test('file names', () => {
  expect(imageFileName('core', 12)).toBe('core-12.img');
  expect(imageFileName('pagemap', 12)).toBe('pagemap-12.img');
  expect(imageFileName('ghost-file', 255)).toBe('ghost-file-ff.img');
  expect(imageFileName('tmpfs-dev', 3)).toBe('tmpfs-dev-3.tar.gz.img');
  expect(imageFileName('stats', 'dump')).toBe('stats-dump');
  expect(imageFileName('files')).toBe('files.img');
  expect(() => imageFileName('core')).toThrow('an image of kind core needs a number');
});

test('the kind of an image is found by its magic', () => {
  for (const [name, kind] of Object.entries<ImageKind>(IMAGE_KINDS)) {
    if (kind.layout !== 'entries') continue;
    const detected = detectImageKind(serializeImage(name as 'pstree', []));
    expect(detected === undefined ? undefined : IMAGE_KINDS[detected].magicName).toBe(kind.magicName);
  }
  expect(detectImageKind(bytes('7f454c46'))).toBeUndefined();
  expect(detectImageKind(bytes('19435654'))).toBeUndefined();
  expect(detectImageKind(bytes('00'))).toBeUndefined();
});

test('damaged images give an ImageError or something that can be written again', () => {
  const kinds: ImageKindName[] = ['pstree', 'core', 'pipes-data', 'ipcns-msg', 'ipcns-sem', 'pagemap', 'ghost-file'];
  const message = <K extends ImageKindName>(kind: K) => {
    const spec: ImageKind = IMAGE_KINDS[kind];
    return spec.layout === 'raw' ? fc.constant({}) : arbitraryMessage<unknown>(spec.type);
  };
  fc.assert(
    fc.property(
      fc.constantFrom(...kinds).chain((kind) => fc.tuple(fc.constant(kind), message(kind))),
      fc.uint8Array({ maxLength: 40 }),
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 3 }),
      ([kind, entry], tail, changes) => {
        // Entries of one kind under the head of another are garbage, too.
        const image = Buffer.concat([serializeImage('seccomp', []), serializeImage('mm', []), tail]);
        image.writeUInt32LE((IMAGE_KINDS[kind] as { magic: number }).magic, 4);
        for (const [where, value] of changes) image[8 + (where % (image.length - 8))] = value;
        for (const data of [image, damagedEntry(kind, entry, changes)]) onlyImageError(kind, data);
      },
    ),
    { numRuns: 300 },
  );
});

function damagedEntry(kind: ImageKindName, entry: unknown, changes: [number, number][]): Uint8Array {
  const spec: ImageKind = IMAGE_KINDS[kind];
  if (spec.layout !== 'entries') return new Uint8Array();
  const image = serializeImage(kind as 'pstree', [entry as PstreeEntry]);
  for (const [where, value] of changes) image[where % image.length] = value;
  return image;
}

function onlyImageError(kind: ImageKindName, data: Uint8Array): void {
  try {
    serializeImage(kind, parseImage(kind, data, 'x.img'));
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
  }
}
