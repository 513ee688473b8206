/** What a network namespace may hold that no image has a place for: found, and refused. */
import type { CriuErrorFields } from '../../base/errors.ts';
import * as RT from '../../linux/abi/rtnetlink.ts';
import * as NL from '../../netlink/netlink.ts';
import { hasSetting } from './setting-files.ts';

/** Asks the namespace that we are in. */
export function findOtherContents(): CriuErrorFields[] {
  const found: [object: string, why: string][] = [];
  if (ask(NL.NETLINK_ROUTE, RT.RTM_GETQDISC, RT.TCMSG.bytes).some(isConfiguredQdisc)) {
    found.push(['queueing disciplines (tc qdisc)', 'those that people make cannot be saved']);
  }
  const hasXfrm = hasSetting('net/core/xfrm_acq_expires');
  if (hasXfrm && [XFRM_MSG_GETSA, XFRM_MSG_GETPOLICY].some((type) => ask(NETLINK_XFRM, type, 0).length > 0)) {
    found.push(['IPsec states or policies (ip xfrm)', 'they cannot be saved']);
  }
  return found.map(([object, why]) => ({
    object: `${object} of the network namespace`,
    action: 'cannot be dumped',
    why,
    remedy: 'remove them, or leave the namespace to others: --empty-ns net, or --external net[INODE]:NAME',
  }));
}

const NETLINK_XFRM = 6;
const XFRM_MSG_GETSA = 0x12;
const XFRM_MSG_GETPOLICY = 0x15;

/** Payloads of a list; none where the kernel has no such thing. */
function ask(protocol: number, type: number, headerBytes: number): Uint8Array[] {
  const request = NL.message(type, NL.NLM_F_REQUEST | NL.NLM_F_DUMP, 1, new Uint8Array(headerBytes));
  const answers = NL.list(protocol, request);
  return typeof answers === 'number' ? [] : answers.map(({ payload }) => payload);
}

/** The kernel's own have no handle. */
function isConfiguredQdisc(payload: Uint8Array): boolean {
  if (payload.length < RT.TCMSG.bytes) return false;
  return new DataView(payload.buffer, payload.byteOffset).getUint32(RT.TCMSG.handle, true) !== 0;
}
