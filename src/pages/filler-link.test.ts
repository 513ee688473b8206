import { afterEach, expect, test } from 'bun:test';
import { Program } from '../agent/program.ts';
import { invocationOf, setInvocation } from '../base/invocation.ts';
import { addExec } from './filler-link.ts';

afterEach(() => setInvocation(undefined));

/** What stands in the program for an execution by a criu with this environment. */
function textOfExec(...environment: string[]): string {
  setInvocation(invocationOf('criu\0restore\0', () => environment.map((variable) => `${variable}\0`).join('')));
  const program = new Program();
  addExec(program, ['12']);
  return Buffer.from(program.assemble(0)).toString('latin1');
}

test('the filler starts in the way in which criu was started, and gets nothing else of the environment', () => {
  expect(textOfExec('A=1', 'CRIU_PLAIN_START=1')).toContain('CRIU_PLAIN_START=1\0');
  expect(textOfExec('A=1', 'CRIU_PLAIN_START=1')).not.toContain('A=1');
  expect(textOfExec('A=1')).not.toContain('CRIU_PLAIN_START');
  expect(textOfExec()).toContain('fill-memory\0');
});
