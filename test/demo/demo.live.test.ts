/** The demo must hold what it claims, in each language this machine has. */
import { expect } from 'bun:test';
import { join } from 'node:path';
import { liveCase } from '../harness/live-test.ts';

for (const language of ['cc', 'python3', 'perl', 'bash']) {
  if (Bun.which(language) === null) continue;
  liveCase(`the demo works with ${language}`, async () => {
    const child = Bun.spawn([process.execPath, join(import.meta.dir, 'demo.ts')], {
      env: { ...process.env, DEMO_LANGUAGE: language },
      stdout: 'pipe',
      stderr: 'pipe',
    });
    const output = await new Response(child.stdout).text();
    expect([await child.exited, output.includes('WRONG')]).toEqual([0, false]);
  });
}
