/** Programs that can't be checkpointed: the refusal says what to do, and the program runs on. */
import { expect } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readTree } from '../harness/processes.ts';
import { expectRefused, realTest, startScript, waitForText } from '../harness/real-program.ts';

realTest('a program under gdb is refused, naming the debugger', { gdb: 'gdb', gcc: 'gcc' }, async (dir) => {
  writeFileSync(
    join(dir, 'main.c'),
    '#include <unistd.h>\nint main(void) { write(1, "ready\\n", 6); for (;;) pause(); }\n',
  );
  const program = startScript(dir, 'gcc -o main main.c && exec gdb -q -batch -ex run ./main');
  await waitForText(program, 'output', /ready/);
  const { output } = await expectRefused(program);
  expect(output).toMatch(/task \d+ 'main': cannot be stopped: process \d+ 'gdb' traces it already/);
});

realTest(
  'a browser is refused, naming its namespaces',
  { chromium: 'chromium', setpriv: 'util-linux' },
  async (dir) => {
    const program = startScript(
      dir,
      `exec setpriv --reuid=65534 --regid=65534 --clear-groups chromium --headless --disable-gpu --user-data-dir=${dir}/profile --remote-debugging-port=7421 about:blank`,
    );
    await waitForText(program, 'output', /DevTools listening/);
    const { output } = await expectRefused(program);
    expect(output).toMatch(/'chromium': cannot be dumped: it is in another pid namespace than criu/);
    expect(readTree(program.pid).length).toBeGreaterThan(1);
  },
);
