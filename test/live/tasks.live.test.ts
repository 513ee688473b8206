/** Threads, trees, signals and timers. */
import { liveTest } from '../harness/live-test.ts';

liveTest('twenty threads keep all that is their own', 'threads', { args: ['20'] });
liveTest('a thousand threads keep all that is their own', 'threads', { args: ['1000'], rounds: 2 });
liveTest('threads keep their CPU affinity and timer slack', 'threads', { args: ['20', 'extra'] });
liveTest('threads can be joined after the restore', 'threads-clear-tid');

const shapes = {
  depth: 'a tree of five generations comes back',
  wide: 'two hundred children come back',
  zombies: 'zombies keep their exit status or signal',
  stopped: 'stopped tasks stay stopped',
  sessions: 'members of a session or group without its leader keep it',
  subreaper: 'an orphan adopted by a subreaper keeps its parent',
  names: 'tasks keep the names they gave themselves',
  orphan: 'sessions and groups inside the tree come back',
};
for (const [shape, title] of Object.entries(shapes)) {
  // What is pending, blocked or ignored in a zombie has no effect any more.
  liveTest(title, 'tree', { args: [shape], ignore: shape === 'zombies' ? [/(ShdPnd|SigBlk|SigIgn|SigCgt)$/] : [] });
}
liveTest('a tree of stopped tasks and zombies does not notice a dump with --leave-running', 'tree', {
  args: ['stopped'],
  leaveRunning: true,
});

liveTest('signal actions, masks and pending signals survive', 'signals');
liveTest('a handler on the alternate stack returns after the restore', 'signals-on-altstack');
// A timer that fires every 20 ms may have a signal on its way at the moment of the picture.
liveTest('interval timers and POSIX timers go on', 'timers', { ignore: [/(SigPnd|ShdPnd)$/] });
liveTest('a POSIX timer keeps its overrun', 'timer-overrun');
liveTest('a POSIX timer that signals a thread keeps its overrun', 'timer-overrun', { args: ['thread'] });
// What the timer has added meanwhile is in the picture.
liveTest('the overrun of a POSIX timer does not notice a dump with --leave-running', 'timer-overrun', {
  leaveRunning: true,
});
liveTest('monotonic and boot time neither go back nor jump', 'clocks', { beforeRestore: () => Bun.sleep(2000) });
