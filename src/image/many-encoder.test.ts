import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { encode } from './codec.ts';
import { FdTypes, FileEntry } from './gen/fdinfo.ts';
import { PagemapEntry } from './gen/pagemap.ts';
import { VmaEntry } from './gen/vma.ts';
import { parseImage } from './image-file.ts';
import { IMAGE_KINDS, type ImageKind } from './image-kinds.ts';
import { manyEncoder } from './many-encoder.ts';
import { arbitraryMessage } from './message-arbitrary.test-support.ts';
import { type MessageType, UNKNOWN_FIELDS } from './message-type.ts';
import { serializeImage } from './serialize-image.ts';
import { WireWriter } from './wire-writer.ts';

const TYPES = Object.values<ImageKind>(IMAGE_KINDS).flatMap((kind) => (kind.layout === 'raw' ? [] : [kind.type]));

/** What comes out as entries of an image, without the codec, and how many messages that are. */
function encodeMany(type: MessageType<unknown>, messages: readonly unknown[]): { bytes: Uint8Array; count: number } {
  const writer = new WireWriter(1);
  const count = manyEncoder(type, { sizeBytes: 4 })(messages, 0, writer);
  return { bytes: writer.written.slice(), count };
}

/** The same by the codec. */
function frame(type: MessageType<unknown>, messages: readonly unknown[]): Uint8Array {
  const writer = new WireWriter();
  for (const message of messages) {
    const bytes = encode(type, message);
    writer.rawUint32(bytes.length);
    writer.raw(bytes);
  }
  return writer.written.slice();
}

test('gives the bytes that the codec gives, as far as it goes', () => {
  for (const type of [...TYPES, FileEntry, VmaEntry]) {
    fc.assert(
      fc.property(fc.array(arbitraryMessage(type), { maxLength: 5 }), (messages) => {
        const { bytes, count } = encodeMany(type, messages);
        expect(bytes).toEqual(frame(type, messages.slice(0, count)));
      }),
      { numRuns: 20 },
    );
  }
});

const vma: VmaEntry = {
  start: 0x7f12_3456_7000,
  end: Number.MAX_SAFE_INTEGER,
  pgoff: 0,
  shmid: 2 ** 31,
  prot: 3,
  flags: 0x22,
  status: 0x201,
  fd: -1,
};

test('takes what is usual', () => {
  const some = [
    vma,
    { ...vma, madv: 0n, fdflags: 2 },
    { ...vma, madv: 1n << 40n, sealed_ext: true },
    { ...vma, name_ext: 'a\u00ff' },
  ];
  expect(encodeMany(VmaEntry, some)).toEqual({ bytes: frame(VmaEntry, some), count: 4 });
  const page = { vaddr: 2 ** 31 - 1, compat_nr_pages: 0, flags: 4, nr_pages: 128 };
  expect(encodeMany(PagemapEntry, [page]).count).toBe(1);
});

test('leaves what is unusual or wrong to the codec', () => {
  const odd: unknown[] = [
    { ...vma, start: 2 ** 60 },
    { ...vma, start: 0.5 },
    { ...vma, start: undefined },
    { ...vma, start: 5n },
    { ...vma, prot: -1 },
    { ...vma, prot: '3' },
    { ...vma, fd: -(2 ** 40) },
    { ...vma, madv: 1n << 60n },
    { ...vma, madv: -1n },
    { ...vma, madv: 1 },
    { ...vma, sealed_ext: 1 },
    { ...vma, name_ext: 'a\0b' },
    { ...vma, name_ext: '\u0100' },
    { ...vma, name_ext: 'x'.repeat(5000) },
    { ...vma, name_ext: 5 },
    { ...vma, [UNKNOWN_FIELDS]: Uint8Array.of(8, 1) },
    undefined,
    null,
    7,
  ];
  for (const one of odd) expect([one, encodeMany(VmaEntry, [vma, one, vma]).count]).toEqual([one, 1]);
});

test('an image with many entries, some of them unusual, in a list and in a field', () => {
  const vmas = Array.from({ length: 500 }, (_, i) => ({
    ...vma,
    start: i * 4096,
    ...(i % 100 === 7 ? { madv: 1n << 60n } : {}),
  }));
  const zeros = Object.fromEntries(
    'start_code end_code start_data end_data start_stack start_brk brk arg_start arg_end env_start env_end'
      .split(' ')
      .map((name) => [`mm_${name}`, 0]),
  );
  const mm = { ...zeros, exe_file_id: 1, mm_saved_auxv: [], aios: [], vmas } as never;
  expect(parseImage('mm', serializeImage('mm', [mm]), 'mm.img')[0]?.vmas).toEqual(vmas);
  const entries = vmas.map(({ start }, i) => ({
    vaddr: start,
    compat_nr_pages: 0,
    flags: i % 5,
    nr_pages: 2 ** (i % 31),
  }));
  const pagemap = { head: { pages_id: 3 }, entries };
  expect(parseImage('pagemap', serializeImage('pagemap', pagemap), 'pagemap.img')).toEqual(pagemap);
});

const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };

test('messages in messages, texts and enums', () => {
  const file = (bytes: number, more: object = {}) => ({
    type: FdTypes.REG,
    id: bytes,
    reg: { id: bytes, flags: 2, pos: 5n, fown, name: 'n'.repeat(bytes), build_id: [], ...more },
  });
  // Lengths of one, two and three bytes.
  const files = [
    file(1),
    file(2, { build_id: [1, 0xffff, 0x7fffffff] }),
    file(90),
    file(130),
    file(4096),
    { type: FdTypes.PIPE, id: 9 },
  ];
  expect(encodeMany(FileEntry, files)).toEqual({ bytes: frame(FileEntry, files), count: 6 });
  const odd: unknown[] = [
    file(1, { build_id: [1, -1] }),
    file(1, { build_id: 7 }),
    file(1, { fown: undefined }),
    file(1, { fown: { ...fown, pid: undefined } }),
    file(1, { [UNKNOWN_FIELDS]: Uint8Array.of(8, 1) }),
    { ...file(1), type: 77 },
    { ...file(1), reg: 3 },
  ];
  for (const one of odd) expect([one, encodeMany(FileEntry, [file(1), one, file(1)]).count]).toEqual([one, 1]);
});

test('an error names the entry', () => {
  const page = { vaddr: 4096, compat_nr_pages: 0, flags: 4, nr_pages: 1 };
  const entries = Array.from({ length: 300 }, (_, i) => (i === 250 ? { ...page, vaddr: -1 } : page));
  expect(() => serializeImage('pagemap', { head: { pages_id: 3 }, entries }, 'pagemap-1.img')).toThrow(
    'pagemap-1.img: entry 251: vaddr: -1 is not an integer of 0 to 2^64-1',
  );
});
