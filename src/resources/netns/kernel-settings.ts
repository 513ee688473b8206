/**
 * Settings of a network namespace as a whole, files of /proc/sys/net: netns-N.img. CRIU keeps those of devices, and two
 * others; all that are not as in a new namespace are kept beside them.
 */
import { CriuError } from '../../base/errors.ts';
import type { NetnsEntry, NetnsSettingExt } from '../../image/gen/netdev.ts';
import { SysctlType } from '../../image/gen/sysctl.ts';
import { ERRNO, errnoName } from '../../linux/abi/errno.ts';
import { O_WRONLY } from '../../linux/abi/fcntl.ts';
import { tryListDirectory, tryReadFile, tryWriteFile } from '../../linux/syscalls/fs.ts';
import { describeSettings, planSettings, type Setting } from './device-settings.ts';

const ROOT = '/proc/sys';
const MAX_DGRAM_QLEN = 'net/unix/max_dgram_qlen';
const PING_GROUP_RANGE = 'net/ipv4/ping_group_range';
/** Nobody may make ping sockets. */
const NO_PING_GROUPS = '1\t0';

/** Reads a setting of the namespace that we are in. */
export function readSetting(path: string): string | undefined {
  const text = tryReadFile(`${ROOT}/${path}`);
  return typeof text === 'number' ? undefined : text;
}

/** Settings by path, but for those of devices, which have their own place. */
export type OtherSettings = ReadonlyMap<string, string>;

const OF_DEVICES = /^net\/ipv[46]\/conf$/;
const DEPTH_MAX = 5;

/** All settings of the namespace that we are in that can be read. */
export function readOtherSettings(): OtherSettings {
  const settings = new Map<string, string>();
  walk('net', settings, DEPTH_MAX);
  for (const path of [MAX_DGRAM_QLEN, PING_GROUP_RANGE]) settings.delete(path);
  return settings;
}

function walk(folder: string, settings: Map<string, string>, depth: number): void {
  if (OF_DEVICES.test(folder) || depth === 0) return;
  const names = tryListDirectory(`${ROOT}/${folder}`);
  if (typeof names === 'number') return;
  for (const name of names) {
    const path = `${folder}/${name}`;
    const text = tryReadFile(`${ROOT}/${path}`);
    if (typeof text === 'string') settings.set(path, text);
    else if (text === -ERRNO.EISDIR) walk(path, settings, depth - 1);
  }
}

/** Counters, and what follows from other settings: not to be set. */
const NOT_SET =
  /^net\/(netfilter\/nf_conntrack_(count|buckets)|ipv6\/route\/flush|ipv4\/(route\/flush|ip_dynaddr|tcp_fastopen_key))$/;
const NEIGHBOUR = /^(net\/ipv[46]\/neigh)\/[^/]+\/(.*)$/;

/** Settings that differ from those of a `fresh` namespace; of devices that it does not have, from its defaults. Pure. */
export function findChanged(settings: OtherSettings, fresh: OtherSettings): NetnsSettingExt[] {
  return [...settings].flatMap(([path, value]) => {
    const usual = fresh.get(path) ?? fresh.get(path.replace(NEIGHBOUR, '$1/default/$2'));
    return value === usual || NOT_SET.test(path) ? [] : [{ path, value: value.trimEnd() }];
  });
}

/** The entry of netns-N.img for the namespace that we are in. */
export function describeNamespace(fresh: OtherSettings): NetnsEntry {
  const qlen = readSetting(MAX_DGRAM_QLEN);
  const range = readSetting(PING_GROUP_RANGE)?.trimEnd();
  const conf = (family: 'ipv4' | 'ipv6', device: string) => describeSettings(family, device, readSetting);
  const changed = findChanged(readOtherSettings(), fresh);
  return {
    def_conf: [],
    all_conf: [],
    def_conf4: conf('ipv4', 'default'),
    all_conf4: conf('ipv4', 'all'),
    def_conf6: conf('ipv6', 'default'),
    all_conf6: conf('ipv6', 'all'),
    nsids: [],
    unix_conf: qlen === undefined ? [] : [{ type: SysctlType.CTL_32, iarg: Number(qlen) | 0 }],
    ipv4_sysctl:
      range === undefined ? [] : [{ type: SysctlType.CTL_STR, ...(range === NO_PING_GROUPS ? {} : { sarg: range }) }],
    settings_ext: changed,
  };
}

/** What is to be written before there are devices. Pure. */
export function planNamespace(entry: NetnsEntry): Setting[] {
  const qlen = entry.unix_conf[0]?.iarg;
  const range = entry.ipv4_sysctl[0]?.sarg;
  return [
    ...planSettings('ipv4', 'all', entry.all_conf4, entry.all_conf),
    ...planSettings('ipv4', 'default', entry.def_conf4, entry.def_conf),
    ...planSettings('ipv6', 'all', entry.all_conf6),
    ...planSettings('ipv6', 'default', entry.def_conf6),
    ...(qlen === undefined ? [] : [{ path: MAX_DGRAM_QLEN, value: `${qlen}` }]),
    ...(range === undefined ? [] : [{ path: PING_GROUP_RANGE, value: range.trimEnd() }]),
  ];
}

/** Only files below this one may be written, whatever an image says. */
const SETTING_PATH = /^net\/(?!.*\/\.\.?(\/|$))[\w.@:/-]+$/;

export const isSettingPath = (path: string) => SETTING_PATH.test(path) && !path.includes('..');

/** Writes settings of the namespace that we are in. With `isWeak` those that this kernel lacks are left. Throws CriuError. */
export function writeSettings(settings: readonly Setting[], isWeak: boolean): void {
  for (const { path, value } of settings) {
    const result = tryWriteFile(`${ROOT}/${path}`, `${value}\n`, O_WRONLY);
    if (result === 0 || (isWeak && result === -ERRNO.ENOENT)) continue;
    throw new CriuError({
      object: `setting ${path.replaceAll('/', '.')} of the network namespace`,
      action: `cannot be set to ${value} (${errnoName(-result)})`,
      ...(result === -ERRNO.ENOENT ? { remedy: 'leave out what this kernel lacks with --weak-sysctls' } : {}),
      crErrno: -result,
    });
  }
}
