/**
 * The network namespace of a restored tree: joined, made empty, or made with all that the images have. criu enters it
 * before it makes a process, so the tree is born there; what is in it is made when the root exists and scripts have had
 * their turn (setup-namespaces), and before there are sockets.
 */
import { CriuError, type CriuErrorFields, CriuErrors } from '../../base/errors.ts';
import type { NetDeviceEntry, NetnsEntry } from '../../image/gen/netdev.ts';
import type { ImageDir } from '../../image/image-dir.ts';
import { CONNTRACK_LISTS, type ConntrackList, planConntrack, restoreConntrack } from './conntrack.ts';
import { type IpConfiguration, restoreIpConfiguration } from './ip-configuration.ts';
import { restoreNeighbours } from './neighbours.ts';
import { NetworkVisit } from './network-visit.ts';
import {
  findMissingPrograms,
  type PacketFilter,
  type RuleImage,
  restorePacketFilter,
  withoutTable,
} from './packet-filter.ts';
import { findEntryProblems, type OuterEnds, restoreLinks } from './restore-links.ts';
import { type ListName, parseList } from './saved-lists.ts';
import { isSettingPath, planNamespace, writeSettings } from './write-settings.ts';

export interface NetnsRestoreOptions {
  /** --join-ns net:…: a pid or a path. */
  readonly join: string | undefined;
  /** --empty-ns net. */
  readonly isEmpty: boolean;
  /** --weak-sysctls. */
  readonly weakSysctls: boolean;
  /** Name of the table by which CRIU locks a namespace, and which it saves along with the rules. */
  readonly lockTable: string;
  /** criu's descriptor for an --inherit-fd key. */
  readonly inherited: (key: string) => number | undefined;
}

interface Contents {
  readonly entry: NetnsEntry | undefined;
  readonly links: readonly NetDeviceEntry[];
  readonly lists: IpConfiguration;
  readonly rules: PacketFilter;
}

/** What a restore is to do; made before there is anything new. */
export interface NetnsPlan {
  readonly enter: () => NetworkVisit;
  readonly weakSysctls: boolean;
  readonly contents?: Contents | undefined;
  readonly conntrack: ReadonlyMap<ConntrackList, Uint8Array[]>;
}

/**
 * What the images and options say; undefined: the tree lives where criu does. `namespace` is the number of the tree's own
 * namespace, undefined when it had none. Throws CriuError when the images are damaged or ask for what there is not.
 */
export function planNetns(
  images: ImageDir,
  namespace: number | undefined,
  options: NetnsRestoreOptions,
): NetnsPlan | undefined {
  const { join, isEmpty, weakSysctls, lockTable } = options;
  const nothing = { weakSysctls, conntrack: new Map() };
  if (join !== undefined) return { ...nothing, enter: () => enterJoined(join) };
  if (namespace === undefined) return undefined;
  const entry = images.tryReadOne('netns', namespace);
  const key = entry?.ext_key;
  if (key !== undefined) return { ...nothing, enter: () => enterExternal(key, options) };
  const conntrack = readConntracks(images, namespace);
  const contents = isEmpty ? undefined : readContents(images, namespace, entry, lockTable);
  if (contents !== undefined) check(contents);
  return { enter: () => NetworkVisit.enterNew(), weakSysctls, contents, conntrack };
}

/** The index and name of devices that will be there; undefined: those that are there now. */
export const plannedDevices = (plan: NetnsPlan | undefined) => plan?.contents?.links;

/** Makes what is in the namespace, where we are. Throws CriuError. */
export function fillNetns({ contents, conntrack, weakSysctls }: NetnsPlan, outer: OuterEnds): void {
  if (contents !== undefined) {
    const { entry, links, lists, rules } = contents;
    const write = (settings: Parameters<typeof writeSettings>[0]) => writeSettings(settings, weakSysctls);
    if (entry !== undefined) write(planNamespace(entry));
    restoreLinks(links, { ipv4: entry?.def_conf4 ?? [], ipv6: entry?.def_conf6 ?? [] }, outer, write);
    restoreIpConfiguration(lists);
    restoreNeighbours(entry?.neighbours_ext ?? []);
    restorePacketFilter(rules);
    // Some are there only when the kernel has loaded what the rules need.
    if (entry !== undefined) write(entry.settings_ext);
  }
  for (const [list, requests] of conntrack) restoreConntrack(list, requests);
}

function enterJoined(source: string): NetworkVisit {
  const path = /^[0-9]+$/.test(source) ? `/proc/${source}/ns/net` : source;
  return NetworkVisit.enterPath(path, `the namespace of --join-ns net:${source}`);
}

function enterExternal(key: string, { inherited }: NetnsRestoreOptions): NetworkVisit {
  const fd = inherited(key);
  const object = `the external network namespace ${key}`;
  if (fd !== undefined) return NetworkVisit.enterDescriptor(fd, object);
  const remedy = `open it and give its descriptor N with --inherit-fd fd[N]:${key}, or use --join-ns net:FILE`;
  throw new CriuError({ object, action: 'is not there', remedy });
}

function readContents(images: ImageDir, namespace: number, entry: NetnsEntry | undefined, lockTable: string): Contents {
  const raw = (name: ListName | RuleImage) => images.tryRead(name, namespace) ?? new Uint8Array(0);
  const list = (name: ListName) => parseList(name, raw(name));
  return {
    entry,
    links: images.tryRead('netdev', namespace) ?? [],
    lists: { ifaddr: list('ifaddr'), route: list('route'), route6: list('route6'), rule: list('rule') },
    rules: {
      iptables: raw('iptables'),
      ip6tables: raw('ip6tables'),
      nftables: withoutTable(raw('nftables'), lockTable),
    },
  };
}

function readConntracks(images: ImageDir, namespace: number): ReadonlyMap<ConntrackList, Uint8Array[]> {
  const lists = Object.keys(CONNTRACK_LISTS) as ConntrackList[];
  return new Map(
    lists.map((list) => [list, planConntrack(list, images.tryRead(list, namespace) ?? new Uint8Array(0))]),
  );
}

function check({ entry, links, rules }: Contents): void {
  const problems: CriuErrorFields[] = [...findEntryProblems(links), ...findMissingPrograms(rules)];
  for (const { path } of entry?.settings_ext ?? []) {
    if (!isSettingPath(path)) problems.push({ object: `setting ${path}`, action: 'is none of a network namespace' });
  }
  if (problems.length > 0) throw new CriuErrors('the network namespace of the tree cannot be restored', problems);
}
