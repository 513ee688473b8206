/** network_lock_method of the inventory, and the name of the run that has locked. */
import type { InventoryEntry } from '../../image/gen/inventory.ts';

/** Two rules of iptables for each connection; also what images without the field mean. We never do this, but undo it. */
export const NETWORK_LOCK_IPTABLES = 0;
export const NETWORK_LOCK_NFTABLES = 1;
export const NETWORK_LOCK_SKIP = 2;

export const lockMethodOf = ({ network_lock_method }: InventoryEntry) => network_lock_method ?? NETWORK_LOCK_IPTABLES;
/** As CRIU: images from before there were run ids have the pid of the root. */
export const runIdOf = ({ dump_criu_run_id }: InventoryEntry, rootPid: number) => dump_criu_run_id ?? `${rootPid}`;
