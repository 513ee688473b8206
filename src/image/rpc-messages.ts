/**
 * Messages of the RPC as bytes. On a SOCK_SEQPACKET socket, as CRIU has it, a packet is one message. On a stream, for
 * clients that have no other sockets (Node.js), each message follows its length: four bytes, the lowest first. Pure.
 */
import { encode } from './codec.ts';
import { CriuReqType, CriuResp } from './gen/rpc.ts';

export const LENGTH_BYTES = 4;
/** Longer requests are refused; the longest sensible ones have some kilobytes. */
export const MESSAGE_BYTES_MAX = 1024 * 1024;

/** A message with its length before it. */
export function framed(message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(LENGTH_BYTES + message.length);
  new DataView(bytes.buffer).setUint32(0, message.length, true);
  bytes.set(message, LENGTH_BYTES);
  return bytes;
}

/** The length that stands before a message. */
export function frameLength(head: Uint8Array): number {
  return new DataView(head.buffer, head.byteOffset).getUint32(0, true);
}

/** What a client that has dumped itself reads when it is restored. */
export function restoredResponse(isStream: boolean): Uint8Array {
  const message = encode(CriuResp, { type: CriuReqType.DUMP, success: true, dump: { restored: true } });
  return isStream ? framed(message) : message;
}
