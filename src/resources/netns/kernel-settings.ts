/**
 * Settings of a network namespace as a whole, files of /proc/sys/net: netns-N.img. CRIU keeps those of devices, and two
 * others; all that are not as in a new namespace are kept beside them.
 */
import type { NetnsEntry, NetnsSettingExt } from '../../image/gen/netdev.ts';
import { SysctlType } from '../../image/gen/sysctl.ts';
import { listByType } from '../../linux/syscalls/fs.ts';
import { describeSettings, pathsOfDevice, type ReadSetting } from './device-settings.ts';
import { SETTINGS_ROOT, SettingFiles } from './setting-files.ts';

export const MAX_DGRAM_QLEN = 'net/unix/max_dgram_qlen';
export const PING_GROUP_RANGE = 'net/ipv4/ping_group_range';
/** Nobody may make ping sockets. */
const NO_PING_GROUPS = '1\t0';

/** What CRIU has a place for, and what nobody can set. */
const NOT_KEPT: ReadonlySet<string> = new Set([
  MAX_DGRAM_QLEN,
  PING_GROUP_RANGE,
  'net/netfilter/nf_conntrack_count',
  'net/netfilter/nf_conntrack_buckets',
]);
const OF_DEVICES = /^net\/ipv[46]\/conf$/;
const DEPTH_MAX = 5;

/** The settings of the namespace that we are in, but for those of devices, which have their own place. */
function listSettings(folder = 'net', depth = DEPTH_MAX): string[] {
  if (OF_DEVICES.test(folder) || depth === 0) return [];
  const { folders, others } = listByType(`${SETTINGS_ROOT}/${folder}`);
  const own = others.map((name) => `${folder}/${name}`).filter((path) => !NOT_KEPT.has(path));
  return [...own, ...folders.flatMap((name) => listSettings(`${folder}/${name}`, depth - 1))];
}

/** Reads all settings of a namespace that nobody has changed, where we are, to compare with. */
export function readFreshSettings(): SettingFiles {
  const files = new SettingFiles(listSettings());
  files.read();
  return files;
}

const NEIGHBOUR = /^(net\/ipv[46]\/neigh\/)default(\/.*)$/;

/** What the kernel says of the settings of a namespace. */
export interface NamespaceSettings {
  readonly entry: NetnsEntry;
  /** Settings of the devices. */
  readonly read: ReadSetting;
}

/** Reads the namespace that we are in, with these devices; `files` were read last in a fresh namespace. */
export function readNamespace(files: SettingFiles, devices: readonly string[]): NamespaceSettings {
  files.read();
  const named = devices.filter((name) => !files.paths.includes(`net/ipv4/neigh/${name}/gc_stale_time`));
  const neighbours = files.paths.flatMap((path, i) =>
    NEIGHBOUR.test(path)
      ? named.map((name) => ({ path: path.replace(NEIGHBOUR, `$1${name}$2`), usual: files.earlierText(i) }))
      : [],
  );
  const paths = ['all', 'default', ...devices].flatMap(pathsOfDevice);
  const others = new SettingFiles([MAX_DGRAM_QLEN, PING_GROUP_RANGE, ...paths, ...neighbours.map(({ path }) => path)]);
  others.read();
  const places = new Map(others.paths.map((path, i) => [path, i]));
  const read: ReadSetting = (path) => others.text(places.get(path) ?? -1);
  const kept = (path: string, value: string | undefined): NetnsSettingExt[] =>
    value === undefined ? [] : [{ path, value: value.trimEnd() }];
  const changed = files.paths.flatMap((path, i) => (files.hasChanged(i) ? kept(path, files.text(i)) : []));
  for (const { path, usual } of neighbours) if (read(path) !== usual) changed.push(...kept(path, read(path)));
  return { entry: describeNamespace(read, changed), read };
}

/** The entry of netns-N.img. Pure but for `read`. */
function describeNamespace(read: ReadSetting, changed: NetnsSettingExt[]): NetnsEntry {
  const qlen = read(MAX_DGRAM_QLEN);
  const range = read(PING_GROUP_RANGE)?.trimEnd();
  return {
    def_conf: [],
    all_conf: [],
    def_conf4: describeSettings('ipv4', 'default', read),
    all_conf4: describeSettings('ipv4', 'all', read),
    def_conf6: describeSettings('ipv6', 'default', read),
    all_conf6: describeSettings('ipv6', 'all', read),
    nsids: [],
    unix_conf: qlen === undefined ? [] : [{ type: SysctlType.CTL_32, iarg: Number(qlen) | 0 }],
    ipv4_sysctl:
      range === undefined ? [] : [{ type: SysctlType.CTL_STR, ...(range === NO_PING_GROUPS ? {} : { sarg: range }) }],
    settings_ext: changed,
    neighbours_ext: [],
  };
}
