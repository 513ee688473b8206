/** Asking the kernel for all sockets of a family in our network namespace (man 7 sock_diag). */
import { check } from '../linux/kernel.ts';
import { type Answer, list, NETLINK_SOCK_DIAG } from './netlink.ts';

export const SOCK_DIAG_BY_FAMILY = 20;

/** Sends a dump request; returns the answers. Throws SyscallError; `family` names it. */
export function askForSockets(request: Uint8Array, family: string): Answer[] {
  const answers = list(NETLINK_SOCK_DIAG, request);
  if (typeof answers === 'number') check('sock_diag', answers, family);
  return typeof answers === 'number' ? [] : answers;
}
