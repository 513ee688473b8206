/**
 * What `ip address save`, `ip route save` and `ip rule save` write, which images of a network namespace hold as it is: a
 * magic, then netlink messages as the kernel sent them (iproute2: ip/ipaddress.c, ip/iproute.c, ip/iprule.c). CRIU's crit
 * does not know these; here each message is an entry, with what follows its header as `extra`.
 */
import { isJsonObject, type JsonObject, type JsonValue } from './json-value.ts';

/** Magic words, and the names that stand for them in JSON. */
const MAGICS: readonly (readonly [magic: number, name: string])[] = [
  [0x47361222, 'IFADDR'],
  [0x45311224, 'ROUTE'],
  [0x71706986, 'RULE'],
];

export const NLMSG_HEADER_BYTES = 16;
export const NLMSG_ALIGNMENT = 4;

const TYPES: Readonly<Record<number, string>> = {
  16: 'RTM_NEWLINK',
  20: 'RTM_NEWADDR',
  24: 'RTM_NEWROUTE',
  32: 'RTM_NEWRULE',
};

export function netlinkNameOf(magic: number): string | undefined {
  return MAGICS.find(([known]) => known === magic)?.[1];
}

export function netlinkMagicOf(name: string): number | undefined {
  return MAGICS.find(([, known]) => known === name)?.[0];
}

/** The header of a message (linux/netlink.h, struct nlmsghdr) without its length. */
export function netlinkHeaderToJson(header: Uint8Array, isPretty: boolean): JsonObject {
  const view = new DataView(header.buffer, header.byteOffset, NLMSG_HEADER_BYTES);
  const type = view.getUint16(4, true);
  const flags = view.getUint16(6, true);
  return {
    nlmsg_type: isPretty ? (TYPES[type] ?? type) : type,
    nlmsg_flags: isPretty ? `0x${flags.toString(16)}` : flags,
    nlmsg_seq: view.getUint32(8, true),
    nlmsg_pid: view.getUint32(12, true),
  };
}

/** A whole message but for its padding; undefined when the JSON is not that of one. */
export function tryNetlinkMessage(entry: JsonValue, payload: Uint8Array): Uint8Array | undefined {
  if (!isJsonObject(entry)) return undefined;
  const { nlmsg_type, nlmsg_flags, nlmsg_seq, nlmsg_pid } = entry;
  const type = Object.entries(TYPES).find(([, name]) => name === nlmsg_type)?.[0] ?? nlmsg_type;
  const fields = [type, nlmsg_flags, nlmsg_seq, nlmsg_pid].map((value) =>
    typeof value === 'object' ? Number.NaN : Number(value),
  );
  const [typeNumber = 0, flags = 0, seq = 0, pid = 0] = fields;
  if (!fields.every((value) => Number.isInteger(value) && value >= 0)) return undefined;
  if (typeNumber > 0xffff || flags > 0xffff || seq > 0xffff_ffff || pid > 0xffff_ffff) return undefined;
  const bytes = new Uint8Array(NLMSG_HEADER_BYTES + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, typeNumber, true);
  view.setUint16(6, flags, true);
  view.setUint32(8, seq, true);
  view.setUint32(12, pid, true);
  bytes.set(payload, NLMSG_HEADER_BYTES);
  return bytes;
}
