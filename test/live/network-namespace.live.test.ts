/** Trees with a network namespace of their own. The programs make it; nothing here touches the network of the machine. */
import { liveTest } from '../harness/live-test.ts';

const ARGS = { dumpArgs: ['--tcp-established'], restoreArgs: ['--tcp-established'] };
/** The namespace is a new one. */
const TCP = { ...ARGS, ignore: [/\/ns\/net$/] };

liveTest(
  'a network namespace comes back with devices, addresses, routes, rules and settings',
  'network-namespace',
  TCP,
);
liveTest('a network namespace comes back with its packet filters', 'network-namespace', { ...TCP, args: ['filter'] });
liveTest('a network namespace is as it was after a dump with --leave-running', 'network-namespace', {
  ...ARGS,
  args: ['filter'],
  leaveRunning: true,
});
