/**
 * The network namespace of a tree, as a dump takes it: what is in it, or what stands for it. All of it is read while the
 * tree is frozen and criu visits the namespace, before anything there is changed.
 */
import type { CriuErrorFields } from '../../base/errors.ts';
import type { NetDeviceEntry, NetnsEntry } from '../../image/gen/netdev.ts';
import type { ImageDir } from '../../image/image-dir.ts';
import { CONNTRACK_LISTS, type ConntrackList, readConntrack } from './conntrack.ts';
import { type IpConfiguration, readIpConfiguration } from './ip-configuration.ts';
import { readNamespace } from './kernel-settings.ts';
import { describeLinks, findLinkProblems, listLinks } from './links.ts';
import { readNeighbours } from './neighbours.ts';
import { findOtherContents } from './other-contents.ts';
import { type PacketFilter, RULE_IMAGES, readPacketFilter } from './packet-filter.ts';
import { LISTS, type ListName, packList } from './saved-lists.ts';
import type { SettingFiles } from './setting-files.ts';

/** What becomes of a namespace: `external` is the name under which a restore finds it, `empty` leaves it to a script. */
export type NetnsHandling =
  | { readonly kind: 'saved'; readonly fresh: SettingFiles }
  | { readonly kind: 'empty' }
  | { readonly kind: 'external'; readonly name: string };

interface Contents {
  readonly entry: NetnsEntry;
  readonly links: readonly NetDeviceEntry[];
  readonly lists: IpConfiguration;
  readonly rules: PacketFilter;
}

export class DumpedNetns {
  readonly handling: NetnsHandling;
  readonly problems: readonly CriuErrorFields[];
  readonly #contents: Contents | undefined;
  readonly #conntrack: ReadonlyMap<ConntrackList, Uint8Array>;

  /** Reads the namespace that we are in. Throws CriuError. */
  constructor(handling: NetnsHandling) {
    this.handling = handling;
    const problems: CriuErrorFields[] = [];
    if (handling.kind === 'saved') this.#contents = readContents(handling.fresh, problems);
    this.#conntrack = new Map(
      handling.kind === 'external' ? [] : conntrackLists.map((list) => [list, readConntrack(list)]),
    );
    this.problems = problems;
  }

  /** Writes all images of it; `namespace` is its number. */
  write(images: ImageDir, namespace: number): void {
    const { handling } = this;
    const contents = this.#contents;
    if (handling.kind === 'external') {
      images.write('netns', namespace, [{ ...NO_SETTINGS, ext_key: handling.name }]);
    }
    if (contents !== undefined) {
      images.write('netns', namespace, [contents.entry]);
      const numbered = contents.links.map((link) =>
        link.peer_nsid === undefined ? link : { ...link, peer_nsid: namespace },
      );
      images.write('netdev', namespace, numbered);
      for (const name of Object.keys(LISTS) as ListName[]) {
        images.write(name, namespace, packList(name, contents.lists[name]));
      }
      for (const name of RULE_IMAGES) images.write(name, namespace, contents.rules[name]);
    }
    for (const [list, content] of this.#conntrack) {
      if (content.length > 0) images.write(list, namespace, content);
    }
  }
}

const conntrackLists = Object.keys(CONNTRACK_LISTS) as ConntrackList[];

const NO_SETTINGS: NetnsEntry = {
  def_conf: [],
  all_conf: [],
  def_conf4: [],
  all_conf4: [],
  def_conf6: [],
  all_conf6: [],
  nsids: [],
  unix_conf: [],
  ipv4_sysctl: [],
  settings_ext: [],
  neighbours_ext: [],
};

function readContents(fresh: SettingFiles, problems: CriuErrorFields[]): Contents {
  const links = listLinks();
  const { lists, problems: ofLists } = readIpConfiguration();
  const { rules, problems: ofRules } = readPacketFilter();
  problems.push(...findLinkProblems(links), ...ofLists, ...ofRules, ...findOtherContents());
  const { entry, read } = readNamespace(
    fresh,
    links.map(({ name }) => name),
  );
  entry.neighbours_ext = readNeighbours();
  return { entry, links: describeLinks(links, read), lists, rules };
}
