/** Writes the settings of a network namespace that an image has: files of /proc/sys/net. */
import { CriuError } from '../../base/errors.ts';
import type { NetnsEntry } from '../../image/gen/netdev.ts';
import { ERRNO, errnoName } from '../../linux/abi/errno.ts';
import { O_WRONLY } from '../../linux/abi/fcntl.ts';
import { tryWriteFile } from '../../linux/syscalls/fs.ts';
import { planSettings, type Setting } from './device-settings.ts';
import { MAX_DGRAM_QLEN, PING_GROUP_RANGE } from './kernel-settings.ts';
import { SETTINGS_ROOT } from './setting-files.ts';

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
    const result = tryWriteFile(`${SETTINGS_ROOT}/${path}`, `${value}\n`, O_WRONLY);
    if (result === 0 || (isWeak && result === -ERRNO.ENOENT)) continue;
    throw new CriuError({
      object: `setting ${path.replaceAll('/', '.')} of the network namespace`,
      action: `cannot be set to ${value} (${errnoName(-result)})`,
      ...(result === -ERRNO.ENOENT ? { remedy: 'leave out what this kernel lacks with --weak-sysctls' } : {}),
      crErrno: -result,
    });
  }
}
