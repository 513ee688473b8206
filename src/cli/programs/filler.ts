/** The program that a run-at-once restore starts for itself (pages/filler.ts): no command, no options. */

import { runEndTree, runFiller } from '../../pages/filler.ts';
import { END_TREE } from '../../pages/guard.ts';
import { describeFailure } from '../outcome.ts';
import { createLogSink } from '../startup.ts';

/** `words` follow the name of the program. Returns the exit status. */
export function run([first = '', second = '']: readonly string[]): number {
  const sink = createLogSink();
  sink.open(2);
  try {
    return first === END_TREE ? runEndTree(Number(second), sink) : runFiller(Number(first), sink);
  } catch (error) {
    sink.logger.child('fill').error(describeFailure(error));
    return 1;
  }
}
