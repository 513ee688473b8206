import { expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { OPTION_TABLE } from '../src/options/option-table.ts';
import { CRIT_MAN_PAGE, generateCritMan } from './generate-crit-man.ts';
import { generateMan, MAN_PAGE } from './generate-man.ts';

test('docs/criu.8 is up to date (else run: bun tools/generate-man.ts)', () => {
  expect(readFileSync(MAN_PAGE, 'utf8')).toBe(generateMan());
});

test('docs/crit.1 is up to date (else run: bun tools/generate-man.ts)', () => {
  expect(readFileSync(CRIT_MAN_PAGE, 'utf8')).toBe(generateCritMan());
});

test('every option has an entry', () => {
  const tags = generateMan()
    .split('\n')
    .filter((line) => line.startsWith('.B '))
    .join('\n');
  for (const { long } of OPTION_TABLE) {
    const name = `--${long}`.replaceAll('-', '\\-');
    expect(`${long} ${tags.includes(name)}`).toBe(`${long} true`);
  }
});

test('no text is taken for a request of roff', () => {
  for (const line of [...generateMan().split('\n'), ...generateCritMan().split('\n')]) {
    if (line.startsWith('.')) expect(line).toMatch(/^\.(TH|SH|SS|PP|TP|B|BR|RS|RE|nf|fi|\\")( |$)/);
    expect(line.startsWith("'")).toBe(false);
  }
});
