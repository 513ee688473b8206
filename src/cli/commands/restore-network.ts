/**
 * The network during a restore: criu is in the namespace of the tree from before the first check of its sockets until the
 * tree runs, and leaves it for scripts of the user only.
 */
import { CriuError } from '../../base/errors.ts';
import type { ImageDir } from '../../image/image-dir.ts';
import { ERRNO } from '../../linux/abi/errno.ts';
import type { CriuOptions } from '../../options/criu-options.ts';
import { restoreSystem } from '../../resources/fd/fd-table/restore-system.ts';
import type { RestoreSystem } from '../../resources/fd/file-kind.ts';
import { RestoredNetns } from '../../resources/netns/restore-netns.ts';
import { unlockNamespace } from '../../resources/network-lock/iptables.ts';
import {
  lockMethodOf,
  NETWORK_LOCK_IPTABLES,
  NETWORK_LOCK_SKIP,
  runIdOf,
} from '../../resources/network-lock/methods.ts';
import { tryUnlock } from '../../resources/network-lock/network-lock.ts';
import type { RestoreTree } from '../../restore/restore-tree.ts';

export class RestoreNetwork {
  readonly #netns: RestoredNetns | undefined;
  readonly #tree: RestoreTree;
  /** Whether the tree had a namespace of its own when it was dumped. */
  readonly #hadOwn: boolean;

  /** Enters the namespace of the tree, if it does not live in criu's. Throws CriuError. */
  constructor(tree: RestoreTree, images: ImageDir, options: Readonly<CriuOptions>) {
    this.#tree = tree;
    const number = tree.root.ids.net_ns_id;
    this.#hadOwn = number !== undefined && number !== tree.inventory.root_ids?.net_ns_id;
    this.#netns = RestoredNetns.enter(images, this.#hadOwn ? number : undefined, {
      join: options.joinNamespaces.findLast(({ type }) => type === 'net')?.source,
      isEmpty: options.emptyNamespaces.length > 0,
      weakSysctls: options.weakSysctls,
      inherited: (key) => options.inheritFds.find((one) => one.key === key)?.fd,
    });
  }

  /** What restores ask the kernel, with devices that are not there yet. */
  get system(): RestoreSystem {
    const devices = this.#netns?.devices;
    if (devices === undefined) return restoreSystem;
    return {
      ...restoreSystem,
      deviceIndex: (wanted) => devices.find(({ name }) => name === wanted)?.ifindex ?? -ERRNO.ENODEV,
      deviceName: (wanted) => devices.find(({ ifindex }) => ifindex === wanted)?.name,
    };
  }

  /** Does something where criu lives. */
  outside<T>(action: () => T): T {
    return this.#netns === undefined ? action() : this.#netns.visit.outside(action);
  }

  /** Makes what is in the namespace. Throws CriuError. */
  fill(): void {
    this.#netns?.fill();
  }

  /** Whether the dump has locked the namespace as a whole. */
  get isLocked(): boolean {
    return this.#hadOwn;
  }

  /** Lets packets pass again; to be called when the tree is complete. */
  unlock(): void {
    const { inventory, root } = this.#tree;
    const method = lockMethodOf(inventory);
    if (!this.#hadOwn || method === NETWORK_LOCK_SKIP) return;
    if (method === NETWORK_LOCK_IPTABLES) unlockNamespace();
    const result = tryUnlock(runIdOf(inventory, root.pid));
    // EPERM: a lock that this restore has made for connections (tcp-resume.ts), and releases itself.
    if (result === 0 || result === -ERRNO.ENOENT || result === -ERRNO.EPERM) return;
    if (method === NETWORK_LOCK_IPTABLES) return;
    throw new CriuError({
      object: 'the network namespace of the tree',
      action: 'cannot be unlocked',
      crErrno: -result,
    });
  }

  [Symbol.dispose](): void {
    this.#netns?.[Symbol.dispose]();
  }
}
