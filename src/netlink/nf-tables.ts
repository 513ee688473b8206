/**
 * nf_tables over netlink (include/uapi/linux/netfilter/nf_tables.h): messages for tables, chains, rules and sets, and
 * sending several of them as one transaction. Either all of a batch is done, or nothing.
 */

import { ERRNO } from '../linux/abi/errno.ts';
import { MSG_DONTWAIT, SOCK_CLOEXEC } from '../linux/abi/socket.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { syscall } from '../linux/kernel.ts';
import { close } from '../linux/syscalls/fs.ts';
import { closeInBackground } from '../linux/syscalls/messages.ts';
import * as NL from './netlink.ts';

const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_MSG_BATCH_BEGIN = 16;
const NFNL_MSG_BATCH_END = 17;
export const NFPROTO_INET = 1;
export const NFPROTO_IPV4 = 2;
export const NFPROTO_IPV6 = 10;

const NFT_MSG = { NEWTABLE: 0, GETTABLE: 1, DELTABLE: 2, NEWCHAIN: 3, NEWRULE: 6, NEWSET: 9, NEWSETELEM: 12 } as const;
const NFTA_LIST_ELEM = 1;

const NFGENMSG_BYTES = 4;
/** struct nfgenmsg: family, version 0, resource in network order. */
export const nfgenmsg = (family: number, resource = 0) => Uint8Array.of(family, 0, 0, resource);

/** A message for an object of a table of family `inet`. */
function nftMessage(command: keyof typeof NFT_MSG, flags: number, ...attributes: Uint8Array[]): Uint8Array {
  const type = (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG[command];
  return NL.message(type, NL.NLM_F_REQUEST | flags, 1, nfgenmsg(NFPROTO_INET), ...attributes);
}

/** The table goes away with the socket that made it (5.12). */
export const NFT_TABLE_F_OWNER = 2;

/** Fails with EEXIST when there is one. */
export const newTable = (table: string, flags: number) =>
  nftMessage(
    'NEWTABLE',
    NL.NLM_F_CREATE | NL.NLM_F_EXCL,
    NL.attribute(1, NL.text(table)),
    NL.attribute(2, NL.be32(flags)),
  );

/** With all that is in it. */
export const deleteTable = (table: string) => nftMessage('DELTABLE', 0, NL.attribute(1, NL.text(table)));

/** Whether there is one of that name. */
export function hasTable(table: string): boolean {
  const request = nftMessage('GETTABLE', 0, NL.attribute(1, NL.text(table)));
  const answers = NL.ask(NL.NETLINK_NETFILTER, request);
  return typeof answers !== 'number' && answers.length > 0 && NL.firstError(answers) === undefined;
}

/** All tables of all families of our network namespace; none where the kernel has no nf_tables. */
export function listTables(): { name: string; flags: number }[] {
  const type = (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG.GETTABLE;
  const answers = NL.list(NL.NETLINK_NETFILTER, NL.message(type, NL.NLM_F_REQUEST | NL.NLM_F_DUMP, 1, nfgenmsg(0)));
  if (typeof answers === 'number') return [];
  return answers.map(({ payload }) => {
    const found = NL.attributes(payload, NFGENMSG_BYTES);
    const flags = found.get(2);
    return { name: NL.textOf(found.get(1)), flags: flags === undefined ? 0 : Buffer.from(flags).readUInt32BE() };
  });
}

export const NF_INET_LOCAL_IN = 1;
export const NF_INET_LOCAL_OUT = 3;

/** A base chain of type filter with priority 0. What reaches its end is accepted or dropped. */
export const newFilterChain = (table: string, chain: string, hook: number, policy: keyof typeof VERDICT = 'accept') =>
  nftMessage(
    'NEWCHAIN',
    NL.NLM_F_CREATE,
    NL.attribute(1, NL.text(table)),
    NL.attribute(3, NL.text(chain)),
    NL.nested(4, NL.attribute(1, NL.be32(hook)), NL.attribute(2, NL.be32(0))),
    NL.attribute(5, NL.be32(VERDICT[policy])),
    NL.attribute(7, NL.text('filter')),
  );

/** A set of keys. `type` is for the program nft only: six bits for each part. */
export const newSet = (table: string, set: string, id: number, type: number, keyBytes: number) =>
  nftMessage(
    'NEWSET',
    NL.NLM_F_CREATE,
    NL.attribute(1, NL.text(table)),
    NL.attribute(2, NL.text(set)),
    NL.attribute(3, NL.be32(0)),
    NL.attribute(4, NL.be32(type)),
    NL.attribute(5, NL.be32(keyBytes)),
    NL.attribute(10, NL.be32(id)),
  );

/** An attribute has 16 bits for its length. */
const ELEMENTS_PER_MESSAGE = 1000;

/** Adds keys to a set, `keyBytes` each, which follow each other. */
export function newElements(table: string, set: string, keys: Uint8Array, keyBytes: number): Uint8Array[] {
  const messages: Uint8Array[] = [];
  const perMessage = ELEMENTS_PER_MESSAGE * keyBytes;
  const names = [NL.attribute(1, NL.text(table)), NL.attribute(2, NL.text(set))];
  for (let at = 0; at < keys.length; at += perMessage) {
    const elements = elementsOf(keys.subarray(at, at + perMessage), keyBytes);
    messages.push(nftMessage('NEWSETELEM', NL.NLM_F_CREATE, ...names, NL.nested(3, elements)));
  }
  return messages;
}

/** They differ in the key, which comes last. */
function elementsOf(keys: Uint8Array, keyBytes: number): Uint8Array {
  const element = NL.nested(NFTA_LIST_ELEM, NL.nested(1, NL.attribute(1, new Uint8Array(keyBytes))));
  const bytes = new Uint8Array((keys.length / keyBytes) * element.length);
  for (let from = 0, at = 0; from < keys.length; from += keyBytes, at += element.length) {
    bytes.set(element, at);
    bytes.set(keys.subarray(from, from + keyBytes), at + element.length - keyBytes);
  }
  return bytes;
}

/** A rule at the end of its chain. */
export const newRule = (table: string, chain: string, expressions: readonly Uint8Array[]) =>
  nftMessage(
    'NEWRULE',
    NL.NLM_F_CREATE | NL.NLM_F_APPEND,
    NL.attribute(1, NL.text(table)),
    NL.attribute(2, NL.text(chain)),
    NL.nested(4, ...expressions),
  );

const expression = (name: string, ...attributes: Uint8Array[]) =>
  NL.nested(NFTA_LIST_ELEM, NL.attribute(1, NL.text(name)), NL.nested(2, ...attributes));

export const NFT_META_MARK = 3;
export const NFT_META_NFPROTO = 15;
export const NFT_META_L4PROTO = 16;
/** The first of the registers of 4 bytes. */
export const NFT_REG32_00 = 8;

/** Loads a property of the packet into a register. */
export const loadMeta = (key: number, register: number) =>
  expression('meta', NL.attribute(1, NL.be32(register)), NL.attribute(2, NL.be32(key)));

/** Ends the rule unless the register has that value. */
export const mustEqual = (register: number, value: Uint8Array) =>
  expression(
    'cmp',
    NL.attribute(1, NL.be32(register)),
    NL.attribute(2, NL.be32(0)),
    NL.nested(3, NL.attribute(1, value)),
  );

const BASE = { network: 1, transport: 2 } as const;

/** Loads bytes of a header into registers. */
export const loadHeader = (header: keyof typeof BASE, offset: number, bytes: number, register: number) =>
  expression(
    'payload',
    ...[register, BASE[header], offset, bytes].map((value, i) => NL.attribute(i + 1, NL.be32(value))),
  );

/** Ends the rule unless the registers are a key of the set. */
export const mustBeIn = (set: string, id: number, register: number) =>
  expression('lookup', NL.attribute(1, NL.text(set)), NL.attribute(2, NL.be32(register)), NL.attribute(4, NL.be32(id)));

const VERDICT = { drop: 0, accept: 1 } as const;

export const verdict = (code: keyof typeof VERDICT) =>
  expression(
    'immediate',
    NL.attribute(1, NL.be32(0)),
    NL.nested(2, NL.nested(2, NL.attribute(1, NL.be32(VERDICT[code])))),
  );

/** The messages between the begin and end of a transaction. */
export function batch(messages: readonly Uint8Array[]): Uint8Array {
  const mark = (type: number) => NL.message(type, NL.NLM_F_REQUEST, 1, nfgenmsg(0, NFNL_SUBSYS_NFTABLES));
  return NL.concat(mark(NFNL_MSG_BATCH_BEGIN), ...messages, mark(NFNL_MSG_BATCH_END));
}

const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;

/** A socket for transactions. */
export class NfTables {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** −errno when the kernel has no netfilter. */
  static tryOpen(): NfTables | number {
    const fd = syscall(SYS.socket, NL.AF_NETLINK, NL.SOCK_RAW | SOCK_CLOEXEC, NL.NETLINK_NETFILTER);
    return fd < 0 ? fd : new NfTables(fd);
  }

  /** Does all of it or nothing: 0 or −errno. The kernel has answered when the call that sends returns. */
  tryCommit(messages: readonly Uint8Array[]): number {
    const request = batch(messages);
    syscall(SYS.setsockopt, this.#fd, SOL_SOCKET, SO_SNDBUFFORCE, Int32Array.of(request.length + 4096), 4);
    const sent = syscall(SYS.sendto, this.#fd, request, request.length, 0, 0, 0);
    if (sent < 0) return sent;
    const buffer = new Uint8Array(16 * 1024);
    let result = 0;
    for (;;) {
      const got = syscall(SYS.recvfrom, this.#fd, buffer, buffer.length, MSG_DONTWAIT, 0, 0);
      if (got === -ERRNO.EINTR) continue;
      if (got <= 0) return result;
      const error = NL.firstError(NL.parseAnswers(buffer.subarray(0, got))) ?? 0;
      if (error < 0 && result === 0) result = error;
    }
  }

  /** Tables that this socket owns go away. */
  close(): void {
    close(this.#fd);
  }

  /**
   * The same when there are none: without the wait, 10 ms, until the kernel has freed what was deleted
   * (net/netfilter/nf_tables_api.c nft_rcv_nl_event()).
   */
  leave(): void {
    closeInBackground(this.#fd);
  }
}
