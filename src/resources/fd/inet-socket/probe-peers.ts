/**
 * Asks other sides whether they are still there. While the network is locked, a packet that ends a connection (RST) is
 * dropped, and it comes only once: a program that only reads would wait for ever. Who leaves repair mode sends a window
 * probe (TCP_REPAIR_OFF, net/ipv4/tcp.c), to which the other side answers with its numbers, or with RST again.
 */
import * as INET from '../../../linux/abi/inet.ts';
import { SO_REUSEADDR, SOL_SOCKET } from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { runOutliving } from '../../../tracee/outliving.ts';

/** A connection, by a descriptor of ours, of a task that stands still. */
export interface Probed {
  readonly fd: number;
  /** Leaving repair mode clears it. */
  readonly reuseAddress: boolean;
}

/** To be called when packets pass again, and before the tasks run. Throws SyscallError when there can't be a child. */
export function probePeers(connections: readonly Probed[]): void {
  if (connections.length === 0) return;
  runOutliving((program) => {
    const [on, off] = [program.int(1), program.int(INET.TCP_REPAIR_OFF)];
    const set = (fd: number, level: number, option: number, value: typeof on) =>
      program.call(SYS.setsockopt, fd, level, option, value, 4);
    for (const { fd, reuseAddress } of connections) {
      set(fd, INET.SOL_TCP, INET.TCP_REPAIR, on);
      set(fd, INET.SOL_TCP, INET.TCP_REPAIR, off);
      if (reuseAddress) set(fd, SOL_SOCKET, SO_REUSEADDR, on);
    }
  });
}
