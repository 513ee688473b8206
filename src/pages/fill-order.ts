/**
 * What a restore tells the filler (filler.ts): who is restored, whose memory comes later, and where it is to be had. All
 * descriptors are numbers of the process that restores; the filler fetches them. Bytes in a memfd: the length of a text of
 * JSON, the text, and four 64-bit numbers for each run of pages. Pure.
 */
import { bytesOf } from '../base/bytes.ts';
import type { Range } from '../resources/mm/address-space.ts';
import type { PageRun } from '../resources/mm/pages-image.ts';

/** A task whose memory comes later. */
export interface FillTask {
  readonly pid: number;
  /** "task 12 'nginx'", for messages. */
  readonly label: string;
  /** Its userfaultfd, in which the mappings are registered. */
  readonly uffd: number;
  readonly ranges: readonly Range[];
  readonly runs: readonly PageRun[];
}

export interface FillFile {
  readonly path: string;
  readonly fd: number;
}

export interface FillOrder {
  readonly logLevel: number;
  /** All tasks of the tree, the root first. */
  readonly pids: readonly number[];
  readonly files: readonly FillFile[];
  readonly tasks: readonly FillTask[];
}

/** As it is in the text: how many runs there are. */
type EncodedOrder = Omit<FillOrder, 'tasks'> & {
  readonly tasks: readonly (Omit<FillTask, 'runs'> & { readonly runs: number })[];
};

const NUMBERS_PER_RUN = 4;

export function encodeOrder(order: FillOrder): Uint8Array {
  const indices = new Map(order.files.map(({ path }, index) => [path, index]));
  const tasks = order.tasks.map(({ runs, ...task }) => ({ ...task, runs: runs.length }));
  const text = bytesOf(JSON.stringify({ ...order, tasks }));
  const start = 4 + text.length;
  const count = order.tasks.reduce((sum, { runs }) => sum + runs.length, 0);
  const bytes = new Uint8Array(start + count * NUMBERS_PER_RUN * 8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, text.length, true);
  bytes.set(text, 4);
  let at = start;
  for (const { runs } of order.tasks) {
    for (const { address, bytes: length, file, offset } of runs) {
      view.setFloat64(at, address, true);
      view.setFloat64(at + 8, length, true);
      view.setFloat64(at + 16, indices.get(file) ?? -1, true);
      view.setFloat64(at + 24, offset, true);
      at += NUMBERS_PER_RUN * 8;
    }
  }
  return bytes;
}

/** The other way. It comes from criu itself, so nothing is checked. */
export function decodeOrder(bytes: Uint8Array): FillOrder {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const textBytes = view.getUint32(0, true);
  const text = Buffer.from(bytes.subarray(4, 4 + textBytes)).toString('latin1');
  const { tasks, ...order } = JSON.parse(text) as EncodedOrder;
  let at = 4 + textBytes;
  const readRun = (): PageRun => {
    const [address, length, file, offset] = [0, 8, 16, 24].map((place) => view.getFloat64(at + place, true));
    at += NUMBERS_PER_RUN * 8;
    const path = order.files[file ?? -1]?.path ?? '';
    return { address: address ?? 0, bytes: length ?? 0, file: path, offset: offset ?? 0 };
  };
  return { ...order, tasks: tasks.map((task) => ({ ...task, runs: Array.from({ length: task.runs }, readRun) })) };
}
