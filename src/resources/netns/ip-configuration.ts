/** Reads addresses, routes and rules of the namespace that we are in, and makes those of images there. */
import { CriuError, type CriuErrorFields } from '../../base/errors.ts';
import { ERRNO, errnoName } from '../../linux/abi/errno.ts';
import * as RT from '../../linux/abi/rtnetlink.ts';
import { AF_INET, AF_INET6, AF_UNSPEC } from '../../linux/abi/socket.ts';
import * as NL from '../../netlink/netlink.ts';
import {
  isMadeByKernel,
  isTentative,
  isUsualRule6,
  keyOf,
  LISTS,
  type ListName,
  usesNexthop,
  withoutSearch,
} from './saved-lists.ts';

/** For each image what is in it. */
export type IpConfiguration = Readonly<Record<ListName, readonly Uint8Array[]>>;

/** Throws CriuError. */
export function readIpConfiguration(): { lists: IpConfiguration; problems: CriuErrorFields[] } {
  const routes = [AF_INET, AF_INET6].map((family) =>
    readList('route', RT.RTM_GETROUTE, family).filter((route) => !isMadeByKernel(route)),
  );
  const rules = readList('rule', RT.RTM_GETRULE, AF_INET);
  const rules6 = readList('rule', RT.RTM_GETRULE, AF_INET6);
  const [route = [], route6 = []] = routes;
  const ifaddr = readAddresses();
  const lists = { ifaddr, route, route6, rule: [...rules, ...rules6.filter((rule) => !isUsualRule6(rule))] };
  const problems: CriuErrorFields[] = [];
  if ([...route, ...route6].some(usesNexthop)) {
    const why = 'nexthop objects (ip nexthop) are not supported by this criu';
    problems.push({ object: 'routes of the network namespace', action: 'cannot be dumped', why });
  }
  if (rules6.length > 0 && rules6.filter(isUsualRule6).length < USUAL_RULES6) {
    const why = 'those that every namespace has were deleted, which the images cannot say';
    problems.push({ object: 'IPv6 rules of the network namespace', action: 'cannot be dumped', why });
  }
  return { lists, problems };
}

const USUAL_RULES6 = 2;

const readAddresses = () => readList('ifaddr', RT.RTM_GETADDR, AF_UNSPEC);

function readList(name: ListName, request: number, family: number): Uint8Array[] {
  const header = new Uint8Array(RT.RTMSG.bytes);
  header[0] = family;
  const message = NL.message(request, NL.NLM_F_REQUEST | NL.NLM_F_DUMP, 1, header);
  const answers = NL.list(NL.NETLINK_ROUTE, message);
  const { type, nouns } = LISTS[name];
  if (typeof answers === 'number') {
    // A kernel without IPv6, or without rules.
    if (answers === -ERRNO.EOPNOTSUPP || answers === -ERRNO.EAFNOSUPPORT) return [];
    throw new CriuError({
      object: `${nouns} of the network namespace`,
      action: `cannot be listed (${errnoName(-answers)})`,
      crErrno: -answers,
    });
  }
  // Without a list of its own for a family the kernel gives those of all.
  const isWanted = (item: Uint8Array) => family === AF_UNSPEC || item[0] === family;
  return answers.flatMap((answer) => (answer.type === type && isWanted(answer.payload) ? [answer.payload] : []));
}

/** Makes the configuration of the namespace that we are in that of the images. Throws CriuError. */
export function restoreIpConfiguration(wanted: IpConfiguration): void {
  // Devices get addresses by themselves when they go up, some a moment later.
  for (let tries = 0; tries < ADDRESS_TRIES && !restoreAddresses(wanted.ifaddr); tries++);
  // The kernel's own rules are among the saved ones.
  for (const rule of readList('rule', RT.RTM_GETRULE, AF_INET)) send(RT.RTM_DELRULE, rule);
  add('rule', wanted.rule);
  for (const [name, family] of ROUTES) {
    const now = readList(name, RT.RTM_GETROUTE, family).filter((route) => !isMadeByKernel(route));
    removeOthers(name, now, wanted[name], RT.RTM_DELROUTE);
    add(name, wanted[name]);
  }
}

const ADDRESS_TRIES = 5;

const ROUTES = [
  ['route', AF_INET],
  ['route6', AF_INET6],
] as const;

/**
 * False when the kernel has been faster with one. An address that is searched for on the network cannot be bound to: it is
 * removed, added without a search, and then changed to what it was.
 */
function restoreAddresses(wanted: readonly Uint8Array[]): boolean {
  removeOthers('ifaddr', readAddresses(), wanted, RT.RTM_DELADDR, isTentative);
  add(
    'ifaddr',
    wanted.map((address) => withoutSearch(address) ?? address),
  );
  const settled = wanted.filter((address) => withoutSearch(address) !== undefined);
  if (settled.length === 0) return true;
  for (const address of settled) send(RT.RTM_NEWADDR, address, NL.NLM_F_REPLACE);
  const searched = new Set(
    readAddresses()
      .filter(isTentative)
      .map((address) => keyOf('ifaddr', address)),
  );
  return !settled.some((address) => searched.has(keyOf('ifaddr', address)));
}

/** Removes what is there and not wanted, or there in a state in which nobody can use it. */
function removeOthers(
  name: ListName,
  now: readonly Uint8Array[],
  wanted: readonly Uint8Array[],
  type: number,
  isUseless = (_item: Uint8Array) => false,
): void {
  const keys = new Set(wanted.map((item) => keyOf(name, item)));
  for (const item of now) if (!keys.has(keyOf(name, item)) || isUseless(item)) send(type, item);
}

/** What needs something else to be there first, such as the route to a gateway, is tried again after the rest. */
function add(name: ListName, items: readonly Uint8Array[]): void {
  const { type, nouns } = LISTS[name];
  let left = items;
  for (;;) {
    let failure = 0;
    const refused = left.filter((item) => {
      const result = send(type, item, NL.NLM_F_CREATE | (name === 'route' ? NL.NLM_F_APPEND : 0));
      if (result === 0 || result === -ERRNO.EEXIST) return false;
      failure = result;
      return true;
    });
    if (refused.length === 0) return;
    if (refused.length === left.length) {
      const how = errnoName(-failure);
      const action = `cannot be made again (${refused.length} of ${items.length}: ${how})`;
      throw new CriuError({ object: `${nouns} of the network namespace`, action, crErrno: -failure });
    }
    left = refused;
  }
}

function send(type: number, item: Uint8Array, flags = 0): number {
  return NL.tryRequest(NL.NETLINK_ROUTE, NL.message(type, NL.NLM_F_REQUEST | NL.NLM_F_ACK | flags, 1, item));
}
