/**
 * The network lock: packets of the TCP connections of a tree are dropped from the dump to the restore, or the kernel would
 * tell the other sides that nobody is there. One nf_tables table for each dump, named as CRIU names it (inet CRIU-RUNID,
 * the run id is in the inventory), so that either restores what the other has dumped.
 *
 * During a dump the table belongs to our socket: when criu is killed, it goes away, and the connections go on. When the
 * tree is gone for good, one transaction puts a lasting table in its place.
 *
 * Packets with CRIU's mark pass: those that a restore makes itself.
 */

import { CriuError } from '../../base/errors.ts';
import { ERRNO, errnoName } from '../../linux/abi/errno.ts';
import { AF_INET } from '../../linux/abi/socket.ts';
import * as NFT from '../../netlink/nf-tables.ts';
import { isMapped, keysOfEnds } from '../fd/inet-socket/address.ts';
import { NETWORK_LOCK_IPTABLES } from './methods.ts';

/** One side of a connection, with addresses as images have them. */
export interface LockedEnds {
  readonly family: number;
  readonly src_port: number;
  readonly dst_port: number;
  readonly src_addr: readonly number[];
  readonly dst_addr: readonly number[];
}

/** SO_MARK of packets that pass (CRIU: SOCCR_MARK). */
export const UNLOCKED_MARK = 0xc114;

/** CRIU has room for 31 characters of "inet CRIU-RUNID" (criu/netfilter.c nftables_get_table()). */
const RUN_ID_LENGTH = 21;
export const tableName = (runId: string) => `CRIU-${runId.slice(0, RUN_ID_LENGTH)}`;

/** A name for a run, so short that all of it is in the name of the table. `uuid` is random. */
export const shortRunId = (uuid: string) => uuid.slice(0, RUN_ID_LENGTH);

const IPPROTO_TCP = 6;
const PORT_BYTES = 2;
/** Types of the program nft: ipv4_addr 7, ipv6_addr 8, inet_service 13, six bits each. */
const typeOf = (address: number) => (address << 18) | (13 << 12) | (address << 6) | 13;

interface Family {
  readonly set: string;
  readonly id: number;
  readonly nfproto: number;
  readonly type: number;
  readonly addressBytes: number;
  /** Offsets of source and destination in the IP header. */
  readonly source: number;
  readonly destination: number;
}

const V4: Family = {
  set: 'conns4',
  id: 1,
  nfproto: NFT.NFPROTO_IPV4,
  type: typeOf(7),
  addressBytes: 4,
  source: 12,
  destination: 16,
};
const V6: Family = {
  set: 'conns6',
  id: 2,
  nfproto: NFT.NFPROTO_IPV6,
  type: typeOf(8),
  addressBytes: 16,
  source: 8,
  destination: 24,
};

/** Both addresses, with a word for each port. */
const keyBytes = ({ addressBytes }: Pick<Family, 'addressBytes'>) => 2 * (addressBytes + 4);

const CHAINS = [
  ['output', NFT.NF_INET_LOCAL_OUT],
  ['input', NFT.NF_INET_LOCAL_IN],
] as const;

/** The messages that make the table: nothing is dropped yet. Pure. */
export function describeTable(table: string, flags: number): Uint8Array[] {
  return [
    NFT.newTable(table, flags),
    ...[V4, V6].map(({ set, id, type, addressBytes }) => NFT.newSet(table, set, id, type, keyBytes({ addressBytes }))),
    ...CHAINS.flatMap(([chain, hook]) => [
      NFT.newFilterChain(table, chain, hook),
      NFT.newRule(table, chain, acceptMarked()),
      NFT.newRule(table, chain, dropping(V4)),
      NFT.newRule(table, chain, dropping(V6)),
    ]),
  ];
}

function acceptMarked(): Uint8Array[] {
  return [
    NFT.loadMeta(NFT.NFT_META_MARK, NFT.NFT_REG32_00),
    NFT.mustEqual(NFT.NFT_REG32_00, new Uint8Array(Uint32Array.of(UNLOCKED_MARK).buffer)),
    NFT.verdict('accept'),
  ];
}

/** The messages that make a table which drops everything, for a namespace that the tree has for itself. Pure. */
function describeWholeTable(table: string, flags: number): Uint8Array[] {
  return [
    NFT.newTable(table, flags),
    ...CHAINS.flatMap(([chain, hook]) => [
      NFT.newFilterChain(table, chain, hook, 'drop'),
      NFT.newRule(table, chain, acceptMarked()),
    ]),
  ];
}

/** The messages that add connections to it. Pure. */
export function describeConnections(table: string, connections: readonly LockedEnds[]): Uint8Array[] {
  const { v4, v6 } = keysOf(connections);
  return [...NFT.newElements(table, V4.set, v4, keyBytes(V4)), ...NFT.newElements(table, V6.set, v6, keyBytes(V6))];
}

/** Source address, source port, destination address, destination port, each from a register on, in that order. */
function dropping({ set, id, nfproto, addressBytes, source, destination }: Family): Uint8Array[] {
  const first = NFT.NFT_REG32_00;
  const half = addressBytes / 4 + 1;
  return [
    NFT.loadMeta(NFT.NFT_META_NFPROTO, first),
    NFT.mustEqual(first, Uint8Array.of(nfproto)),
    NFT.loadMeta(NFT.NFT_META_L4PROTO, first),
    NFT.mustEqual(first, Uint8Array.of(IPPROTO_TCP)),
    NFT.loadHeader('network', source, addressBytes, first),
    NFT.loadHeader('transport', 0, PORT_BYTES, first + half - 1),
    NFT.loadHeader('network', destination, addressBytes, first + half),
    NFT.loadHeader('transport', PORT_BYTES, PORT_BYTES, first + 2 * half - 1),
    NFT.mustBeIn(set, id, first),
    NFT.verdict('drop'),
  ];
}

/** Both directions of each connection, each once: both ends may be in the tree. One after the other. */
function keysOf(connections: readonly LockedEnds[]): { v4: Uint8Array; v6: Uint8Array } {
  const words: { readonly v4: number[]; readonly v6: number[] } = { v4: [], v6: [] };
  const seen = new Set<string>();
  for (const connection of connections) {
    const [own, other] = keysOfEnds(connection);
    if (seen.has(own)) continue;
    seen.add(own).add(other);
    const { family, src_addr, src_port, dst_addr, dst_port } = connection;
    const isV4 = family === AF_INET || isMapped(dst_addr);
    const [source, destination] = [src_addr, dst_addr].map((address) => (isV4 ? address.slice(-1) : address));
    const ends = [
      [...(source ?? []), portWord(src_port)],
      [...(destination ?? []), portWord(dst_port)],
    ] as const;
    words[isV4 ? 'v4' : 'v6'].push(...ends[0], ...ends[1], ...ends[1], ...ends[0]);
  }
  const bytesOf = (list: readonly number[]) => new Uint8Array(new Uint32Array(list).buffer);
  return { v4: bytesOf(words.v4), v6: bytesOf(words.v6) };
}

/** In network order, with two bytes behind it. */
const portWord = (port: number) => (port >>> 8) | ((port & 0xff) << 8);

/** A lock that ends with us, unless it is made to last. */
export class NetworkLock {
  readonly #socket: NFT.NfTables;
  readonly #table: string;
  readonly #describe: typeof describeTable;
  readonly #connections: LockedEnds[] = [];
  #isLasting = false;

  private constructor(socket: NFT.NfTables, table: string, describe: typeof describeTable) {
    this.#socket = socket;
    this.#table = table;
    this.#describe = describe;
  }

  /** An empty one; to make it takes longer than to fill it. −errno when it cannot be made; −EEXIST: it is there. */
  static tryMake(runId: string): NetworkLock | number {
    return NetworkLock.#tryMake(runId, describeTable);
  }

  /** One for all packets of our network namespace, from now on; or −errno. */
  static tryMakeWhole(runId: string): NetworkLock | number {
    return NetworkLock.#tryMake(runId, describeWholeTable);
  }

  static #tryMake(runId: string, describe: typeof describeTable): NetworkLock | number {
    const socket = NFT.NfTables.tryOpen();
    if (typeof socket === 'number') return socket;
    const table = tableName(runId);
    const result = socket.tryCommit(describe(table, NFT.NFT_TABLE_F_OWNER));
    if (result === 0) return new NetworkLock(socket, table, describe);
    socket.close();
    return result;
  }

  get #isWhole(): boolean {
    return this.#describe === describeWholeTable;
  }

  /** From now on their packets are dropped, those of all of them at once: 0 or −errno. */
  tryAdd(connections: readonly LockedEnds[]): number {
    if (this.#isWhole) return 0;
    this.#connections.push(...connections);
    return this.#socket.tryCommit(describeConnections(this.#table, connections));
  }

  get isUsed(): boolean {
    return this.#isWhole || this.#connections.length > 0;
  }

  /** Lets it outlive us, without a moment in between: 0 or −errno. */
  tryPersist(): number {
    const result = this.#socket.tryCommit([
      NFT.deleteTable(this.#table),
      ...this.#describe(this.#table, 0),
      ...describeConnections(this.#table, this.#connections),
    ]);
    this.#isLasting = result === 0;
    return result;
  }

  /** Ends it, unless it was made to last. */
  release(): void {
    if (this.#isLasting || this.#socket.tryCommit([NFT.deleteTable(this.#table)]) === 0) this.#socket.leave();
    else this.#socket.close();
  }
}

/** Whether the lock of a dump is there. */
export const isLocked = (runId: string) => NFT.hasTable(tableName(runId));

/**
 * Takes away the lock of a dump, if it is there. `method`: that of the dump. Throws CriuError when it stays, so that nothing
 * would get through, unless by one of the `tolerated` errors.
 */
export function unlock(runId: string, method: number, tolerated: readonly number[] = []): void {
  const result = tryUnlock(runId);
  // A dump by iptables has made no table, and the kernel need not have any.
  if (result === 0 || result === -ERRNO.ENOENT || method === NETWORK_LOCK_IPTABLES) return;
  if (!tolerated.includes(-result)) throw lockStays(runId, -result);
}

/** The error for the lock of a dump that cannot be taken away. */
export function lockStays(runId: string, errno: number): CriuError {
  return new CriuError({
    object: `the network lock of the dump (inet ${tableName(runId)})`,
    action: `cannot be taken away (nf_tables: ${errnoName(errno)})`,
    ...(errno === ERRNO.EPERM ? { remedy: 'restore with CAP_NET_ADMIN' } : {}),
    crErrno: errno,
  });
}

/** 0 or −errno; −ENOENT when there is none. */
function tryUnlock(runId: string): number {
  const socket = NFT.NfTables.tryOpen();
  if (typeof socket === 'number') return socket;
  const result = socket.tryCommit([NFT.deleteTable(tableName(runId))]);
  socket.leave();
  return result;
}
