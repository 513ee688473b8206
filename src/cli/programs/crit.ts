/** The program `crit`, and `criu crit`. */
import { invocation } from '../../base/invocation.ts';
import { runCrit } from '../crit/run-crit.ts';
import { isCritName } from '../run-program.ts';

/** The exit status; never throws. */
export const run = (): Promise<number> => runCrit(isCritName(invocation().words[0] ?? ''));
