import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { times } from '../base/bytes.ts';
import { AlikeDecoder } from './alike-decoder.ts';
import { decode, encode } from './codec.ts';
import { CoreEntry } from './gen/core.ts';
import { FdinfoEntry } from './gen/fdinfo.ts';
import { RlimitEntry } from './gen/rlimit.ts';
import { IMAGE_KINDS, type ImageKind } from './image-kinds.ts';
import { arbitraryMessage } from './message-arbitrary.test-support.ts';
import type { MessageType } from './message-type.ts';

const TYPES = Object.values<ImageKind>(IMAGE_KINDS).flatMap((kind) => (kind.layout === 'raw' ? [] : [kind.type]));
/** bigints and all: text in which the order of keys counts too. */
const show = (message: unknown) => Bun.inspect(message, { depth: 200 });

/** What becomes of each message when it comes after those before it; undefined: it is left to the codec. */
function decodeAll(type: MessageType<unknown>, encoded: readonly Uint8Array[]): unknown[] {
  const bytes = new Uint8Array(Buffer.concat(encoded));
  const decoder = new AlikeDecoder(type, bytes);
  let end = 0;
  return encoded.map((message) => {
    const start = end;
    end += message.length;
    const known = decoder.tryDecode(start, end);
    const right = tryDecode(type, message);
    if (known === undefined && right !== undefined) decoder.note(start, end, right);
    return known;
  });
}

function tryDecode(type: MessageType<unknown>, bytes: Uint8Array): unknown {
  try {
    return decode(type, bytes, 'x');
  } catch {
    return undefined;
  }
}

test('gives nothing else than the codec, whatever comes one after the other', () => {
  let taken = 0;
  const damage = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 2 });
  for (const type of TYPES) {
    fc.assert(
      fc.property(
        arbitraryMessage(type),
        arbitraryMessage(type),
        damage,
        fc.boolean(),
        (one, other, changes, isCut) => {
          const [first, second] = [encode(type, one), encode(type, other)];
          const changed = isCut ? first.slice(0, first.length - 1) : first.slice();
          for (const [at, value] of changes) if (changed.length > 0) changed[at % changed.length] = value;
          const encoded = [first, changed, second, first];
          decodeAll(type, encoded).forEach((found, i) => {
            if (found === undefined) return;
            taken++;
            expect(show(found)).toBe(show(tryDecode(type, encoded[i] ?? first)));
          });
        },
      ),
      { numRuns: 8 },
    );
  }
  expect(taken).toBeGreaterThan(TYPES.length);
});

test('follows numbers of any length, in messages and lists too', () => {
  const values = [0n, 1n, 127n, 128n, 1n << 28n, (1n << 53n) - 1n, 1n << 53n, (1n << 64n) - 1n];
  fc.assert(
    fc.property(arbitraryMessage(CoreEntry), fc.constantFrom(...values), (entry, value) => {
      const { thread_core, thread_info } = entry;
      if (thread_core === undefined || thread_info === undefined) return;
      const changed: CoreEntry = {
        ...entry,
        thread_core: { ...thread_core, futex_rla: value },
        thread_info: {
          ...thread_info,
          gpregs: { ...thread_info.gpregs, ip: value, r15: value },
          fpregs: { ...thread_info.fpregs, xmm_space: thread_info.fpregs.xmm_space.map(() => Number(value & 0xffffn)) },
        },
      };
      const encoded = encode(CoreEntry, changed);
      const [, found] = decodeAll(CoreEntry, [encode(CoreEntry, entry), encoded]);
      expect(found).not.toBeUndefined();
      expect(show(found)).toBe(show(tryDecode(CoreEntry, encoded)));
    }),
    { numRuns: 30 },
  );
});

test('takes over what is the same', () => {
  const encoded = [encode(RlimitEntry, { cur: 1n, max: 2n }), encode(RlimitEntry, { cur: 1n, max: 3n })];
  expect(decodeAll(RlimitEntry, encoded)).toEqual([undefined, { cur: 1n, max: 3n }]);
});

test('messages in messages are the same object when they have the same bytes as one before', () => {
  fc.assert(
    fc.property(arbitraryMessage(CoreEntry), ({ thread_info, ...rest }) => {
      if (thread_info === undefined) return;
      const { fpregs } = thread_info;
      const cores = times(
        9,
        (i): CoreEntry => ({
          ...rest,
          thread_info: { ...thread_info, clear_tid_addr: BigInt(i), fpregs: { ...fpregs, cwd: i % 2 } },
        }),
      );
      const encoded = cores.map((core) => encode(CoreEntry, core));
      const found = decodeAll(CoreEntry, encoded) as (CoreEntry | undefined)[];
      const others = found.slice(3);
      expect(others.map(show)).toEqual(encoded.slice(3).map((bytes) => show(tryDecode(CoreEntry, bytes))));
      expect(new Set(others.map((core) => core?.thread_info?.fpregs)).size).toBe(2);
    }),
    { numRuns: 10 },
  );
});

test('leaves to the codec what has other fields, or is damaged', () => {
  const entry: FdinfoEntry = { id: 1, flags: 0, type: 1, fd: 3 };
  const usual = encode(FdinfoEntry, entry);
  const more = encode(FdinfoEntry, { ...entry, xattr_security_selinux: 'a' });
  expect(decodeAll(FdinfoEntry, [usual, more, usual, more]).map((found) => found !== undefined)).toEqual([
    false,
    false,
    true,
    true,
  ]);
  const wrong = usual.slice();
  wrong[5] = 77; // no type of a descriptor
  expect(decodeAll(FdinfoEntry, [usual, wrong])).toEqual([undefined, undefined]);
  expect(decodeAll(FdinfoEntry, [usual, usual.slice(0, -1)])).toEqual([undefined, undefined]);
});

test('gives up when nothing is alike', () => {
  const type = FdinfoEntry as MessageType<unknown>;
  const lists = Array.from({ length: 30 }, (_, i) => ({
    id: i,
    flags: 0,
    type: 1,
    fd: 3,
    xattr_security_selinux: 'a',
  }));
  const encoded = lists.map((one, i) => {
    // Unknown fields have no shape.
    const unknown = new Uint8Array([0xf8, 0x07, i]);
    return new Uint8Array(Buffer.concat([encode(type, one), unknown]));
  });
  expect(decodeAll(type, encoded).every((found) => found === undefined)).toBe(true);
});
