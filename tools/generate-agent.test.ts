import { expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { Assembler } from './assembler.ts';
import { generateAgent, MACHINE_CODE } from './generate-agent.ts';

test('src/agent/gen/machine-code.ts is up to date (else run: bun tools/generate-agent.ts)', () => {
  expect(readFileSync(MACHINE_CODE, 'utf8')).toBe(generateAgent());
});

test('a jump that is too far is our mistake', () => {
  const assembler = new Assembler()
    .jump('always', 'far')
    .bytes(...new Array(200).fill(0x90))
    .label('far');
  expect(() => assembler.assemble()).toThrow('bug in criu: jump to far is short (200)');
});
