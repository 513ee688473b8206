/**
 * `criu exec -t PID [--] SYSCALL [ARGUMENT...]`: CRIU gave this up in favour of Compel. With a task and a system call
 * it works here all the same, with a warning; without them both refuse with exit status 255.
 */
import { CriuError } from '../../base/errors.ts';
import type { CommandContext } from '../command-context.ts';

const DEPRECATED = 'The "exec" action is deprecated by the Compel library.';

/** Throws CriuError when the call cannot be made; a call that fails in the task is a result like any other. */
export async function run({ options, args, log }: CommandContext): Promise<number> {
  if (options.treePid === 0 || args.length === 0) throw new CriuError({ action: DEPRECATED, exitCode: 255 });
  log.warn(DEPRECATED);
  const { parseCall } = await import('../../exec/parse-call.ts');
  const { callInTask, describeResult, hexDump } = await import('../../exec/exec.ts');
  const call = parseCall(args);
  const { value, buffers } = callInTask(options.treePid, call);
  log.message(describeResult(call, value));
  for (const { index, bytes } of buffers) log.message([`Argument ${index} returns:`, ...hexDump(bytes)].join('\n'));
  return 0;
}
