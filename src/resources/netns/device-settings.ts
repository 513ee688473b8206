/**
 * Settings of network devices, /proc/sys/net/ipv[46]/conf (Documentation/networking/ip-sysctl.rst), as images have them:
 * a list of values in the order of the names here. A setting that the kernel does not have has no value.
 */
import { type SysctlEntry, SysctlType } from '../../image/gen/sysctl.ts';

/** The order is that of the image format; new names come last. */
export const SETTINGS4 = [
  ...['accept_local', 'accept_redirects', 'accept_source_route', 'arp_accept', 'arp_announce', 'arp_filter'],
  ...['arp_ignore', 'arp_notify', 'bootp_relay', 'disable_policy', 'disable_xfrm', 'force_igmp_version', 'forwarding'],
  ...['igmpv2_unsolicited_report_interval', 'igmpv3_unsolicited_report_interval', 'log_martians', 'medium_id'],
  ...['promote_secondaries', 'proxy_arp', 'proxy_arp_pvlan', 'route_localnet', 'rp_filter', 'secure_redirects'],
  ...['send_redirects', 'shared_media', 'src_valid_mark', 'tag', 'ignore_routes_with_linkdown'],
  ...['drop_gratuitous_arp', 'drop_unicast_in_l2_multicast'],
] as const;

export const SETTINGS6 = [
  ...['accept_dad', 'accept_ra', 'accept_ra_defrtr', 'accept_ra_from_local', 'accept_ra_min_hop_limit'],
  ...['accept_ra_mtu', 'accept_ra_pinfo', 'accept_ra_rt_info_max_plen', 'accept_ra_rtr_pref', 'accept_redirects'],
  ...['accept_source_route', 'autoconf', 'dad_transmits', 'disable_ipv6', 'drop_unicast_in_l2_multicast'],
  ...['drop_unsolicited_na', 'force_mld_version', 'force_tllao', 'forwarding', 'hop_limit'],
  ...['ignore_routes_with_linkdown', 'keep_addr_on_down', 'max_addresses', 'max_desync_factor'],
  ...['mldv1_unsolicited_report_interval', 'mldv2_unsolicited_report_interval', 'mtu', 'ndisc_notify'],
  ...['optimistic_dad', 'proxy_ndp', 'regen_max_retry', 'router_probe_interval', 'router_solicitation_delay'],
  ...['router_solicitation_interval', 'router_solicitations', 'stable_secret', 'suppress_frag_ndisc'],
  ...['temp_prefered_lft', 'temp_valid_lft', 'use_oif_addrs_only', 'use_optimistic', 'use_tempaddr'],
] as const;

const TEXTS: ReadonlySet<string> = new Set(['stable_secret']);

/** What /proc/sys has, or undefined when it does not have that file, or no value was ever set. */
export type ReadSetting = (path: string) => string | undefined;

type Family = 'ipv4' | 'ipv6';
const namesOf = (family: Family): readonly string[] => (family === 'ipv4' ? SETTINGS4 : SETTINGS6);
const folderOf = (family: Family, device: string) => `net/${family}/conf/${device}`;

/** Where all settings of a device are, of both families. */
export const pathsOfDevice = (device: string): string[] => [
  ...SETTINGS4.map((name) => `${folderOf('ipv4', device)}/${name}`),
  ...SETTINGS6.map((name) => `${folderOf('ipv6', device)}/${name}`),
];

/** The settings of a device, or of "all" or "default". Pure but for `read`. */
export function describeSettings(family: Family, device: string, read: ReadSetting): SysctlEntry[] {
  return namesOf(family).map((name) => {
    const text = read(`${folderOf(family, device)}/${name}`)?.trimEnd();
    if (TEXTS.has(name)) return { type: SysctlType.CTL_STR, ...(text === undefined ? {} : { sarg: text }) };
    return { type: SysctlType.CTL_32, ...(text === undefined ? {} : { iarg: Number(text) | 0 }) };
  });
}

/** A file of /proc/sys and what is to be written there. */
export interface Setting {
  readonly path: string;
  readonly value: string;
}

/** What older criu wrote for a setting that the kernel did not have. */
const NO_VALUE = -1;

/**
 * What has to be written, in order. Settings that are as `inherited` ones, those of "default", are left out, but for the
 * MTU, which other settings change. `old` is the list of older images, for IPv4 only. Pure.
 */
export function planSettings(
  family: Family,
  device: string,
  entries: readonly SysctlEntry[],
  old: readonly number[] = [],
  inherited: readonly SysctlEntry[] = [],
): Setting[] {
  const values = entries.length > 0 ? entries : old.map((iarg) => (iarg === NO_VALUE ? {} : { iarg }));
  const settings = namesOf(family).flatMap((name, i) => {
    const value = textOf(values[i]);
    if (value === undefined || (name !== 'mtu' && value === textOf(inherited[i]))) return [];
    return [{ path: `${folderOf(family, device)}/${name}`, value }];
  });
  // To switch forwarding changes accept_redirects.
  const isLast = ({ path }: Setting) => path.endsWith('/accept_redirects');
  return [...settings.filter((setting) => !isLast(setting)), ...settings.filter(isLast)];
}

function textOf(entry: Partial<SysctlEntry> | undefined): string | undefined {
  return entry?.sarg ?? entry?.iarg?.toString();
}
