/** Options of sockets that the original's images have no field for. */
import { liveTest } from '../harness/live-test.ts';

// Inodes of sockets are new.
liveTest('every option of a socket survives, and memberships of multicast groups', 'socket-options', {
  ignore: [/\/fd\/\d+$/, /\/fdinfo\/\d+$/],
});
