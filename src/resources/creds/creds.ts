/**
 * Credentials of a thread: man 7 credentials, man 7 capabilities. In Linux each thread has its own; the C library only
 * pretends that they belong to the process, so everything here is per thread and uses bare system calls.
 *
 * Ids are those of the thread's own user namespace, so they are asked inside. The capability sets mean the same
 * everywhere and are taken from /proc/PID/status.
 */
import type { Place, Program, Result } from '../../agent/program.ts';
import type { CredsEntry } from '../../image/gen/creds.ts';
import { PR_GET_SECUREBITS } from '../../linux/abi/prctl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import type { Status } from '../../proc/status.ts';
import type { VisitResult } from '../../tracee/guest.ts';
import { u32 } from '../task/words.ts';

/** An id that is none: setfsuid(2) then changes nothing and returns what it was. */
export const NO_ID = 0xffff_ffff;

export interface CredsToken {
  readonly uids: Place;
  readonly gids: Place;
  readonly fsuid: Result;
  readonly fsgid: Result;
  readonly groups: Place;
  readonly securebits: Result;
}

/** @param groupCount how many supplementary groups the thread has */
export function inspectCreds(program: Program, groupCount: number): CredsToken {
  const [uids, gids, groups] = [program.reserve(16), program.reserve(16), program.reserve(4 * groupCount)];
  program.call(SYS.getresuid, uids, program.at(uids, 4), program.at(uids, 8));
  program.call(SYS.getresgid, gids, program.at(gids, 4), program.at(gids, 8));
  const fsuid = program.call(SYS.setfsuid, NO_ID);
  const fsgid = program.call(SYS.setfsgid, NO_ID);
  if (groupCount > 0) program.call(SYS.getgroups, groupCount, groups);
  const securebits = program.call(SYS.prctl, PR_GET_SECUREBITS);
  return { uids, gids, fsuid, fsgid, groups, securebits };
}

/** @param lsm what /proc/PID/attr says, see lsm.ts */
export function describeCreds(
  token: CredsToken,
  result: VisitResult,
  status: Status,
  lsm: Pick<CredsEntry, 'lsm_profile' | 'lsm_sockcreate'>,
): CredsEntry {
  const [uids, gids, groups] = [result.bytes(token.uids), result.bytes(token.gids), result.bytes(token.groups)];
  return {
    uid: u32(uids, 0),
    gid: u32(gids, 0),
    euid: u32(uids, 4),
    egid: u32(gids, 4),
    suid: u32(uids, 8),
    sgid: u32(gids, 8),
    fsuid: result.result(token.fsuid),
    fsgid: result.result(token.fsgid),
    cap_inh: splitCaps(status.capInh),
    cap_prm: splitCaps(status.capPrm),
    cap_eff: splitCaps(status.capEff),
    cap_bnd: splitCaps(status.capBnd),
    secbits: result.result(token.securebits),
    groups: status.groups.map((_, i) => u32(groups, 4 * i)),
    ...lsm,
    ...(status.hasNoNewPrivs ? { no_new_privs: 1 } : {}),
    cap_amb: splitCaps(status.capAmb),
  };
}

/** A capability set as the image has it: two words of 32 bits, the lower first. */
export function splitCaps(mask: bigint): number[] {
  return [Number(BigInt.asUintN(32, mask)), Number(mask >> 32n)];
}

/** Undoes `splitCaps`. */
/** The capabilities of a mask that a thread would have after its restore. */
export function capabilitiesOf(entry: CredsEntry): bigint {
  return [entry.cap_inh, entry.cap_prm, entry.cap_eff, entry.cap_amb ?? []]
    .map(joinCaps)
    .reduce((all, set) => all | set);
}

export function joinCaps(words: readonly number[]): bigint {
  return BigInt(words[0] ?? 0) | (BigInt(words[1] ?? 0) << 32n);
}
