import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { DataRows, type RowsKind } from './data-rows.ts';
import type { ScmEntry, SkPacketEntry } from './gen/sk-packet.ts';
import { ImageError } from './image-error.ts';
import { parseImage } from './image-file.ts';
import { imageFileName } from './image-kinds.ts';
import { imagesWith } from './images-with.test-support.ts';
import { serializeImage } from './serialize-image.ts';

const payload = fc.uint8Array({ maxLength: 9 });
const pipes = fc.array(
  fc
    .record({ pipe_id: fc.nat(2 ** 32 - 1), size: fc.option(fc.nat(2 ** 31)), payload })
    .map(({ pipe_id, size, payload }) => ({
      message: { pipe_id, bytes: payload.length, ...(size === null ? {} : { size }) },
      payload,
    })),
  { maxLength: 6 },
);
const scm = fc.constantFrom<ScmEntry[]>([], [], [{ type: 1, rights: [3, 4] }]);
const sender = fc.constantFrom<Pick<SkPacketEntry, 'sender_ext'>>({}, {}, { sender_ext: Uint8Array.of(65) });
const queues = fc.array(
  fc.record({ id_for: fc.nat(70000), scm, sender, payload }).map(({ id_for, scm, sender, payload }) => ({
    message: { id_for, length: payload.length, scm, ...sender },
    payload,
  })),
  { maxLength: 6 },
);

/** What parsing the image gives: elements, or the text of an error. */
function outcome(parse: () => unknown): unknown {
  try {
    return parse();
  } catch (error) {
    if (error instanceof ImageError) return error.message;
    throw error;
  }
}

function expectSame(kind: RowsKind, bytes: Uint8Array): void {
  const found = outcome(() => {
    const rows = new DataRows(kind, bytes);
    return Array.from({ length: rows.count }, (_, row) => rows.element(row));
  });
  expect(found).toEqual(outcome(() => parseImage(kind, bytes, imageFileName(kind))));
}

test('rows are what the codec says they are, damaged ones too', () => {
  const damage = fc.option(fc.tuple(fc.nat(200), fc.nat(255), fc.nat(3)));
  fc.assert(
    fc.property(pipes, queues, damage, (pipes, queues, damaged) => {
      for (const [kind, image] of [
        ['pipes-data', serializeImage('pipes-data', pipes)],
        ['fifo-data', serializeImage('fifo-data', pipes)],
        ['sk-queues', serializeImage('sk-queues', queues)],
      ] as const) {
        const bytes = damaged === null ? image : image.slice(0, image.length - damaged[2]);
        // Not in the magic: that is looked at elsewhere.
        if (damaged !== null && damaged[0] >= 8 && damaged[0] < bytes.length) bytes[damaged[0]] = damaged[1];
        if (bytes.length >= 8) expectSame(kind, bytes);
      }
    }),
    { numRuns: 1000 },
  );
});

test('only what says more is an element', () => {
  const message = { id_for: 3, length: 1, scm: [] };
  const bytes = Uint8Array.of(7);
  const images = imagesWith({
    'sk-queues': [
      { message, payload: bytes },
      { message: { ...message, creds_ext: { pid: 1, uid: 2, gid: 3 } }, payload: bytes },
    ],
  });
  const rows = DataRows.read('sk-queues', images);
  expect([rows.count, [...rows.others.keys()], rows.owners[0], rows.lengths[0]]).toEqual([2, [1], 3, 1]);
  expect(rows.bytes[rows.starts[0] ?? 0]).toBe(7);
  expect(DataRows.read('pipes-data', images).count).toBe(0);
});
