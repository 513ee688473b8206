/**
 * Packets made by hand, for raw sockets: TCP segments without data (RFC 9293), which bring a socket into the states that
 * follow the other side's FIN, and UDP datagrams (RFC 768), which have to come from their sender again. Pure.
 */
import { IPPROTO_TCP, IPPROTO_UDP } from '../../../linux/abi/inet.ts';
import { type InetAddress, isMulticast } from './address.ts';

export const FIN = 1;
export const RST = 4;
export const ACK = 16;

/** IPv4 addresses have one word, IPv6 addresses four, as in images. */
interface Ends {
  readonly from: InetAddress;
  readonly to: InetAddress;
}

export interface Segment extends Ends {
  readonly sequence: number;
  readonly acknowledged: number;
  readonly flags: number;
  readonly window: number;
}

const TCP_BYTES = 20;
const UDP_BYTES = 8;
const UDP_CHECKSUM_AT = 6;
const IPV4_BYTES = 20;
const IPV6_BYTES = 40;
const HOPS = 64;

/** A TCP segment with its IP header (man 7 raw, IP_HDRINCL). */
export function packSegment({ from, to, sequence, acknowledged, flags, window }: Segment): Uint8Array {
  const header = new Uint8Array(TCP_BYTES);
  const view = new DataView(header.buffer);
  view.setUint16(0, from.port);
  view.setUint16(2, to.port);
  view.setUint32(4, sequence);
  view.setUint32(8, acknowledged);
  view.setUint8(12, (TCP_BYTES / 4) << 4);
  view.setUint8(13, flags);
  view.setUint16(14, Math.min(window, 0xffff));
  return packIp({ from, to }, IPPROTO_TCP, header, 16);
}

/** A UDP datagram with its IP header. */
export function packDatagram(ends: Ends, payload: Uint8Array): Uint8Array {
  const datagram = new Uint8Array(UDP_BYTES + payload.length);
  const view = new DataView(datagram.buffer);
  view.setUint16(0, ends.from.port);
  view.setUint16(2, ends.to.port);
  view.setUint16(4, datagram.length);
  datagram.set(payload, UDP_BYTES);
  return packIp(ends, IPPROTO_UDP, datagram, UDP_CHECKSUM_AT);
}

/** The same in two parts, before and after the port that it is sent to, without a checksum. To a group it never leaves the host. */
export function packWithoutPort(ends: Ends, payload: Uint8Array): [Uint8Array, Uint8Array] {
  const packet = packDatagram(ends, payload);
  const isV4 = ends.from.words.length === 1;
  const udpAt = isV4 ? IPV4_BYTES : IPV6_BYTES;
  packet.fill(0, udpAt + UDP_CHECKSUM_AT, udpAt + UDP_BYTES);
  if (isMulticast(ends.to.words)) packet[isV4 ? 8 : 7] = 0;
  return [packet.subarray(0, udpAt + 2), packet.subarray(udpAt + 4)];
}

/** The packet around `body`, which has its checksum at that place. */
function packIp({ from, to }: Ends, protocol: number, body: Uint8Array, checksumAt: number): Uint8Array {
  const addresses = Buffer.concat([from, to].map(({ words }) => new Uint8Array(Uint32Array.from(words).buffer)));
  const isV4 = from.words.length === 1;
  const headerBytes = isV4 ? IPV4_BYTES : IPV6_BYTES;
  const packet = new Uint8Array(headerBytes + body.length);
  const view = new DataView(packet.buffer);
  if (isV4) {
    // Version and header length; the kernel fills in identification and checksum.
    view.setUint8(0, 0x45);
    view.setUint16(2, packet.length);
    view.setUint8(8, HOPS);
    view.setUint8(9, protocol);
    packet.set(addresses, 12);
  } else {
    view.setUint8(0, 0x60);
    view.setUint16(4, body.length);
    view.setUint8(6, protocol);
    view.setUint8(7, HOPS);
    packet.set(addresses, 8);
  }
  packet.set(body, headerBytes);
  const pseudo = Buffer.concat([addresses, Uint8Array.of(0, 0, body.length >>> 8, body.length, 0, 0, 0, protocol)]);
  // In UDP 0 means that there is none.
  view.setUint16(headerBytes + checksumAt, checksum(pseudo, body) || 0xffff);
  return packet;
}

/** The Internet checksum (RFC 1071); all parts but the last have an even length. */
export function checksum(...parts: readonly Uint8Array[]): number {
  let sum = 0;
  for (const bytes of parts) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at + 1 < bytes.length; at += 2) sum += view.getUint16(at);
    if (bytes.length % 2 === 1) sum += (bytes[bytes.length - 1] ?? 0) << 8;
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}
