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

// Arrays with a buffer of their own never move.
const controlRoom = new Uint8Array(new ArrayBuffer(CONTROL_BYTES));
const nameRoom = new Uint8Array(new ArrayBuffer(128));
const NOTHING = new Uint8Array(0);

/** struct msghdr in words, and the one iovec that it has. */
const AT = { name: 0, nameLength: 1, vector: 2, vectorCount: 3, control: 4, controlLength: 5, flags: 6 } as const;
const header = new BigUint64Array(new ArrayBuffer(MSGHDR_BYTES));
const halves = new Uint32Array(header.buffer);
const vector = new BigUint64Array(new ArrayBuffer(16));
/** Where `vector` points to, in each run. */
let target: Uint8Array | undefined;

/** The next message. Descriptors that are in flight in it are installed in our own table. */
export function peekMessage(fd: number, room: Uint8Array): Peeked {
  if (room !== target) {
    target = room;
    vector[0] = BigInt(addressOf(room));
    vector[1] = BigInt(room.length);
    header[AT.name] = BigInt(addressOf(nameRoom));
    header[AT.vector] = BigInt(addressOf(vector));
    header[AT.vectorCount] = 1n;
    header[AT.control] = BigInt(addressOf(controlRoom));
  }
  // The kernel says here how much it has used.
  halves[AT.nameLength * 2] = nameRoom.length;
  halves[AT.controlLength * 2] = CONTROL_BYTES;
  const result = syscall(SYS.recvmsg, fd, header, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC);
  const used = result < 0 ? 0 : (halves[AT.controlLength * 2] ?? 0);
  const nameBytes = result < 0 ? 0 : (halves[AT.nameLength * 2] ?? 0);
  return {
    result,
    flags: halves[AT.flags * 2] ?? 0,
    control: used === 0 ? NOTHING : controlRoom.slice(0, used),
    sender: nameBytes === 0 ? NOTHING : nameRoom.slice(0, nameBytes),
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
