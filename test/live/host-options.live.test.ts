/** Options of a restore that concern the machine as a whole. */
import { expect } from 'bun:test';
import { existsSync } from 'node:fs';
import type { CoreEntry } from '../../src/image/gen/core.ts';
import { ImageDir } from '../../src/image/image-dir.ts';
import {
  checkRound,
  dump,
  expectGone,
  expectSuccess,
  makeImagesDir,
  restore,
  SkippedByProgram,
  startProgram,
} from '../harness/harness.ts';
import { liveCase } from '../harness/live-test.ts';

async function makeCheckpoint() {
  const specimen = await startProgram('static-counter');
  const images = makeImagesDir(specimen, 'images');
  expectSuccess(await dump(specimen, images));
  await expectGone([specimen.pid], 'after the dump');
  return { specimen, images };
}

liveCase('--root and --log-pid do not change the restore of a tree without a mount namespace, and say so', async () => {
  const { specimen, images } = await makeCheckpoint();
  const restored = await restore(specimen, images, ['--root', '/tmp', '--log-pid']);
  expectSuccess(restored);
  expect(restored.log).toContain(
    '--root /tmp has no effect: these images have no mount namespace, so the tree gets the root that criu has',
  );
  expect(restored.log).toContain('--log-pid has no effect: a single process restores all tasks, and writes one log');
  await checkRound(specimen, 1);
});

liveCase('a security label is refused without its module, and left out with --lsm-profile none', async () => {
  if (existsSync('/sys/kernel/security/apparmor') || existsSync('/sys/fs/selinux')) {
    throw new SkippedByProgram('this kernel has a security module');
  }
  const { specimen, images } = await makeCheckpoint();
  const folder = ImageDir.open(images);
  const core: CoreEntry = folder.readOne('core', specimen.pid);
  if (core.thread_core?.creds === undefined) throw new Error('no credentials');
  core.thread_core.creds.lsm_profile = 'unconfined_u:unconfined_r:unconfined_t:s0';
  folder.write('core', specimen.pid, [core]);
  const refused = await restore(specimen, images);
  expect(refused.exitCode).toBe(1);
  expect(refused.log).toContain(
    `task ${specimen.pid} 'static-counter': cannot get the label "unconfined_u:unconfined_r:unconfined_t:s0": this kernel ` +
      'has neither SELinux nor AppArmor; restore on a machine like the one of the dump, or without a label with ' +
      '--lsm-profile none',
  );
  const wrong = await restore(specimen, images, ['--lsm-profile', 'selinux:x']);
  expect(wrong.exitCode).toBe(1);
  expect(wrong.log).toContain('selinux LSM specified but selinux not supported by kernel');
  expectSuccess(await restore(specimen, images, ['--lsm-profile', 'none']));
  await checkRound(specimen, 1);
});
