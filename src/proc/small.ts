/**
 * Files of /proc and links that hold one value or one list of numbers.
 */
import { malformed, type Place, toHex, toInteger, toIntegers } from './text.ts';

/** /proc/PID/task/TID/children: pids of the children, blanks between. */
export function parseChildren(text: string, file = '/proc/PID/task/TID/children'): number[] {
  return toIntegers(text.trim(), wholeFile(text, file), 'pids');
}

/** /proc/PID/oom_score_adj: -1000 to 1000. */
export function parseOomScoreAdj(text: string, file = '/proc/PID/oom_score_adj'): number {
  return toInteger(text.trim(), wholeFile(text, file), 'a number');
}

/** The audit user id that means "not set". */
export const LOGINUID_UNSET = 0xffff_ffff;

/** /proc/PID/loginuid; LOGINUID_UNSET when nobody logged in. */
export function parseLoginuid(text: string, file = '/proc/PID/loginuid'): number {
  return toInteger(text.trim(), wholeFile(text, file), 'a user id');
}

/** /proc/PID/coredump_filter: hexadecimal bits, man 5 core. */
export function parseCoredumpFilter(text: string, file = '/proc/PID/coredump_filter'): number {
  return toHex(text.trim(), wholeFile(text, file), 'a hexadecimal number');
}

/** Target of a link with an inode number: /proc/PID/ns/X, or /proc/PID/fd/N of a pipe, socket and the like. */
export interface InodeLink {
  /** `pid`, `mnt`, `pipe`, `socket`. */
  readonly type: string;
  readonly inode: bigint;
}

/** Parses `pid:[4026531836]`. `undefined` when the link is not of that form, for example a path. */
export function tryParseInodeLink(target: string): InodeLink | undefined {
  const match = /^([a-z_]+):\[(\d{1,20})\]$/.exec(target);
  return match === null ? undefined : { type: match[1] ?? '', inode: BigInt(match[2] ?? '') };
}

/** Parses the target of /proc/PID/ns/X. Throws CriuError when it is of another form. */
export function parseNamespaceLink(target: string, file = '/proc/PID/ns/X'): InodeLink {
  const link = tryParseInodeLink(target);
  if (link === undefined) throw malformed(wholeFile(target, file), 'type:[inode]');
  return link;
}

function wholeFile(text: string, file: string): Place {
  return { file, line: 0, text };
}
