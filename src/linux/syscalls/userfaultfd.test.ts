import { expect, test } from 'bun:test';
import {
  UFFD_EVENT_FORK,
  UFFD_EVENT_PAGEFAULT,
  UFFD_EVENT_REMAP,
  UFFD_EVENT_REMOVE,
  UFFD_EVENT_UNMAP,
  UFFD_MSG_BYTES,
} from '../abi/userfaultfd.ts';
import { parseMessages } from './userfaultfd.ts';

/** struct uffd_msg: the event, then three words. */
function message(event: number, ...words: bigint[]): Uint8Array {
  const bytes = new Uint8Array(UFFD_MSG_BYTES);
  const view = new DataView(bytes.buffer);
  bytes[0] = event;
  words.forEach((word, i) => {
    view.setBigUint64(8 + 8 * i, word, true);
  });
  return bytes;
}

test('messages of a userfaultfd', () => {
  const bytes = Buffer.concat([
    message(UFFD_EVENT_PAGEFAULT, 1n, 0x7fff_0000_1234n, 4711n),
    message(UFFD_EVENT_FORK, 9n),
    message(UFFD_EVENT_REMAP, 0x1000n, 0x9000n, 0x3000n),
    message(UFFD_EVENT_REMOVE, 0x1000n, 0x2000n),
    message(UFFD_EVENT_UNMAP, 0x3000n, 0x4000n),
    message(0x77, 1n, 2n, 3n), // not known, so nothing to do
  ]);
  expect(parseMessages(bytes)).toEqual([
    { event: UFFD_EVENT_PAGEFAULT, address: 0x7fff_0000_1234, tid: 4711 },
    { event: UFFD_EVENT_FORK, uffd: 9 },
    { event: UFFD_EVENT_REMAP, from: 0x1000, to: 0x9000, bytes: 0x3000 },
    { event: UFFD_EVENT_REMOVE, start: 0x1000, end: 0x2000 },
    { event: UFFD_EVENT_UNMAP, start: 0x3000, end: 0x4000 },
  ]);
  expect(parseMessages(bytes.subarray(0, UFFD_MSG_BYTES - 1))).toEqual([]);
});
