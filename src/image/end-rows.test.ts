import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { decode, encode } from './codec.ts';
import { EndRows } from './end-rows.ts';
import { FdTypes, FileEntry } from './gen/fdinfo.ts';
import { PipeEntry } from './gen/pipe.ts';
import { UnixSkEntry } from './gen/sk-unix.ts';
import { arbitraryMessage } from './message-arbitrary.test-support.ts';

const fileOf = (usk: UnixSkEntry): FileEntry => ({ type: FdTypes.UNIXSK, id: usk.id, usk });
const fileOfPipe = (pipe: PipeEntry): FileEntry => ({ type: FdTypes.PIPE, id: pipe.id, pipe });
const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };
const PIPE: PipeEntry = { id: 300, pipe_id: 70000, flags: 1, fown };

/** Entries that follow each other, with other bytes around them; the rows of those that are taken, and the others as bytes. */
function readRows(entries: readonly Uint8Array[]) {
  const around = new Uint8Array(20).fill(8);
  const bytes = Buffer.concat([around, ...entries, around]);
  const rows = new EndRows(bytes);
  let at = around.length;
  const isTaken = entries.map(({ length }) => {
    at += length;
    return rows.tryAdd(at - length, at);
  });
  return { rows, isTaken };
}

/** Each is either left, or what the codec makes of the bytes. */
function expectSame(entries: readonly Uint8Array[]): number {
  const { rows, isTaken } = readRows(entries);
  let row = 0;
  isTaken.forEach((is, i) => {
    if (!is) return;
    const bytes = entries[i] ?? new Uint8Array(0);
    const entry = decode(FileEntry, bytes, 'files.img');
    expect(rows.entry(row)).toEqual(entry);
    expect(rows.rowOf(entry.id)).toBe(row);
    expect(rows.typeAt(row)).toBe(entry.type);
    row++;
  });
  expect(rows.count).toBe(row);
  return row;
}

const numbers = fc.uniqueArray(fc.nat(2 ** 32 - 1), { minLength: 2, maxLength: 6 });

test('ends that differ in their numbers only are what the codec says they are', () => {
  let taken = 0;
  fc.assert(
    fc.property(
      arbitraryMessage(UnixSkEntry),
      arbitraryMessage(PipeEntry),
      numbers,
      fc.nat(2 ** 32 - 1),
      (usk, pipe, ids, peer) => {
        const entries = ids.map((id, i) =>
          i % 2 === 0
            ? fileOf({ ...usk, id, ino: (id * 7) >>> 0, peer })
            : fileOfPipe({ ...pipe, id, pipe_id: (id * 3) >>> 0 }),
        );
        taken += expectSame(entries.map((entry) => encode(FileEntry, entry)));
      },
    ),
    { numRuns: 50 },
  );
  expect(taken).toBeGreaterThan(100);
});

test('damaged entries are left, or mean the same', () => {
  const good = encode(FileEntry, fileOfPipe(PIPE));
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.nat(255), fc.nat(3), (at, byte, cut) => {
      const bytes = good.slice(0, good.length - cut);
      bytes[at] = byte;
      expectSame([encode(FileEntry, fileOfPipe({ ...PIPE, id: 7 })), bytes]);
    }),
    { numRuns: 2000 },
  );
  fc.assert(fc.property(arbitraryMessage(FileEntry), (file) => void expectSame([encode(FileEntry, file)])));
});

test('numbers that come twice, and fields out of order, are left to the codec', () => {
  const good = encode(FileEntry, fileOfPipe(PIPE));
  const twice = Uint8Array.of(0x10, 5);
  const bytes = Buffer.concat([good, twice]);
  // The length of the pipe is the byte behind its tag.
  const at = bytes.indexOf(0x92) + 2;
  bytes[at] = (bytes[at] ?? 0) + twice.length;
  expect(decode(FileEntry, bytes, 'files.img').pipe?.pipe_id).toBe(5);
  expect(readRows([bytes]).isTaken).toEqual([false]);
});

test('of two with one id only the first is taken', () => {
  const bytes = encode(FileEntry, fileOfPipe(PIPE));
  expect(readRows([bytes, bytes]).isTaken).toEqual([true, false]);
});

test('what is alike has one template; entries that are never alike are left after some', () => {
  const alike = Array.from({ length: 500 }, (_, id) => encode(FileEntry, fileOfPipe({ ...PIPE, id, flags: id % 2 })));
  expect(readRows(alike).rows.kindCount).toBe(2);
  const others = Array.from({ length: 500 }, (_, id) => encode(FileEntry, fileOfPipe({ ...PIPE, id, flags: id })));
  const { rows } = readRows(others);
  expect(rows.count).toBe(rows.kindCount);
  expect(rows.count).toBeLessThan(50);
});
