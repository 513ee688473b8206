/** Permanent and proxied neighbours (ip neigh): those that people make. CRIU does not keep them. */
import { CriuError } from '../../base/errors.ts';
import { errnoName } from '../../linux/abi/errno.ts';
import * as RT from '../../linux/abi/rtnetlink.ts';
import * as NL from '../../netlink/netlink.ts';

/** What is needed to make one again; the rest is what the kernel counts. */
const KEPT = [RT.NDA_DST, RT.NDA_LLADDR];

/** Those of the namespace that we are in. */
export function readNeighbours(): Uint8Array[] {
  return [0, RT.NTF_PROXY].flatMap((flags) => {
    const header = new Uint8Array(RT.NDMSG.bytes);
    header[RT.NDMSG.flags] = flags;
    const request = NL.message(RT.RTM_GETNEIGH, NL.NLM_F_REQUEST | NL.NLM_F_DUMP, 1, header);
    const answers = NL.list(NL.NETLINK_ROUTE, request);
    return typeof answers === 'number' ? [] : answers.flatMap(({ payload }) => tryDescribeNeighbour(payload) ?? []);
  });
}

/** Undefined for one that the kernel has found. Pure. */
function tryDescribeNeighbour(payload: Uint8Array): Uint8Array | undefined {
  if (payload.length < RT.NDMSG.bytes) return undefined;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const isPermanent = (view.getUint16(RT.NDMSG.state, true) & RT.NUD_PERMANENT) !== 0;
  const isProxied = (view.getUint8(RT.NDMSG.flags) & RT.NTF_PROXY) !== 0;
  if (!isPermanent && !isProxied) return undefined;
  const attributes = NL.attributes(payload, RT.NDMSG.bytes);
  const kept = KEPT.flatMap((type) => {
    const value = attributes.get(type);
    return value === undefined ? [] : [NL.attribute(type, value)];
  });
  return NL.concat(payload.subarray(0, RT.NDMSG.bytes), ...kept);
}

/** Makes them in the namespace that we are in. Throws CriuError. */
export function restoreNeighbours(neighbours: readonly Uint8Array[]): void {
  const flags = NL.NLM_F_REQUEST | NL.NLM_F_ACK | NL.NLM_F_CREATE | NL.NLM_F_REPLACE;
  for (const neighbour of neighbours) {
    const result = NL.tryRequest(NL.NETLINK_ROUTE, NL.message(RT.RTM_NEWNEIGH, flags, 1, neighbour));
    if (result === 0) continue;
    const action = `cannot be made again (RTM_NEWNEIGH: ${errnoName(-result)})`;
    throw new CriuError({ object: 'a neighbour in the network namespace', action, crErrno: -result });
  }
}
