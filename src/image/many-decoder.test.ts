import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { decode, encode } from './codec.ts';
import { CgroupDirEntry } from './gen/cgroup.ts';
import { FdinfoEntry, FileEntry } from './gen/fdinfo.ts';
import { PstreeEntry } from './gen/pstree.ts';
import { RegFileEntry } from './gen/regfile.ts';
import type { SkOptsEntry } from './gen/sk-opts.ts';
import type { UnixPendingExt } from './gen/sk-unix.ts';
import { VmaEntry } from './gen/vma.ts';
import { IMAGE_KINDS, type ImageKind } from './image-kinds.ts';
import { manyDecoder } from './many-decoder.ts';
import { arbitraryMessage } from './message-arbitrary.test-support.ts';
import type { MessageType } from './message-type.ts';

const TYPES = Object.values<ImageKind>(IMAGE_KINDS).flatMap((kind) => (kind.layout === 'raw' ? [] : [kind.type]));

/** The message with other bytes around it; the decoder is told where it is. */
function decodeMany<T>(type: MessageType<T>, bytes: Uint8Array): T | undefined {
  const around = new Uint8Array(bytes.length + 20).fill(8);
  around.set(bytes, 10);
  return manyDecoder(type, around)(10, 10 + bytes.length);
}

function tryDecode(type: MessageType<unknown>, bytes: Uint8Array): unknown {
  try {
    return decode(type, bytes, 'x');
  } catch {
    return undefined;
  }
}

/** bigints and all: text in which the order of keys counts too. */
const show = (message: unknown) => Bun.inspect(message, { depth: 200 });

test('gives the messages that the codec gives', () => {
  for (const type of TYPES) {
    fc.assert(
      fc.property(arbitraryMessage(type), (message) => {
        const bytes = encode(type, message);
        const found = decodeMany(type, bytes);
        expect(show(found ?? tryDecode(type, bytes))).toBe(show(tryDecode(type, bytes)));
      }),
      { numRuns: 3 },
    );
  }
});

test('messages that end like the one before are what the codec says, too', () => {
  const opts = [0, 1].map((so_priority) => ({ ...OPTIONS, so_priority }));
  const socket = fc.record({
    ino: fc.nat(),
    peer: fc.nat(200),
    opts: fc.constantFrom(...opts),
    name: fc.constantFrom(...['', 'a', 'b'].map((text) => new Uint8Array(Buffer.from(text)))),
    shutdown: fc.constantFrom(undefined, 0, 1),
    pending_ext: fc.constantFrom<UnixPendingExt[][]>([], [{ peer: 1, groups: [] }]),
  });
  fc.assert(
    fc.property(fc.array(socket, { minLength: 1, maxLength: 60 }), (list) => {
      const files = list.map(({ shutdown, ...rest }, id): FileEntry => {
        const more = shutdown === undefined ? rest : { ...rest, shutdown: shutdown as 0 };
        return { type: 5, id, usk: { ...SOCKET, id, ...more } };
      });
      const encoded = files.map((file) => encode(FileEntry, file));
      const decodeOne = manyDecoder(FileEntry, new Uint8Array(Buffer.concat(encoded)));
      let end = 0;
      for (const bytes of encoded) {
        end += bytes.length;
        expect(show(decodeOne(end - bytes.length, end))).toBe(show(decode(FileEntry, bytes, 'x')));
      }
    }),
  );
});

const FOWN = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };
const OPTIONS: SkOptsEntry = {
  ...{ so_sndbuf: 1, so_rcvbuf: 2, so_snd_tmo_sec: 0, so_snd_tmo_usec: 0, so_rcv_tmo_sec: 0, so_rcv_tmo_usec: 0 },
  so_filter: [],
  options_ext: [],
};
const SOCKET = { type: 1, state: 1, flags: 2, uflags: 0, backlog: 0, fown: FOWN, peer_groups_ext: [] };

test('takes what is usual', () => {
  const entry: FdinfoEntry = { id: 300, flags: 0, type: 1, fd: 70_000, xattr_security_selinux: 'a\xff' };
  expect(decodeMany(FdinfoEntry, encode(FdinfoEntry, entry))).toEqual(entry);
  const task: PstreeEntry = {
    pid: 127,
    ppid: 128,
    pgid: 16_383,
    sid: 16_384,
    threads: [2_097_151, 2_097_152, 1 << 30],
  };
  expect(decodeMany(PstreeEntry, encode(PstreeEntry, task))).toEqual(task);
  for (const start of [2 ** 21 - 1, 2 ** 21, 0x7fff_ffff_f000, 2 ** 49 - 1, 2 ** 49, 2 ** 53 - 1, 2 ** 64 - 2 ** 23]) {
    for (const fd of [-1, 0, 1, 2 ** 40]) {
      const vma: VmaEntry = { start, end: 0, pgoff: 0, shmid: 0, prot: 0, flags: 0, status: 0, fd };
      expect(decodeMany(VmaEntry, encode(VmaEntry, vma))).toEqual(vma);
    }
  }
});

test('takes no damaged message, and gives nothing else than the codec when bytes are changed', () => {
  let taken = 0;
  for (const type of TYPES) {
    const damage = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(arbitraryMessage(type), damage, fc.boolean(), (message, changes, isCut) => {
        const whole = encode(type, message);
        const bytes = isCut ? whole.slice(0, whole.length - 1) : whole;
        for (const [at, value] of changes) if (bytes.length > 0) bytes[at % bytes.length] = value;
        const found = decodeMany(type, bytes);
        if (found === undefined) return;
        taken++;
        expect(show(found)).toBe(show(tryDecode(type, bytes)));
      }),
      { numRuns: 8 },
    );
  }
  expect(taken).toBeGreaterThan(30);
});

test('gives the same object for messages that are equal, and another one for those that are not', () => {
  const fown = (pid: number) => ({ uid: 70_000, euid: 70_000, signum: 70_000, pid_type: 0, pid });
  const entries = [0, 0, 7, 7, 8, 0].map((pid, id) => ({
    id,
    flags: 0,
    pos: 0n,
    fown: fown(pid),
    name: 'a',
    build_id: [],
  }));
  const encoded = entries.map((entry) => encode(RegFileEntry, entry));
  const all = new Uint8Array(Buffer.concat(encoded));
  const decodeOne = manyDecoder(RegFileEntry, all);
  let end = 0;
  const found = encoded.map(({ length }) => {
    end += length;
    return decodeOne(end - length, end);
  });
  expect(found).toEqual(entries);
  expect(found[1]?.fown).toBe(found[0]?.fown as never);
  expect(found[3]?.fown).toBe(found[2]?.fown as never);
});

test('leaves what is out of order, unknown, twice there, or wrong to the codec', () => {
  const bytes = (text: string) => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'));
  const entry = '0801 1000 1801 2003';
  expect(decodeMany(FdinfoEntry, bytes(entry))).toEqual({ id: 1, flags: 0, type: 1, fd: 3 });
  for (const text of [
    '1000 0801 1801 2003',
    `${entry} 7801`,
    `${entry} 2004`,
    '0801 1000 1801',
    '0801 1000 184d 2003',
  ]) {
    expect(decodeMany(FdinfoEntry, bytes(text))).toBeUndefined();
  }
  expect(decodeMany(FdinfoEntry, bytes(`${entry} 2a01 00`))).toBeUndefined();
});

test('leaves messages that are very deep in each other to the codec', () => {
  let folder: CgroupDirEntry = { dir_name: 'a', children: [], properties: [] };
  for (let i = 0; i < 60; i++) folder = { dir_name: 'a', children: [folder], properties: [] };
  const encoded = encode(CgroupDirEntry, folder);
  expect(decodeMany(CgroupDirEntry, encoded)).toBeUndefined();
  expect(decode(CgroupDirEntry, encoded, 'x')).toEqual(folder);
});
