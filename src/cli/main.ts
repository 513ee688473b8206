/**
 * The programs `criu` and `crit`. Nothing is imported before it is known that it is needed: whoever only asks for the version
 * (runtimes do, before each operation) pays for nothing else.
 */
import { invocation } from '../base/invocation.ts';
import { MAKE_IMAGE } from '../start/layout.ts';
import { runProgram } from './run-program.ts';

const [, first, folder = ''] = invocation().words;
if (first === MAKE_IMAGE) {
  // The way of a build, not of a user: a criu that has a start image does not come here.
  process.exitCode = await (await import('./programs/imaged.ts')).run(folder);
} else {
  process.exitCode = await runProgram({
    crit: () => import('./programs/crit.ts'),
    dump: () => import('./programs/dump.ts'),
    filler: () => import('./programs/filler.ts'),
    others: () => import('./programs/others.ts'),
    restore: () => import('./programs/restore.ts'),
    version: () => import('./programs/version.ts'),
  });
}

// A command may leave timers or descriptors that keep the runtime alive; the exit status is final.
process.exit();
