/** What the kernel tells of packet sockets by sock_diag (uapi/linux/packet_diag.h). Pure. */
import * as PACKET from '../linux/abi/packet.ts';
import { AF_PACKET } from '../linux/abi/socket.ts';
import { type Answer, attributes, message, NLM_F_DUMP, NLM_F_REQUEST, words } from './netlink.ts';
import { SOCK_DIAG_BY_FAMILY } from './sock-diag.ts';

/** A group, address or mode that a socket has asked a device for. */
export interface PacketMembership {
  readonly index: number;
  /** How many times. */
  readonly count: number;
  /** PACKET_MR_* */
  readonly type: number;
  readonly address: Uint8Array;
}

/** struct tpacket_req3, as words. */
export type PacketRing = readonly number[];

export interface PacketDiag {
  readonly ino: number;
  /** SOCK_RAW, SOCK_DGRAM or SOCK_PACKET. */
  readonly type: number;
  /** ETH_P_*, in host order. */
  readonly protocol: number;
  /** Device it is bound to; 0: all. */
  readonly index: number;
  readonly version: number;
  readonly reserve: number;
  readonly copyThreshold: number;
  readonly timestamp: number;
  /** PDI_* */
  readonly flags: number;
  readonly memberships: readonly PacketMembership[];
  readonly rxRing: PacketRing | undefined;
  readonly txRing: PacketRing | undefined;
  readonly fanout: number | undefined;
}

/** The request for all packet sockets: struct packet_diag_req. */
export function packetDiagRequest(): Uint8Array {
  const body = new Uint8Array(20);
  const view = new DataView(body.buffer);
  view.setUint8(0, AF_PACKET);
  view.setUint32(
    8,
    PACKET.PACKET_SHOW_INFO | PACKET.PACKET_SHOW_MCLIST | PACKET.PACKET_SHOW_RING_CFG | PACKET.PACKET_SHOW_FANOUT,
    true,
  );
  return message(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, body);
}

const MESSAGE_BYTES = 16;
const INFO_WORDS = 6;
const RING_WORDS = 7;
/** struct packet_diag_mclist */
const MEMBERSHIP_BYTES = 44;
const ADDRESS_AT = 12;
const ADDRESS_BYTES_MAX = 32;

/** Undefined for messages of other kinds, and for those that are cut off. */
export function parsePacketDiag({ type, payload }: Answer): PacketDiag | undefined {
  if (type !== SOCK_DIAG_BY_FAMILY || payload.length < MESSAGE_BYTES || payload[0] !== AF_PACKET) return undefined;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const all = attributes(payload, MESSAGE_BYTES);
  const info = words(all.get(PACKET.PACKET_DIAG_INFO));
  if (info.length < INFO_WORDS) return undefined;
  const [index = 0, version = 0, reserve = 0, copyThreshold = 0, timestamp = 0, flags = 0] = info;
  const ring = (attribute: number) => {
    const values = words(all.get(attribute));
    return values.length < RING_WORDS ? undefined : values;
  };
  return {
    ino: view.getUint32(4, true),
    type: view.getUint8(1),
    protocol: view.getUint16(2, true),
    index,
    version,
    reserve,
    copyThreshold,
    timestamp,
    flags,
    memberships: parseMemberships(all.get(PACKET.PACKET_DIAG_MCLIST)),
    rxRing: ring(PACKET.PACKET_DIAG_RX_RING),
    txRing: ring(PACKET.PACKET_DIAG_TX_RING),
    fanout: words(all.get(PACKET.PACKET_DIAG_FANOUT))[0],
  };
}

function parseMemberships(bytes: Uint8Array = new Uint8Array(0)): PacketMembership[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const memberships: PacketMembership[] = [];
  for (let at = 0; at + MEMBERSHIP_BYTES <= bytes.length; at += MEMBERSHIP_BYTES) {
    const length = Math.min(view.getUint16(at + 10, true), ADDRESS_BYTES_MAX);
    memberships.push({
      index: view.getUint32(at, true),
      count: view.getUint32(at + 4, true),
      type: view.getUint16(at + 8, true),
      address: bytes.slice(at + ADDRESS_AT, at + ADDRESS_AT + length),
    });
  }
  return memberships;
}
