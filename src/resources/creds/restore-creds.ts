/**
 * Credentials back into a thread.
 *
 * The order, and why:
 * 1. groups and gids before uids, and all ids before the capabilities go: they need CAP_SETGID and CAP_SETUID. With
 *    SECBIT_NO_SETUID_FIXUP a change of uid leaves the capabilities alone (man 7 capabilities).
 * 2. The inheritable set first of the sets: it may only grow within the bounding set (security/commoncap.c,
 *    cap_capset), which is about to shrink.
 * 3. Ambient capabilities after that, since each must be permitted and inheritable, and before the securebits, which
 *    may forbid them.
 * 4. Bounding set and securebits while CAP_SETPCAP is still there.
 * 5. The permitted and effective sets, which may take away everything that was needed so far.
 * 6. The security label, which no_new_privs would forbid to change. 7. no_new_privs.
 *
 * What is equal already is left alone, so that an unprivileged restore of an unprivileged task works. A change of
 * credentials resets the parent-death signal and the dumpable flag (kernel/cred.c, commit_creds): both come after.
 */
import type { Place, Program } from '../../agent/program.ts';
import type { CredsEntry } from '../../image/gen/creds.ts';
import {
  _LINUX_CAPABILITY_VERSION_3,
  CAP_LAST_CAP,
  CAP_SYS_ADMIN,
  capabilityName,
} from '../../linux/abi/capability.ts';
import {
  PR_CAP_AMBIENT,
  PR_CAP_AMBIENT_CLEAR_ALL,
  PR_CAP_AMBIENT_RAISE,
  PR_CAPBSET_DROP,
  PR_SET_NO_NEW_PRIVS,
  PR_SET_SECUREBITS,
  SECBIT_NO_SETUID_FIXUP,
} from '../../linux/abi/prctl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import type { Status } from '../../proc/status.ts';
import { putU32 } from '../task/words.ts';
import { joinCaps, NO_ID } from './creds.ts';
import { type LsmNow, planThreadLabels } from './lsm.ts';

/** The credentials that the thread has before, as far as they are known. */
export interface CredsNow {
  /**
   * From /proc/PID/status of the new task (or of criu itself, whose credentials it has). Only when the task is in the
   * user namespace of criu: elsewhere the ids of status are not the ones that the task sees.
   */
  readonly status: Status | undefined;
  /** prctl(PR_GET_SECUREBITS). */
  readonly securebits: number;
  /** Needed when images have security labels. */
  readonly lsm?: LsmNow | undefined;
}

/** Sets all credentials of the thread that runs the program. See the head of this file for the order. */
export function planCreds(program: Program, entry: CredsEntry, now: CredsNow): void {
  const changesIds = now.status === undefined || !hasIds(entry, now.status);
  const { status } = now;
  if (status === undefined || !sameGroups(entry.groups, status.groups)) planGroups(program, entry.groups);
  if (changesIds) planIds(program, entry, now.securebits);
  const target = capabilitySets(entry);
  const isSame = status !== undefined && !changesIds && hasCaps(target, status);
  if (!isSame) {
    planInheritable(program, target.inheritable);
    planAmbient(program, target.ambient);
    planBounding(program, entry, status?.capBnd);
  }
  if (changesIds || entry.secbits !== now.securebits) {
    program.must(`set securebits 0x${entry.secbits.toString(16)}`, SYS.prctl, PR_SET_SECUREBITS, entry.secbits);
  }
  if (!isSame) planCapset(program, target);
  planThreadLabels(program, entry, now.lsm);
  planNoNewPrivs(program, entry);
}

/** Whether the thread may install seccomp filters without no_new_privs. */
export function mayFilter({ status }: CredsNow): boolean {
  return status === undefined || ((status.capEff >> BigInt(CAP_SYS_ADMIN)) & 1n) === 1n;
}

/** Last of all, but for a seccomp filter that needs it for lack of CAP_SYS_ADMIN. */
export function planNoNewPrivs(program: Program, entry: CredsEntry): void {
  if ((entry.no_new_privs ?? 0) > 0) program.must('set no_new_privs', SYS.prctl, PR_SET_NO_NEW_PRIVS, 1);
}

interface CapabilitySets {
  readonly inheritable: bigint;
  readonly permitted: bigint;
  readonly effective: bigint;
  readonly bounding: bigint;
  readonly ambient: bigint;
}

function capabilitySets(entry: CredsEntry): CapabilitySets {
  return {
    inheritable: joinCaps(entry.cap_inh),
    permitted: joinCaps(entry.cap_prm),
    effective: joinCaps(entry.cap_eff),
    bounding: joinCaps(entry.cap_bnd),
    ambient: joinCaps(entry.cap_amb),
  };
}

function hasIds(entry: CredsEntry, { uid, gid }: Status): boolean {
  const [uids, gids] = [
    [entry.uid, entry.euid, entry.suid, entry.fsuid],
    [entry.gid, entry.egid, entry.sgid, entry.fsgid],
  ];
  return uids.every((id, i) => id === uid[i]) && gids.every((id, i) => id === gid[i]);
}

function hasCaps(target: CapabilitySets, status: Status): boolean {
  return (
    target.inheritable === status.capInh &&
    target.permitted === status.capPrm &&
    target.effective === status.capEff &&
    target.bounding === status.capBnd &&
    target.ambient === status.capAmb
  );
}

/** The kernel keeps groups sorted (kernel/groups.c, groups_sort). */
function sameGroups(wanted: readonly number[], current: readonly number[]): boolean {
  const [a, b] = [wanted, current].map((groups) => groups.toSorted((x, y) => x - y).join());
  return a === b;
}

function planGroups(program: Program, groups: readonly number[]): void {
  const bytes = new Uint8Array(4 * groups.length);
  groups.forEach((group, i) => {
    putU32(bytes, 4 * i, group);
  });
  program.must(`set ${groups.length} supplementary groups`, SYS.setgroups, groups.length, program.data(bytes));
}

function planIds(program: Program, entry: CredsEntry, securebits: number): void {
  const keep = 'keep capabilities while user ids change';
  program.must(keep, SYS.prctl, PR_SET_SECUREBITS, securebits | SECBIT_NO_SETUID_FIXUP);
  const { uid, euid, suid, fsuid, gid, egid, sgid, fsgid } = entry;
  program.must(`set group ids ${gid}, ${egid}, ${sgid}`, SYS.setresgid, gid, egid, sgid);
  program.must(`set user ids ${uid}, ${euid}, ${suid}`, SYS.setresuid, uid, euid, suid);
  // They return the old id whether they succeed or not, so the second call checks the first.
  program.call(SYS.setfsgid, fsgid);
  program.expect(`set file system group id ${fsgid}`, fsgid, SYS.setfsgid, NO_ID);
  program.call(SYS.setfsuid, fsuid);
  program.expect(`set file system user id ${fsuid}`, fsuid, SYS.setfsuid, NO_ID);
}

const CAP_DATA_BYTES = 24;

/** struct __user_cap_header_struct for the thread itself. */
function capHeader(program: Program): Place {
  return program.words(_LINUX_CAPABILITY_VERSION_3);
}

/** The other two sets stay as they are: the kernel is asked for them first. */
function planInheritable(program: Program, inheritable: bigint): void {
  const [header, data] = [capHeader(program), program.reserve(CAP_DATA_BYTES)];
  program.must('read the capabilities', SYS.capget, header, data);
  program.store32(program.at(data, 8), BigInt.asUintN(32, inheritable));
  program.store32(program.at(data, 20), inheritable >> 32n);
  program.must(`set inheritable capabilities 0x${inheritable.toString(16)}`, SYS.capset, header, data);
}

function planAmbient(program: Program, ambient: bigint): void {
  program.call(SYS.prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  for (const capability of capabilitiesIn(ambient)) {
    const because = `make ${capabilityName(capability)} ambient`;
    program.must(because, SYS.prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
  }
}

/** @param current the bounding set of now, when it is known */
function planBounding(program: Program, entry: CredsEntry, current: bigint | undefined): void {
  const [bounding, permitted] = [joinCaps(entry.cap_bnd), joinCaps(entry.cap_prm)];
  const isConfined = (entry.no_new_privs ?? 0) > 0;
  for (const capability of capabilitiesIn((current ?? ALL_CAPABILITIES) & ~bounding)) {
    const isHarmless = isConfined && ((permitted >> BigInt(capability)) & 1n) === 0n;
    // With no_new_privs the thread never gets what it is not permitted, so the bounding set has no say any more.
    if (isHarmless) program.call(SYS.prctl, PR_CAPBSET_DROP, capability);
    else {
      const because = `drop ${capabilityName(capability)} from the bounding set`;
      program.must(because, SYS.prctl, PR_CAPBSET_DROP, capability);
    }
  }
}

function planCapset(program: Program, { permitted, effective, inheritable }: CapabilitySets): void {
  const bytes = new Uint8Array(CAP_DATA_BYTES);
  [0n, 32n].forEach((shift, i) => {
    putU32(bytes, 12 * i, Number(BigInt.asUintN(32, effective >> shift)));
    putU32(bytes, 12 * i + 4, Number(BigInt.asUintN(32, permitted >> shift)));
    putU32(bytes, 12 * i + 8, Number(BigInt.asUintN(32, inheritable >> shift)));
  });
  const because = `set capabilities to permitted 0x${permitted.toString(16)}, effective 0x${effective.toString(16)}`;
  program.must(because, SYS.capset, capHeader(program), program.data(bytes));
}

const ALL_CAPABILITIES = (1n << BigInt(CAP_LAST_CAP + 1)) - 1n;

function capabilitiesIn(mask: bigint): number[] {
  const capabilities: number[] = [];
  for (let capability = 0; capability < 64; capability++) {
    if (((mask >> BigInt(capability)) & 1n) === 1n) capabilities.push(capability);
  }
  return capabilities;
}
