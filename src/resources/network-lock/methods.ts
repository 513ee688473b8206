/** network_lock_method of the inventory. */

/** Two rules of iptables for each connection; also what images without the field mean. We never do this, but undo it. */
export const NETWORK_LOCK_IPTABLES = 0;
export const NETWORK_LOCK_NFTABLES = 1;
export const NETWORK_LOCK_SKIP = 2;
