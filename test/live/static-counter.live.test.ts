/** The smallest case: one static program whose counters must go on. */
import { liveTest } from '../harness/live-test.ts';

liveTest('a static program counts on after three round trips', 'static-counter');
liveTest('a static program does not notice a dump with --leave-running', 'static-counter', { leaveRunning: true });
liveTest('a tree becomes a sibling of criu with --restore-sibling', 'threads', { restoreArgs: ['--restore-sibling'] });
