/** The program for `criu dump`: all that it needs and nothing else, so that it is loaded in one piece. */
import { run as dump } from '../commands/dump.ts';
import { runOnly } from '../run-criu.ts';

/** The exit status; undefined when the command line asks for something else. */
export const run = (): Promise<number | undefined> => runOnly('dump', { run: dump });
