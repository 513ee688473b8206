/**
 * Setting the options in `options_ext` of an image again: those of option-rows.ts, and memberships of multicast groups.
 * Network devices are known by name there, for their indexes may differ.
 */
import type { CriuErrorFields } from '../../../base/errors.ts';
import type { SkOptionExt, SkOptsEntry } from '../../../image/gen/sk-opts.ts';
import { IP_ADD_MEMBERSHIP } from '../../../linux/abi/inet.ts';
import type { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { RestoreSystem } from '../file-kind.ts';
import { MCAST_JOIN_GROUP, MCAST_MSFILTER } from './multicast.ts';
import { findRow, type SocketType } from './option-rows.ts';
import { planOption } from './plan-option.ts';

const MEMBERSHIPS: Readonly<Record<number, string>> = {
  [IP_ADD_MEMBERSHIP]: 'IP_ADD_MEMBERSHIP',
  [MCAST_JOIN_GROUP]: 'MCAST_JOIN_GROUP',
  [MCAST_MSFILTER]: 'MCAST_MSFILTER',
};
const SOL_IPS: readonly number[] = [0, 41];

/** The options that can be set on a new socket, or those that can be only on one that is complete. */
export function planKeptOptions(
  table: FdTablePlan,
  fd: number,
  socket: { readonly type: SocketType; readonly opts: SkOptsEntry; readonly what: string },
  when: 'early' | 'late',
  system: RestoreSystem,
): void {
  const { type, opts, what } = socket;
  for (const option of opts.options_ext) {
    const row = findRow(type, option.level, option.option);
    if ((row?.isLate ?? false) !== (when === 'late')) continue;
    const isMembership = row === undefined && SOL_IPS.includes(option.level);
    const name = row?.name ?? (isMembership ? MEMBERSHIPS[option.option] : undefined) ?? `option ${option.option}`;
    planOption(table, fd, option.level, option.option, valueHere(option, system), ['set', name, 'of', what]);
  }
}

/** The value, with the index that the device has here. */
function valueHere({ value, device, device_offset = 0 }: SkOptionExt, system: RestoreSystem): Uint8Array {
  if (device === undefined) return value;
  const copy = value.slice();
  new DataView(copy.buffer).setInt32(device_offset, system.deviceIndex(device), true);
  return copy;
}

const WORD_BYTES = 4;
/** Every size of value that the kernel takes is smaller. */
const VALUE_BYTES_MAX = 1 << 17;

/** What speaks against setting them. */
export function checkKeptOptions(opts: SkOptsEntry, object: string, system: RestoreSystem): CriuErrorFields[] {
  const action = 'cannot be restored';
  return opts.options_ext.flatMap(({ value, device, device_offset = 0 }) => {
    const isCut = device !== undefined && device_offset + WORD_BYTES > value.length;
    if (isCut || value.length > VALUE_BYTES_MAX) {
      return [{ object, action, why: 'an option has a value of the wrong size: the image is damaged' }];
    }
    if (device === undefined || system.deviceIndex(device) > 0) return [];
    const why = `there is no network device ${device}, which it receives multicast packets from or sends them to`;
    return [{ object, action, why, remedy: 'make a device of that name' }];
  });
}
