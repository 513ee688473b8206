/** Packet and netlink sockets. */
import { liveTest } from '../harness/live-test.ts';

// A restored socket has another inode number; the ring is a mapping of it.
liveTest('packet sockets with rings and fanout survive, and netlink sockets', 'packet-sockets', {
  ignore: [/\/fd\/\d+$/, /\/fdinfo\/\d+$/, /\/vma\/10000000-/],
});
