import { expect, test } from 'bun:test';
import { memoryAt } from '../../linux/kernel.ts';
import { readFile } from '../../linux/syscalls/fs.ts';
import { readOwnVdso } from './check-vdso.ts';
import { vdsoPieces } from './restore-vdso.ts';

test('our own vdso is found, whatever it is to be compared with', () => {
  const code = vdsoPieces(readFile('/proc/self/maps')).find(({ name }) => name === '[vdso]');
  if (code === undefined) return;
  const ours = memoryAt(code.start, code.end - code.start).slice();
  const other = ours.slice().fill(1, 100, 200);
  for (const theirs of [ours, other, new Uint8Array(1 << 20)]) {
    expect(readOwnVdso(theirs)).toEqual(ours);
  }
});
