/**
 * The network during a dump: criu visits the namespace of a tree that has one of its own, and holds packets back until
 * the restore. A namespace that belongs to the tree is locked as a whole, with the hooks network-lock and network-unlock;
 * in others only the connections of the tree are.
 */
import { CriuError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { DumpOptions } from '../../dump/inspect-tree.ts';
import { ERRNO, errnoName } from '../../linux/abi/errno.ts';
import type { CriuOptions, ExternalResource } from '../../options/criu-options.ts';
import { DumpedNetns, type NetnsHandling } from '../../resources/netns/dump-netns.ts';
import { readFreshSettings } from '../../resources/netns/kernel-settings.ts';
import { NetworkVisit, readNetworkLink, tryReadNetworkLink } from '../../resources/netns/network-visit.ts';
import type { SettingFiles } from '../../resources/netns/setting-files.ts';
import { NetworkLock } from '../../resources/network-lock/network-lock.ts';

export interface DumpNetworkOptions extends Pick<CriuOptions, 'networkLock' | 'tcpEstablished' | 'tcpClose'> {
  readonly rootPid: number;
  readonly runId: string;
  readonly isEmpty: boolean;
  readonly external: readonly ExternalResource[];
  /** Runs the scripts of a hook. Throws CriuError. */
  readonly hook: (name: 'network-lock' | 'network-unlock') => void;
}

export class DumpNetwork {
  readonly #options: DumpNetworkOptions;
  readonly #link: string;
  readonly #visit: NetworkVisit | undefined;
  readonly #handling: NetnsHandling | undefined;
  #namespace: DumpedNetns | undefined = undefined;
  /** −errno when it cannot be made. */
  #lock: NetworkLock | number | undefined = undefined;

  /** While the tree still runs: all that needs no frozen tree. Throws CriuError. */
  constructor(options: DumpNetworkOptions) {
    this.#options = options;
    const own = readNetworkLink();
    const link = tryReadNetworkLink(options.rootPid);
    // A task that is not there is reported by the freezer.
    this.#link = typeof link === 'number' ? own : link;
    const isOther = this.#link !== own;
    if (isOther) {
      this.#handling = handlingOf(this.#link, options);
      this.#visit = enter(options.rootPid);
    }
    if (!this.#ownsAll) this.#lock = this.#prepare();
  }

  /** A namespace that others do not share, as far as anybody knows. */
  get #ownsAll(): boolean {
    return this.#handling !== undefined && this.#handling.kind !== 'external';
  }

  /** Making the lock before the freeze saves time in it. */
  #prepare(): NetworkLock | number | undefined {
    const { networkLock, tcpEstablished, tcpClose, runId } = this.#options;
    if (networkLock === 'skip') return undefined;
    return tcpEstablished && !tcpClose ? NetworkLock.tryMake(runId) : -ERRNO.ENOENT;
  }

  /** When the tree stands still: reads its namespace, then locks it. Throws CriuError. */
  freeze(): Pick<DumpOptions, 'network' | 'networkLock'> {
    const { rootPid } = this.#options;
    const link = tryReadNetworkLink(rootPid);
    if (typeof link === 'string' && link !== this.#link) {
      const action = 'has entered another network namespace meanwhile';
      throw new CriuError({ object: `task ${rootPid}`, action, remedy: 'try again' });
    }
    if (this.#visit === undefined || this.#handling === undefined) return { networkLock: this.#lock };
    this.#namespace = new DumpedNetns(this.#handling);
    this.outside(() => this.#options.hook('network-lock'));
    if (this.#ownsAll) this.#lockWhole();
    const network = { ownLink: this.#visit.ownLink, namespace: this.#namespace };
    return { networkLock: this.#lock, network };
  }

  #lockWhole(): void {
    const { networkLock, runId } = this.#options;
    if (networkLock === 'skip') return;
    this.#lock = NetworkLock.tryMakeWhole(runId);
    if (typeof this.#lock !== 'number') return;
    throw new CriuError({
      object: 'the network namespace of the tree',
      action: `cannot be locked (nf_tables: ${errnoName(-this.#lock)})`,
      remedy: 'if nothing gets in there until the restore, use --network-lock skip',
      crErrno: -this.#lock,
    });
  }

  /** Packets pass again: the tree goes on. */
  unlock(): void {
    if (typeof this.#lock === 'object') this.#lock.release();
    this.#lock = undefined;
    const hasLocked = this.#namespace !== undefined;
    if (hasLocked) this.outside(() => this.#options.hook('network-unlock'));
    this.#namespace = undefined;
  }

  /** Whether packets of the tree are held back. */
  get isLocked(): boolean {
    return typeof this.#lock === 'object' && this.#lock.isUsed;
  }

  /** The tree is at its end, and its connections wait for the restore. */
  keepLocked(log: Logger): void {
    const lock = this.#lock;
    if (typeof lock !== 'object' || !lock.isUsed) return;
    const result = lock.tryPersist();
    if (result === 0) return;
    const action = 'does not stay locked, so other sides may close their connections before the restore';
    log.error(new CriuError({ object: 'the network', action, crErrno: -result }).message);
  }

  /** Does something where criu lives. */
  outside<T>(action: () => T): T {
    return this.#visit === undefined ? action() : this.#visit.outside(action);
  }

  [Symbol.dispose](): void {
    this.#visit?.[Symbol.dispose]();
  }
}

function handlingOf(link: string, options: DumpNetworkOptions): NetnsHandling {
  const name = findExternal(link, options.external);
  if (name !== undefined) return { kind: 'external', name };
  return options.isEmpty ? { kind: 'empty' } : { kind: 'saved', fresh: readFresh() };
}

/** The name that --external net[INODE]:NAME gives to a namespace. */
function findExternal(link: string, external: readonly ExternalResource[]): string | undefined {
  const inode = /^net:\[(\d+)\]$/.exec(link)?.[1];
  return external.find(({ type, id }) => type === 'net' && id === inode)?.value;
}

function enter(pid: number): NetworkVisit {
  return NetworkVisit.enterPath(`/proc/${pid}/ns/net`, `the network namespace of task ${pid}`);
}

/** What a namespace has when nobody has changed it. */
function readFresh(): SettingFiles {
  using _visit = NetworkVisit.enterNew();
  return readFreshSettings();
}
