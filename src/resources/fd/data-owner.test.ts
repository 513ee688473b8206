import { expect, test } from 'bun:test';
import { imagesWith } from '../../image/images-with.test-support.ts';
import type { RestoreContext } from './file-kind.ts';
import { pipeContent } from './pipe/pipe-data.ts';
import { queuedMessages } from './unix-socket/queue.ts';

/** A context with one pipe, and these images. */
function contextWith(contents: Parameters<typeof imagesWith>[0]): RestoreContext {
  const files = new Map([[3, { id: 3, type: 2, pipe: { id: 3, pipe_id: 7 } }]]);
  return {
    tree: { files },
    images: imagesWith(contents),
    state: (_: string, make: () => unknown) => make(),
  } as never;
}

const payload = Uint8Array.of(1);
const pipeOf = (pipe_id: number) => ({ 'pipes-data': [{ message: { pipe_id, bytes: 1 }, payload }] });
const queueOf = (id_for: number) => ({ 'sk-queues': [{ message: { id_for, length: 1, scm: [] }, payload }] });

test('data that wait belong to a file that is there', () => {
  expect(pipeContent('pipes-data', 7, contextWith(pipeOf(7)))?.packets).toHaveLength(1);
  expect(() => pipeContent('pipes-data', 7, contextWith(pipeOf(8)))).toThrow(
    'pipes-data.img: entry 0: pipe_id: 8 is not among the open files',
  );
  expect(queuedMessages(3, contextWith(queueOf(3)))).toHaveLength(1);
  expect(() => queuedMessages(3, contextWith(queueOf(4)))).toThrow(
    'sk-queues.img: entry 0: id_for: 4 is not among the open files',
  );
});
