import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { encode, UNKNOWN_FIELDS } from './codec.ts';
import { FdinfoEntry, FdTypes, FileEntry } from './gen/fdinfo.ts';
import { serializeImage } from './image-file.ts';
import { arbitraryMessage } from './message-arbitrary.test-support.ts';
import type { MessageType } from './message-type.ts';

const MAGIC_BYTES = 8;

/** What the codec makes of each entry, with its frame. */
function expected<T>(type: MessageType<T>, entries: readonly T[]): Uint8Array {
  const parts = entries.flatMap((entry) => {
    const bytes = encode(type, entry);
    return [new Uint8Array(Uint32Array.of(bytes.length).buffer), bytes];
  });
  return Buffer.concat(parts);
}

const body = (image: Uint8Array) => Buffer.from(image.subarray(MAGIC_BYTES));

const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };
const name = fc.string({ unit: fc.constantFrom('/', 'a', '\u00e9', '\u0001'), minLength: 1, maxLength: 200 });
const number = fc.oneof(fc.nat(300), fc.integer({ min: 0, max: 0xffff_ffff }));

/** Files as a dump writes them, in runs of likeness. */
const file = fc
  .record(
    {
      id: number,
      flags: fc.constantFrom(0o100000, 0o2),
      pos: fc.oneof(fc.bigInt(0n, 300n), fc.bigInt(0n, (1n << 64n) - 1n)),
      fown: fc.constantFrom(fown, { ...fown, signum: 9 }),
      name,
      mode: fc.constantFrom(0o100600, 0o40755),
      size: fc.oneof(fc.nat(300), fc.maxSafeNat()),
      mnt_id: fc.constantFrom(27, 1),
      build_id: fc.constantFrom<number[]>([], [], [], [1, 2]),
      ext: fc.constant(true),
    },
    { requiredKeys: ['id', 'flags', 'pos', 'fown', 'name', 'build_id'] },
  )
  .map((reg): FileEntry => ({ type: FdTypes.REG, id: reg.id, reg }));

test('files and descriptors by the hundred are encoded as the codec encodes each', () => {
  const many = { minLength: 120, maxLength: 200 };
  const files = fc.array(fc.oneof({ arbitrary: file, weight: 20 }, arbitraryMessage(FileEntry)), many);
  const run = fc.tuple(file, fc.array(fc.tuple(number, fc.bigInt(0n, 20_000n), name), many)).map(([{ reg }, rows]) =>
    rows.map(([id, pos, text]): FileEntry => {
      const of = { ...reg, id, pos, name: text.padEnd(8, 'x').slice(0, 8), flags: 2, fown, build_id: [] };
      return { type: FdTypes.REG, id, reg: of };
    }),
  );
  fc.assert(
    fc.property(fc.oneof(files, run), (entries) => {
      expect(body(serializeImage('files', entries)).equals(expected(FileEntry, entries))).toBe(true);
    }),
    { numRuns: 40, endOnFailure: true },
  );
  fc.assert(
    fc.property(fc.array(arbitraryMessage(FdinfoEntry), many), (entries) => {
      expect(body(serializeImage('fdinfo', entries)).equals(expected(FdinfoEntry, entries))).toBe(true);
    }),
    { numRuns: 20, endOnFailure: true },
  );
});

test('unknown fields and wrong values are left to the codec', () => {
  const entry = (i: number) => ({ id: i, flags: 0, type: FdTypes.REG, fd: i });
  const entries: FdinfoEntry[] = Array.from({ length: 100 }, (_, i) => entry(i));
  const unknown = { ...entry(100), [UNKNOWN_FIELDS]: Uint8Array.of(0x78, 5) };
  expect(body(serializeImage('fdinfo', [...entries, unknown])).subarray(-2)).toEqual(Buffer.from([0x78, 5]));
  expect(() => serializeImage('fdinfo', [...entries, { ...entry(1), fd: -1 }])).toThrow(
    'fdinfo-%u.img: entry 100: fd: -1 is not an integer of 0 to 4294967295',
  );
});
