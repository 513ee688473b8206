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
import { isSettingPath, planNamespace, writeSettings } from './kernel-settings.ts';
import { findEntryProblems, restoreLinks } from './links.ts';
import { NetworkVisit } from './network-visit.ts';
import { findMissingPrograms, type PacketFilter, type RuleImage, restorePacketFilter } from './packet-filter.ts';
import { type ListName, parseList } from './saved-lists.ts';

export interface NetnsRestoreOptions {
  /** --join-ns net:…: a pid or a path. */
  readonly join: string | undefined;
  /** --empty-ns net. */
  readonly isEmpty: boolean;
  /** --weak-sysctls. */
  readonly weakSysctls: boolean;
  /** criu's descriptor for an --inherit-fd key. */
  readonly inherited: (key: string) => number | undefined;
}

interface Contents {
  readonly entry: NetnsEntry | undefined;
  readonly links: readonly NetDeviceEntry[];
  readonly lists: IpConfiguration;
  readonly rules: PacketFilter;
}

export class RestoredNetns {
  readonly visit: NetworkVisit;
  readonly #contents: Contents | undefined;
  readonly #conntrack: ReadonlyMap<ConntrackList, Uint8Array[]>;
  readonly #isWeak: boolean;

  private constructor(
    visit: NetworkVisit,
    isWeak: boolean,
    contents?: Contents,
    conntrack: ReadonlyMap<ConntrackList, Uint8Array[]> = new Map(),
  ) {
    this.visit = visit;
    this.#isWeak = isWeak;
    this.#contents = contents;
    this.#conntrack = conntrack;
  }

  /**
   * Enters what the images and options say; undefined: the tree lives where criu does. `namespace` is the number of the
   * tree's own namespace, undefined when it had none. Throws CriuError before there is anything new.
   */
  static enter(
    images: ImageDir,
    namespace: number | undefined,
    options: NetnsRestoreOptions,
  ): RestoredNetns | undefined {
    const { join, isEmpty, weakSysctls } = options;
    if (join !== undefined) {
      const path = /^[0-9]+$/.test(join) ? `/proc/${join}/ns/net` : join;
      return new RestoredNetns(NetworkVisit.enterPath(path, `the namespace of --join-ns net:${join}`), weakSysctls);
    }
    if (namespace === undefined) return undefined;
    const entry = images.tryReadOne('netns', namespace);
    const key = entry?.ext_key;
    if (key !== undefined) return new RestoredNetns(enterExternal(key, options), weakSysctls);
    const conntrack = readConntracks(images, namespace);
    const contents = isEmpty ? undefined : readContents(images, namespace, entry);
    if (contents !== undefined) check(contents);
    return new RestoredNetns(NetworkVisit.enterNew(), weakSysctls, contents, conntrack);
  }

  /** The index of a device that will be there, by name; undefined: to be looked up. */
  get devices(): readonly NetDeviceEntry[] | undefined {
    return this.#contents?.links;
  }

  /** Makes what is in it. Throws CriuError. */
  fill(): void {
    const contents = this.#contents;
    if (contents !== undefined) {
      const { entry, links, lists, rules } = contents;
      const write = (settings: Parameters<typeof writeSettings>[0]) => writeSettings(settings, this.#isWeak);
      if (entry !== undefined) write(planNamespace(entry));
      restoreLinks(links, { ipv4: entry?.def_conf4 ?? [], ipv6: entry?.def_conf6 ?? [] }, write);
      restoreIpConfiguration(lists);
      restorePacketFilter(rules);
      // Some are there only when the kernel has loaded what the rules need.
      if (entry !== undefined) write(entry.settings_ext);
    }
    for (const [list, requests] of this.#conntrack) restoreConntrack(list, requests);
  }

  [Symbol.dispose](): void {
    this.visit[Symbol.dispose]();
  }
}

function enterExternal(key: string, { inherited }: NetnsRestoreOptions): NetworkVisit {
  const fd = inherited(key);
  const object = `the external network namespace ${key}`;
  if (fd !== undefined) return NetworkVisit.enterDescriptor(fd, object);
  const remedy = `open it and give its descriptor N with --inherit-fd fd[N]:${key}, or use --join-ns net:FILE`;
  throw new CriuError({ object, action: 'is not there', remedy });
}

function readContents(images: ImageDir, namespace: number, entry: NetnsEntry | undefined): Contents {
  const raw = (name: ListName | RuleImage) => images.tryRead(name, namespace) ?? new Uint8Array(0);
  const list = (name: ListName) => parseList(name, raw(name));
  return {
    entry,
    links: images.tryRead('netdev', namespace) ?? [],
    lists: { ifaddr: list('ifaddr'), route: list('route'), route6: list('route6'), rule: list('rule') },
    rules: { iptables: raw('iptables'), ip6tables: raw('ip6tables'), nftables: raw('nftables') },
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
