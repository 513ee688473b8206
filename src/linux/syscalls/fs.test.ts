import { afterAll, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readFile, readRecords } from './fs.ts';

const folder = mkdtempSync(join(tmpdir(), 'criu-fs-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('records are read whole, though other files are read meanwhile', () => {
  const path = join(folder, 'records');
  const lines = Array.from({ length: 20_000 }, (_, i) => `record ${i}\n`);
  writeFileSync(path, lines.join(''));
  const other = join(folder, 'other');
  writeFileSync(other, 'x'.repeat(150_000));
  let text = '';
  let parts = 0;
  readRecords(path, (part, isLast) => {
    parts++;
    readFile(other);
    // Records are not cut at the ends of parts.
    const taken = isLast ? part.length : part.lastIndexOf('\n', part.length - 20) + 1;
    text += part.slice(0, taken);
    return taken;
  });
  expect(parts).toBeGreaterThan(2);
  expect(text).toBe(lines.join(''));
});
