/**
 * TCP segments made by hand (RFC 9293), without data: what the other side of a connection would have sent. Only a packet
 * that arrives brings a socket into the states that follow the other side's FIN. Pure.
 */
import { IPPROTO_TCP } from '../../../linux/abi/inet.ts';

export const FIN = 1;
export const ACK = 16;

export interface Segment {
  /** IPv4 addresses have one word, IPv6 addresses four, as in images. */
  readonly from: { readonly words: readonly number[]; readonly port: number };
  readonly to: { readonly words: readonly number[]; readonly port: number };
  readonly sequence: number;
  readonly acknowledged: number;
  readonly flags: number;
  readonly window: number;
}

const TCP_BYTES = 20;
const IPV4_BYTES = 20;
const IPV6_BYTES = 40;
const HOPS = 64;

/** The whole packet with its IP header, for a raw socket (man 7 raw, IP_HDRINCL). */
export function packSegment(segment: Segment): Uint8Array {
  const { from, to } = segment;
  const addresses = Buffer.concat([from, to].map(({ words }) => new Uint8Array(Uint32Array.from(words).buffer)));
  const isV4 = from.words.length === 1;
  const packet = new Uint8Array((isV4 ? IPV4_BYTES : IPV6_BYTES) + TCP_BYTES);
  const view = new DataView(packet.buffer);
  if (isV4) {
    // Version and header length; the kernel fills in identification and checksum.
    view.setUint8(0, 0x45);
    view.setUint16(2, packet.length);
    view.setUint8(8, HOPS);
    view.setUint8(9, IPPROTO_TCP);
    packet.set(addresses, 12);
  } else {
    view.setUint8(0, 0x60);
    view.setUint16(4, TCP_BYTES);
    view.setUint8(6, IPPROTO_TCP);
    view.setUint8(7, HOPS);
    packet.set(addresses, 8);
  }
  const header = packet.subarray(-TCP_BYTES);
  writeHeader(new DataView(packet.buffer, packet.length - TCP_BYTES), segment);
  const pseudo = Buffer.concat([addresses, Uint8Array.of(0, 0, 0, TCP_BYTES, 0, 0, 0, IPPROTO_TCP), header]);
  view.setUint16(packet.length - TCP_BYTES + 16, checksum(pseudo));
  return packet;
}

function writeHeader(view: DataView, { from, to, sequence, acknowledged, flags, window }: Segment): void {
  view.setUint16(0, from.port);
  view.setUint16(2, to.port);
  view.setUint32(4, sequence);
  view.setUint32(8, acknowledged);
  view.setUint8(12, (TCP_BYTES / 4) << 4);
  view.setUint8(13, flags);
  view.setUint16(14, Math.min(window, 0xffff));
}

/** The Internet checksum (RFC 1071) of an even number of bytes. */
export function checksum(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
