import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { decode, encode } from './codec.ts';
import { FdTypes, FileEntry } from './gen/fdinfo.ts';
import { RegFileEntry } from './gen/regfile.ts';
import { arbitraryMessage } from './message-arbitrary.test-support.ts';
import { PlainFiles } from './plain-files.ts';

const NO_OWNER = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };
const PLAIN: RegFileEntry = { id: 7, flags: 2, pos: 300n, fown: NO_OWNER, name: '/some/file', build_id: [] };

const entryOf = (reg: RegFileEntry): FileEntry => ({ type: FdTypes.REG, id: reg.id, reg });

function tryRow(bytes: Uint8Array): FileEntry | undefined {
  // Other bytes around it.
  const around = new Uint8Array(bytes.length + 20).fill(8);
  around.set(bytes, 10);
  const files = new PlainFiles(around);
  return files.tryAdd(10, 10 + bytes.length) ? files.entry(0) : undefined;
}

const isPlain = (more: Partial<RegFileEntry>) =>
  tryRow(encode(FileEntry, entryOf({ ...PLAIN, ...more }))) !== undefined;

/** Either none, or what the codec makes of the bytes. */
function expectSame(bytes: Uint8Array): void {
  const row = tryRow(bytes);
  if (row !== undefined) expect(row).toEqual(decode(FileEntry, bytes, 'files.img'));
}

test('a plain file is what the codec says it is', () => {
  const plain = arbitraryMessage(RegFileEntry).map((reg) => {
    const { id, flags, pos, name, size, mode } = reg;
    const optional = { ...(size === undefined ? {} : { size }), ...(mode === undefined ? {} : { mode }) };
    return { id, flags, pos: pos % 2n ** 40n, fown: NO_OWNER, name, build_id: [], ...optional };
  });
  let taken = 0;
  fc.assert(
    fc.property(plain, (reg) => {
      const bytes = encode(FileEntry, entryOf(reg));
      expectSame(bytes);
      if (tryRow(bytes) !== undefined) taken++;
    }),
  );
  expect(taken).toBeGreaterThan(10);
});

test('damaged entries, and those of other files, are left alone or mean the same', () => {
  const good = encode(FileEntry, entryOf({ ...PLAIN, size: 70000, mode: 0o100644 }));
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.nat(255), fc.nat(3), (at, byte, cut) => {
      const bytes = good.slice(0, good.length - cut);
      bytes[at] = byte;
      const row = tryRow(bytes);
      if (row !== undefined) expectSame(bytes);
    }),
    { numRuns: 3000 },
  );
  fc.assert(fc.property(arbitraryMessage(FileEntry), (file) => expectSame(encode(FileEntry, file))));
});

test('whatever is special about a file is not plain', () => {
  expect(isPlain({})).toBeTrue();
  expect(isPlain({ size: 2 ** 40, mode: 0o100644 })).toBeTrue();
  expect(isPlain({ ext: true })).toBeFalse();
  expect(isPlain({ mnt_id: 5 })).toBeFalse();
  expect(isPlain({ build_id: [1, 2] })).toBeFalse();
  expect(isPlain({ flags: 0o20002 })).toBeFalse();
  expect(isPlain({ pos: 2n ** 60n })).toBeFalse();
  expect(isPlain({ pos: 2n ** 64n - 1n })).toBeFalse();
  expect(isPlain({ fown: { ...NO_OWNER, pid: 7 } })).toBeFalse();
  const second = encode(FileEntry, { ...entryOf(PLAIN), id: 8 });
  expect(tryRow(second)).toBeUndefined();
});

test('rows are found by number, in any order; numbers that do not ascend are not taken', () => {
  const entries = [3, 4, 9, 200, 70000].map((id) => encode(FileEntry, entryOf({ ...PLAIN, id, name: `/${id % 2}` })));
  const bytes = Buffer.concat(entries);
  const files = new PlainFiles(bytes);
  let at = 0;
  for (const { length } of entries) {
    expect(files.tryAdd(at, at + length)).toBeTrue();
    at += length;
  }
  expect(files.tryAdd(0, entries[0]?.length ?? 0)).toBeFalse();
  expect([3, 4, 9, 200, 70000].map((id) => files.rowOf(id))).toEqual([0, 1, 2, 3, 4]);
  expect([70000, 3, 200, 5, 0, 99999, 4].map((id) => files.rowOf(id))).toEqual([4, 0, 3, -1, -1, -1, 1]);
  expect(files.names).toEqual(['/1', '/0']);
  expect(files.nameOf(4)).toBe('/0');
});
