/**
 * The network during a restore: criu is in the namespace of the tree from before the first check of its sockets until the
 * tree runs, and leaves it for scripts of the user only.
 */
import type { ImageDir } from '../../image/image-dir.ts';
import { ERRNO } from '../../linux/abi/errno.ts';
import type { CriuOptions, ExternalResource } from '../../options/criu-options.ts';
import { restoreSystem } from '../../resources/fd/fd-table/restore-system.ts';
import type { RestoreSystem } from '../../resources/fd/file-kind.ts';
import type { NetworkVisit } from '../../resources/netns/network-visit.ts';
import { type OuterEnd, OuterEnds } from '../../resources/netns/restore-links.ts';
import { fillNetns, type NetnsPlan, planNetns, plannedDevices } from '../../resources/netns/restore-netns.ts';
import { unlockNamespace } from '../../resources/network-lock/iptables.ts';
import {
  lockMethodOf,
  NETWORK_LOCK_IPTABLES,
  NETWORK_LOCK_SKIP,
  runIdOf,
} from '../../resources/network-lock/methods.ts';
import { tableName, unlock } from '../../resources/network-lock/network-lock.ts';
import type { RestoreTree } from '../../restore/restore-tree.ts';

/** The number of the network namespace that the tree had for itself when it was dumped. */
function ownNumber({ root, inventory }: RestoreTree): number | undefined {
  const number = root.ids.net_ns_id;
  const criu = inventory.root_ids?.net_ns_id;
  return criu === undefined || number === criu ? undefined : number;
}

/** What is to be done about the network namespace of the tree. Throws CriuError. */
export function planNetwork(tree: RestoreTree, images: ImageDir, options: Readonly<CriuOptions>) {
  return planNetns(images, ownNumber(tree), {
    join: options.joinNamespaces.findLast(({ type }) => type === 'net')?.source,
    isEmpty: options.emptyNamespaces.length > 0,
    weakSysctls: options.weakSysctls,
    lockTable: tableName(runIdOf(tree.inventory, tree.root.pid)),
    inherited: (key) => options.inheritFds.find((one) => one.key === key)?.fd,
  });
}

/** What a restore asks the kernel, with devices that are not there yet. */
export function plannedSystem(plan: NetnsPlan | undefined): RestoreSystem {
  const devices = plannedDevices(plan);
  if (devices === undefined) return restoreSystem;
  return {
    ...restoreSystem,
    deviceIndex: (wanted) => devices.find(({ name }) => name === wanted)?.ifindex ?? -ERRNO.ENODEV,
    deviceName: (wanted) => devices.find(({ ifindex }) => ifindex === wanted)?.name,
  };
}

/** `--external veth[IN]:NAME@BRIDGE`, by IN. */
function outerEnds(external: readonly ExternalResource[]): ReadonlyMap<string, OuterEnd> {
  return new Map(
    external.flatMap(({ type, id = '', value = '' }) => {
      const [name = '', bridge] = value.split('@');
      return type === 'veth' ? [[id, { name, bridge }] as const] : [];
    }),
  );
}

export class RestoreNetwork {
  readonly #plan: NetnsPlan | undefined;
  readonly #visit: NetworkVisit | undefined;
  readonly #tree: RestoreTree;
  readonly #outer: OuterEnds;
  #isComplete = false;

  /** Enters the namespace of the tree, if it does not live in criu's. Throws CriuError. */
  constructor(tree: RestoreTree, images: ImageDir, options: Readonly<CriuOptions>) {
    this.#tree = tree;
    this.#plan = planNetwork(tree, images, options);
    this.#visit = this.#plan?.enter();
    this.#outer = new OuterEnds(this.#visit?.own ?? -1, outerEnds(options.external));
  }

  get system(): RestoreSystem {
    return plannedSystem(this.#plan);
  }

  /** Does something where criu lives. */
  outside<T>(action: () => T): T {
    return this.#visit === undefined ? action() : this.#visit.outside(action);
  }

  /** Makes what is in the namespace. Throws CriuError. */
  fill(): void {
    if (this.#plan === undefined) return;
    fillNetns(this.#plan, this.#outer);
    this.outside(() => this.#outer.connect());
  }

  /** Whether the dump has locked the namespace as a whole. */
  get isLocked(): boolean {
    return ownNumber(this.#tree) !== undefined;
  }

  /** Lets packets pass again; to be called when the tree is complete. */
  unlock(): void {
    const { inventory, root } = this.#tree;
    const method = lockMethodOf(inventory);
    if (!this.isLocked || method === NETWORK_LOCK_SKIP) return;
    if (method === NETWORK_LOCK_IPTABLES) unlockNamespace();
    // EPERM: a lock that this restore has made for connections (tcp-resume.ts), and releases itself.
    unlock(runIdOf(inventory, root.pid), method, [ERRNO.EPERM]);
  }

  /** The tree runs: what was made stays. */
  commit(): void {
    this.#isComplete = true;
  }

  [Symbol.dispose](): void {
    if (!this.#isComplete) this.outside(() => this.#outer.remove());
    this.#visit?.[Symbol.dispose]();
  }
}
