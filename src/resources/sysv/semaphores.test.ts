import { expect, test } from 'bun:test';
import { Program } from '../../agent/program.ts';
import { planSemaphores } from './semaphores.ts';

test('semaphores are taken again, set by set, each the other way round than at the end of the task', () => {
  const program = new Program();
  planSemaphores(program, [
    { id: 7, adjustments: [1, 0, -2] },
    { id: 8, adjustments: new Array(600).fill(1) },
  ]);
  expect(program.length).toBe(3);
  expect(program.describe(0).because).toBe(
    'take System V semaphores again (set 7), which somebody else may have by now',
  );
  // struct sembuf of semaphores 0 and 2: −1 and 2, IPC_NOWAIT | SEM_UNDO.
  const block = Buffer.from(program.assemble(0)).toString('hex');
  expect(block).toContain('0000ffff0018' + '020002000018');
});
