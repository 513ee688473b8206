/** What callers of the library may ask for, and its way to the options of a request. Pure. */

import type { CriuOpts } from '../image/gen/rpc.ts';

/**
 * Options of a checkpoint or a restore. Names and meanings are those of criu_opts in CRIU's rpc.proto, and the option of
 * the command line with the same name explains each: `leave_running` is --leave-running. Texts are JavaScript strings.
 */
export type RequestOptions = Partial<
  Omit<CriuOpts, 'images_dir_fd' | 'notify_scripts' | 'orphan_pts_master' | 'pidfd_store_sk' | 'exec_cmd'>
> & {
  /** The folder of the images; relative to the current folder. */
  readonly images_dir: string;
};

export interface CheckpointOptions extends RequestOptions {
  /** The root of the tree. */
  readonly pid: number;
}

/** Fields that a message always has. */
const NOTHING = {
  images_dir_fd: -1,
  veths: [],
  exec_cmd: [],
  ext_mnt: [],
  cg_root: [],
  inherit_fd: [],
  skip_mnt: [],
  enable_fs: [],
  unix_sk_ino: [],
  irmap_scan_paths: [],
  external: [],
  join_ns: [],
  cgroup_dump_controller: [],
} as const satisfies Partial<Record<keyof CriuOpts, unknown>>;

/** The message; its strings are byte strings, as everywhere below. */
export function toCriuOpts(options: Partial<CriuOpts>): CriuOpts {
  return convertStrings({ ...structuredClone(NOTHING), ...options }, toBytes) as CriuOpts;
}

/** Applies `convert` to every string in plain data. */
function convertStrings(value: unknown, convert: (text: string) => string): unknown {
  if (typeof value === 'string') return convert(value);
  if (Array.isArray(value)) return value.map((item) => convertStrings(item, convert));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, convertStrings(item, convert)]));
}

const toBytes = (text: string) => Buffer.from(text, 'utf8').toString('latin1');

/** A byte string of a response as text. */
export const toText = (bytes: string) => Buffer.from(bytes, 'latin1').toString('utf8');
