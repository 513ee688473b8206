/** Looking at a message that waits in a socket, without taking it (man 2 recvmsg, MSG_PEEK). */
import { MSG_DONTWAIT, MSG_PEEK, MSG_TRUNC } from '../../linux/abi/socket.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { addressOf, syscall } from '../../linux/kernel.ts';

const MSG_CMSG_CLOEXEC = 0x4000_0000;

const MSGHDR_BYTES = 56;
/** SCM_MAX_FD (253) descriptors and credentials fit. */
const CONTROL_BYTES = 2048;

export interface Peeked {
  /** Bytes, or −errno. */
  readonly result: number;
  readonly flags: number;
  readonly control: Uint8Array;
  /** struct sockaddr of the sender; empty when it has no name. */
  readonly sender: Uint8Array;
}

const controlRoom = new Uint8Array(CONTROL_BYTES);
const nameRoom = new Uint8Array(128);

/** The next message. Descriptors that are in flight in it are installed in our own table. */
export function peekMessage(fd: number, room: Uint8Array): Peeked {
  const vector = BigUint64Array.of(BigInt(addressOf(room)), BigInt(room.length));
  const header = new Uint8Array(MSGHDR_BYTES);
  const view = new DataView(header.buffer);
  view.setBigUint64(0, BigInt(addressOf(nameRoom)), true);
  view.setUint32(8, nameRoom.length, true);
  view.setBigUint64(16, BigInt(addressOf(vector)), true);
  view.setBigUint64(24, 1n, true);
  view.setBigUint64(32, BigInt(addressOf(controlRoom)), true);
  view.setBigUint64(40, BigInt(CONTROL_BYTES), true);
  const result = syscall(SYS.recvmsg, fd, header, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC);
  const used = result < 0 ? 0 : Number(view.getBigUint64(40, true));
  const nameBytes = result < 0 ? 0 : view.getUint32(8, true);
  // The array must stay alive until the kernel has used its address.
  const isAlive = vector.length === 2;
  return {
    result,
    flags: isAlive ? view.getInt32(48, true) : 0,
    control: controlRoom.slice(0, used),
    sender: nameRoom.slice(0, nameBytes),
  };
}

/** Control messages: level, type and payload each. */
export function* controlMessages(control: Uint8Array): Iterable<{ level: number; type: number; payload: DataView }> {
  const view = new DataView(control.buffer, control.byteOffset, control.byteLength);
  for (let at = 0; at + 16 <= control.length; ) {
    const length = Number(view.getBigUint64(at, true));
    if (length < 16 || at + length > control.length) return;
    const payload = new DataView(control.buffer, control.byteOffset + at + 16, length - 16);
    yield { level: view.getInt32(at + 8, true), type: view.getInt32(at + 12, true), payload };
    at += (length + 7) & ~7;
  }
}
