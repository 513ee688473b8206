import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { Program } from '../../agent/program.ts';
import type { CredsEntry } from '../../image/gen/creds.ts';
import { parseStatus, type Status } from '../../proc/status.ts';
import { joinCaps, splitCaps } from './creds.ts';
import { label, planSelinuxLabel, planThreadLabels } from './lsm.ts';
import { planCreds } from './restore-creds.ts';

test('capability sets of 64 bits survive as two words', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }), (mask) => {
      expect(joinCaps(splitCaps(mask))).toBe(mask);
    }),
  );
});

describe('labels of security modules', () => {
  test('lose their mode and the end of the line', () => {
    expect(label('docker-default (enforce)\n')).toBe('docker-default');
    expect(label('system_u:system_r:container_t:s0:c1,c2\0')).toBe('system_u:system_r:container_t:s0:c1,c2');
    expect(label('my (odd) profile (complain)\n')).toBe('my (odd) profile');
  });

  test('are none without a module or a profile', () => {
    expect(label('unconfined\n')).toBeUndefined();
    expect(label('')).toBeUndefined();
    expect(label(-22)).toBeUndefined();
  });
});

describe('labels in a new task', () => {
  const plan = (lsm_profile: string, module: 'none' | 'selinux' | 'apparmor', own?: string) => {
    const program = new Program();
    const now = { module, labels: { lsm_profile: own } };
    planSelinuxLabel(program, { lsm_profile }, now);
    planThreadLabels(program, { lsm_profile }, now);
    return Array.from({ length: program.length }, (_, i) => program.describe(i).because);
  };

  test('are written in the language of the module', () => {
    expect(plan('t', 'selinux')).toContain('set the security label "t"');
    expect(plan('t', 'apparmor')).toContain('set the security label "changeprofile t"');
  });

  test('are inherited from criu', () => {
    expect(plan('t', 'selinux', 't')).toEqual([]);
    expect(plan('t', 'none', 't')).toEqual([]);
  });

  test('need a module', () => {
    expect(() => plan('t', 'none')).toThrow(
      'security label "t": cannot be restored: this kernel has neither SELinux nor AppArmor; ' +
        'restore on a machine like the one of the dump',
    );
  });
});

const STATUS = `Name:\tx
State:\tR (running)
Tgid:\t1
Pid:\t1
PPid:\t0
TracerPid:\t0
Uid:\t0\t0\t0\t0
Gid:\t0\t0\t0\t0
FDSize:\t64
Groups:\t4 3
Threads:\t1
SigQ:\t0/100
SigPnd:\t0000000000000000
ShdPnd:\t0000000000000000
SigBlk:\t0000000000000000
SigIgn:\t0000000000000000
SigCgt:\t0000000000000000
CapInh:\t0000000000000000
CapPrm:\t000001ffffffffff
CapEff:\t000001ffffffffff
CapBnd:\t000001ffffffffff
CapAmb:\t0000000000000000
`;

const ALL = splitCaps(0x1ff_ffff_ffffn);
const ROOT: CredsEntry = {
  uid: 0,
  gid: 0,
  euid: 0,
  egid: 0,
  suid: 0,
  sgid: 0,
  fsuid: 0,
  fsgid: 0,
  cap_inh: [0, 0],
  cap_prm: ALL,
  cap_eff: ALL,
  cap_bnd: ALL,
  cap_amb: [0, 0],
  secbits: 0,
  groups: [3, 4],
};

function plan(entry: Partial<CredsEntry>, status: Status | undefined = parseStatus(STATUS)): string[] {
  const program = new Program();
  planCreds(program, { ...ROOT, ...entry }, { status, securebits: 0 });
  return Array.from({ length: program.length }, (_, i) => program.describe(i).because).filter((text) => text !== '');
}

describe('planCreds', () => {
  test('leaves alone what is equal, whatever the order of groups', () => {
    expect(plan({})).toEqual([]);
    expect(plan({ no_new_privs: 1 })).toEqual(['set no_new_privs']);
  });

  test('changes ids while capabilities are there, and takes these last', () => {
    expect(plan({ uid: 5, cap_prm: [0, 0], cap_eff: [0, 0], cap_bnd: splitCaps(0x1ff_ffff_fffen) })).toEqual([
      'keep capabilities while user ids change',
      'set group ids 0, 0, 0',
      'set user ids 5, 0, 0',
      'set file system group id 0',
      'set file system user id 0',
      'read the capabilities',
      'set inheritable capabilities 0x0',
      'drop CAP_CHOWN from the bounding set',
      'set securebits 0x0',
      'set capabilities to permitted 0x0, effective 0x0',
    ]);
  });

  test('sets everything when it does not know what is there', () => {
    const program = new Program();
    planCreds(program, ROOT, { status: undefined, securebits: 0 });
    expect(program.describe(0).because).toBe('set 2 supplementary groups');
    expect(program.describe(program.length - 1).because).toContain('set capabilities to permitted 0x1ffffffffff');
  });

  test('does not insist on the bounding set when no_new_privs makes it pointless', () => {
    const entry = { no_new_privs: 1, cap_prm: [0, 0], cap_eff: [0, 0], cap_bnd: [0, 0] };
    expect(plan(entry).some((text) => text.startsWith('drop'))).toBe(false);
  });
});
