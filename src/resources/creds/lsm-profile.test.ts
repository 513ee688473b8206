import { describe, expect, test } from 'bun:test';
import { CriuErrors } from '../../base/errors.ts';
import type { CoreEntry } from '../../image/gen/core.ts';
import { Lsmtype } from '../../image/gen/inventory.ts';
import { chooseLabels, parseLsmProfile } from './lsm-profile.ts';

/** A tree of one task with a thread that has a label and one that has none. */
function tree(lsmtype: number) {
  const core = (lsm_profile: string | undefined) =>
    ({ thread_core: { creds: { lsm_profile } } }) as unknown as CoreEntry;
  const threads = [{ core: core('old') }, { core: core(undefined) }];
  return { inventory: { lsmtype }, tasks: [{ label: "task 5 'x'", threads }] };
}

const labels = ({ tasks }: ReturnType<typeof tree>) =>
  tasks.flatMap(({ threads }) => threads.map(({ core }) => core.thread_core?.creds?.lsm_profile));

describe('--lsm-profile', () => {
  test('changes the labels of those that have one', () => {
    const images = tree(Lsmtype.APPARMOR);
    chooseLabels(images, parseLsmProfile('apparmor:a:b'), 'apparmor');
    expect(labels(images)).toEqual(['a:b', undefined]);
  });

  test.each(['none', 'none:'])('%s takes them away', (text) => {
    const images = tree(Lsmtype.SELINUX);
    chooseLabels(images, parseLsmProfile(text), 'none');
    expect(labels(images)).toEqual([undefined, undefined]);
  });

  test('of a module that the kernel does not have is refused', () => {
    expect(() => chooseLabels(tree(Lsmtype.NO_LSM), parseLsmProfile('selinux:x'), 'apparmor')).toThrow(
      '--lsm-profile selinux:x: selinux LSM specified but selinux not supported by kernel; ' +
        'restore without a label with --lsm-profile none',
    );
  });
});

describe('labels in the images', () => {
  test('are kept where the kernel has their module', () => {
    const images = tree(Lsmtype.SELINUX);
    chooseLabels(images, undefined, 'selinux');
    expect(labels(images)).toEqual(['old', undefined]);
  });

  test.each([
    [Lsmtype.APPARMOR, 'none', 'cannot get the apparmor label "old": this kernel has neither SELinux nor AppArmor'],
    [Lsmtype.SELINUX, 'apparmor', 'cannot get the selinux label "old": this kernel has apparmor'],
  ] as const)('are refused where it has not: %#', (lsmtype, module, text) => {
    try {
      chooseLabels(tree(lsmtype), undefined, module);
      throw new Error('accepted');
    } catch (error) {
      if (!(error instanceof CriuErrors)) throw error;
      const remedy = 'restore on a machine like the one of the dump, or without a label with --lsm-profile none';
      expect(error.lines[1]).toBe(`task 5 'x': ${text}; ${remedy}`);
    }
  });
});
