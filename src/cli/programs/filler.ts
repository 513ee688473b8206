/** The program that a run-at-once restore starts for itself (pages/filler.ts): no command, no options. */

import { invocation } from '../../base/invocation.ts';
import { runEndTree, runFiller } from '../../pages/filler.ts';
import { END_TREE } from '../../pages/guard.ts';
import { describeFailure } from '../outcome.ts';
import { createLogSink } from '../startup.ts';

/** Its words are a restore's (pages/filler-link.ts). Returns the exit status. */
export function run(): number {
  const [, , first = '', second = ''] = invocation().words;
  const sink = createLogSink();
  sink.open(2);
  try {
    return first === END_TREE ? runEndTree(Number(second), sink) : runFiller(Number(first), sink);
  } catch (error) {
    sink.logger.child('fill').error(describeFailure(error));
    return 1;
  }
}
