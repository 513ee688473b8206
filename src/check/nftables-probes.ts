/**
 * Probes of packet filters: nf_tables over netlink (include/uapi/linux/netfilter/nf_tables.h), iptables by its program.
 * Tables are made in a network namespace of their own.
 */

import { invocation } from '../base/invocation.ts';
import { CLONE_NEWNET } from '../linux/abi/sched.ts';
import { MSG_DONTWAIT } from '../linux/abi/socket.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import * as NL from '../netlink/netlink.ts';
import { batch, NFPROTO_INET, nfgenmsg } from '../netlink/nf-tables.ts';
import { Child } from './child.ts';
import { failed, type Missing } from './probe.ts';

const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_NEWTABLE = 0;
const NFT_MSG_NEWSET = 9;
const NFTA_TABLE_NAME = 1;
const NFTA_SET_TABLE = 1;
const NFTA_SET_NAME = 2;
const NFTA_SET_FLAGS = 3;
const NFTA_SET_KEY_TYPE = 4;
const NFTA_SET_KEY_LEN = 5;
const NFTA_SET_DESC = 9;
const NFTA_SET_ID = 10;
const NFTA_SET_DESC_CONCAT = 2;
const NFTA_LIST_ELEM = 1;
const NFTA_SET_FIELD_LEN = 1;
const NFT_SET_CONCAT = 0x80;
/** Types of libnftables: ipv4_addr 7, inet_service 13, six bits each. */
const ADDRESS_AND_PORT = (7 << 6) | 13;
const ADDRESS_BYTES = 4;
const PORT_BYTES = 4; // padded to a register

const TABLE = 'criu-check';
const FLAGS = NL.NLM_F_REQUEST | NL.NLM_F_ACK | NL.NLM_F_CREATE;

function newTable(): Uint8Array {
  const type = (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_NEWTABLE;
  return NL.message(type, FLAGS, 2, nfgenmsg(NFPROTO_INET), NL.attribute(NFTA_TABLE_NAME, NL.text(TABLE)));
}

function newSet(): Uint8Array {
  const field = (bytes: number) => NL.nested(NFTA_LIST_ELEM, NL.attribute(NFTA_SET_FIELD_LEN, NL.be32(bytes)));
  return NL.message(
    (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_NEWSET,
    FLAGS,
    3,
    nfgenmsg(NFPROTO_INET),
    NL.attribute(NFTA_SET_TABLE, NL.text(TABLE)),
    NL.attribute(NFTA_SET_NAME, NL.text('conn')),
    NL.attribute(NFTA_SET_FLAGS, NL.be32(NFT_SET_CONCAT)),
    NL.attribute(NFTA_SET_KEY_TYPE, NL.be32(ADDRESS_AND_PORT)),
    NL.attribute(NFTA_SET_KEY_LEN, NL.be32(ADDRESS_BYTES + PORT_BYTES)),
    NL.attribute(NFTA_SET_ID, NL.be32(1)),
    NL.nested(NFTA_SET_DESC, NL.nested(NFTA_SET_DESC_CONCAT, field(ADDRESS_BYTES), field(PORT_BYTES))),
  );
}

/** Sends a batch in a network namespace of its own; the kernel answers each message within the call that sends. */
function tryBatch(what: string, messages: readonly Uint8Array[]): Missing {
  const request = batch(messages);
  const child = new Child();
  const { program } = child;
  const fd = child.step('socket(NETLINK_NETFILTER)', SYS.socket, NL.AF_NETLINK, NL.SOCK_RAW, NL.NETLINK_NETFILTER);
  child.step('send', SYS.sendto, fd, program.data(request), request.length, 0, 0, 0);
  const answers = messages.map(() => {
    const place = program.reserve(4096);
    return { place, got: child.step(what, SYS.recvfrom, fd, place, place.bytes, MSG_DONTWAIT, 0, 0) };
  });
  const missing = child.run(CLONE_NEWNET);
  // Where one message is refused, there are fewer answers than messages.
  const errors = answers.map(({ place, got }) => {
    const bytes = child.result(got);
    return bytes > 0 ? (NL.firstError(NL.parseAnswers(child.bytes(place).subarray(0, bytes))) ?? 0) : 0;
  });
  const error = errors.find((value) => value < 0);
  return error === undefined ? missing : failed(what, error);
}

/** nf_tables (3.13): a table can be made. */
export function probeNftables(): Missing {
  return tryBatch('nf_tables: a table', [newTable()]);
}

/** Sets whose key is an address and a port (5.6), with which connections are locked. */
export function probeNftablesConcat(): Missing {
  return tryBatch('nf_tables: a set of addresses and ports', [newTable(), newSet()]);
}

/** Names that the program has, the plain one first, which may be either variant. */
const LEGACY_PROGRAMS = {
  4: ['iptables-save', 'iptables-legacy-save'],
  6: ['ip6tables-save', 'ip6tables-legacy-save'],
};
const VERSION_MS = 2000;

/** A program that speaks the older interface of iptables; for IPv6 only where the kernel has that. */
export function probeLegacyIptables(hasIpv6: boolean): Missing {
  return findLegacy(4) ?? (hasIpv6 ? findLegacy(6) : undefined);
}

function findLegacy(version: 4 | 6): Missing {
  const names = LEGACY_PROGRAMS[version];
  return names.some(isLegacy) ? undefined : `no program ${names.join(' or ')} that uses the legacy interface`;
}

function isLegacy(name: string): boolean {
  const path = Bun.which(name);
  if (path === null) return false;
  const { exitCode, stdout } = Bun.spawnSync([path, '-V'], {
    env: invocation().environment(),
    stdin: 'ignore',
    stderr: 'ignore',
    timeout: VERSION_MS,
  });
  return exitCode === 0 && !stdout.toString().includes('nf_tables');
}
