import { expect, test } from 'bun:test';
import type { RestoreContext } from './file-kind.ts';
import { pipeContent } from './pipe/pipe-data.ts';
import { queuedMessages } from './unix-socket/queue.ts';

/** A context with one pipe, whose images all hold `content`. */
function contextWith(content: unknown): RestoreContext {
  const files = new Map([[3, { id: 3, type: 2, pipe: { id: 3, pipe_id: 7 } }]]);
  return {
    tree: { files },
    images: { tryRead: () => content },
    state: (_: string, make: () => unknown) => make(),
  } as never;
}

const data = (message: object) => [{ message, payload: new Uint8Array([1]) }];

test('data that wait belong to a file that is there', () => {
  expect(pipeContent('pipes-data', 7, contextWith(data({ pipe_id: 7, bytes: 1 })))?.packets).toHaveLength(1);
  expect(() => pipeContent('pipes-data', 7, contextWith(data({ pipe_id: 8, bytes: 1 })))).toThrow(
    'pipes-data.img: entry 0: pipe_id: 8 is not among the open files',
  );
  expect(queuedMessages(3, contextWith(data({ id_for: 3, length: 1, scm: [] })))).toHaveLength(1);
  expect(() => queuedMessages(3, contextWith(data({ id_for: 4, length: 1, scm: [] })))).toThrow(
    'sk-queues.img: entry 0: id_for: 4 is not among the open files',
  );
});
