/** Trees with a network namespace of their own. The programs make it; nothing here touches the network of the machine. */
import { liveTest } from '../harness/live-test.ts';

const ARGS = { dumpArgs: ['--tcp-established', '--network-lock', 'nftables'], restoreArgs: ['--tcp-established'] };
/** The namespace is a new one. */
const TCP = { ...ARGS, ignore: [/\/ns\/net$/] };

liveTest('a network namespace comes back with addresses, routes, rules, settings, filters', 'network-namespace', {
  ...TCP,
  args: ['filter'],
});
liveTest('a network namespace comes back with what CRIU loses, and another device', 'network-namespace', {
  ...TCP,
  args: ['more', 'device'],
});
liveTest('a network namespace is as it was after a dump with --leave-running', 'network-namespace', {
  ...ARGS,
  args: ['more', 'device', 'filter'],
  leaveRunning: true,
});
