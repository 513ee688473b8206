/**
 * Cgroups: tasks come back into theirs, which are made again when they are gone. Each test works in a cgroup of its own,
 * in a hierarchy that only this test has where the kernel allows it.
 */
import { expect } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ImageDir } from '../../src/image/image-dir.ts';
import { Hierarchy } from '../../src/resources/cgroup/hierarchy.ts';
import { CgroupFolder, dumpAway, pidsCgroup, startInCgroup } from '../harness/cgroup-folder.ts';
import {
  checkRound,
  dump,
  expectGone,
  expectSuccess,
  makeImagesDir,
  restore,
  roundTrip,
  SkippedByProgram,
  trackProcess,
} from '../harness/harness.ts';
import { liveCase } from '../harness/live-test.ts';

const own = `name=criu-live-${process.pid}`;

/** The program cgroups.c, which has a task, a thread and a child in cgroups of their own. */
async function memberships(cgroups: CgroupFolder, version: 1 | 2, ...more: string[]): Promise<void> {
  cgroups.make('main/worker', 'child');
  if (version === 2) cgroups.write('main/worker/cgroup.type', 'threaded');
  await roundTrip('cgroups', {
    args: [String(version), version === 1 ? own : '', cgroups.folder, ...more],
    beforeRestore: () => {
      cgroups.remove();
      expect(cgroups.has('main')).toBe(false);
    },
    // The namespace is made again, and is another one.
    ignore: more.length > 0 ? [/ns\/cgroup$/] : [],
  });
}

liveCase('a task, its thread and its child come back into their cgroups', async () => {
  using cgroups = new CgroupFolder([own]);
  await memberships(cgroups, 1);
});

liveCase('a task, its thread and its child come back into cgroups of version 2', async () => {
  using cgroups = new CgroupFolder(['']);
  await memberships(cgroups, 2);
});

liveCase('a cgroup namespace comes back', async () => {
  using cgroups = new CgroupFolder([own]);
  await memberships(cgroups, 1, 'namespace');
});

const modes = [
  { mode: undefined, gone: 'made', there: 'kept' },
  { mode: 'soft', gone: 'made', there: 'kept' },
  { mode: 'full', gone: 'made', there: 'set' },
  { mode: 'strict', gone: 'made', there: 'refused' },
  { mode: 'props', gone: 'refused', there: 'set' },
  { mode: 'none', gone: 'refused', there: 'kept' },
  { mode: 'ignore', gone: 'ignored', there: 'ignored' },
] as const;

for (const { mode, gone, there } of modes) {
  const args = mode === undefined ? [] : [`--manage-cgroups=${mode}`];
  liveCase(`--manage-cgroups=${mode ?? 'soft, which is the default'}`, async () => {
    using cgroups = pidsCgroup();
    const specimen = await startInCgroup(cgroups);
    for (const [index, isGone] of [false, true, false].entries()) {
      if (mode === 'ignore') {
        cgroups.make('a/empty');
        cgroups.write('a/cgroup.procs', String(specimen.pid));
      }
      cgroups.write('a/pids.max', '4321');
      // Mode strict would find criu's own cgroups otherwise.
      const only = ['--cgroup-dump-controller', 'pids'];
      const images = await dumpAway(specimen, `images-${index}`, only);
      if (isGone) cgroups.remove();
      else cgroups.write('a/pids.max', '1234');
      const wanted = isGone ? gone : there;
      const result = await restore(specimen, images, args);
      if (wanted === 'refused') {
        expect(result.exitCode).toBe(1);
        const why = isGone ? `does not exist, mode ${mode}` : `exists already, mode ${mode}`;
        const remedy = 'use another mode of --manage-cgroups, or leave cgroups alone with --manage-cgroups=ignore';
        expect(result.log).toContain(`cgroup ${cgroups.path}/a (cgroup hierarchy pids): ${why}; ${remedy}`);
        await expectGone([specimen.pid], 'a refused restore');
        expect(cgroups.has('a')).toBe(!isGone);
        expectSuccess(await restore(specimen, images));
      } else {
        expectSuccess(result);
        if (wanted !== 'ignored') expect(cgroups.read('a/cgroup.procs')).toBe(String(specimen.pid));
        else if (!isGone) expect(cgroups.read('a/cgroup.procs')).toBe('');
        if (wanted === 'kept') expect(cgroups.read('a/pids.max')).toBe('1234');
        if (wanted === 'set' || wanted === 'made') expect(cgroups.read('a/pids.max')).toBe('4321');
        if (wanted === 'made') expect(cgroups.has('a/empty')).toBe(true);
      }
      await checkRound(specimen, index + 1);
    }
  });
}

liveCase('a restore that fails removes the cgroups it made, and gives properties back', async () => {
  using cgroups = pidsCgroup();
  using named = new CgroupFolder([own]);
  const specimen = await startInCgroup(cgroups);
  named.make('deep/deeper');
  named.write('deep/deeper/cgroup.procs', String(specimen.pid));
  const images = await dumpAway(specimen, 'images');
  named.remove();
  cgroups.write('a/pids.max', '1234');
  const script = join(specimen.dir, 'fail.sh');
  writeFileSync(script, '#!/bin/sh\n[ "$CRTOOLS_SCRIPT_ACTION" != post-restore ]\n', { mode: 0o755 });
  const failed = await restore(specimen, images, ['--manage-cgroups=full', '--action-script', script]);
  expect(failed.exitCode).toBe(1);
  await expectGone([specimen.pid], 'a restore that failed');
  expect(named.has('')).toBe(false);
  expect(cgroups.read('a/pids.max')).toBe('1234');
  expectSuccess(await restore(specimen, images));
  await checkRound(specimen, 1);
});

liveCase('--cgroup-root moves the cgroups of one hierarchy', async () => {
  using cgroups = pidsCgroup();
  using named = new CgroupFolder([own]);
  const specimen = await startInCgroup(cgroups);
  named.make('old/below');
  named.write('old/cgroup.procs', String(specimen.pid));
  for (const round of [1, 2, 3]) {
    const images = await dumpAway(specimen, `images-${round}`);
    expectSuccess(await restore(specimen, images, ['--cgroup-root', `${own}:${named.path}/new${round}`]));
    expect(named.read(`new${round}/cgroup.procs`)).toBe(String(specimen.pid));
    expect(named.has(`new${round}/below`)).toBe(true);
    expect(cgroups.read('a/cgroup.procs')).toBe(String(specimen.pid));
    await checkRound(specimen, round);
  }
});

/** The properties of a cgroup in an image, by name. */
function propertiesIn(images: string, controller: string): Map<string, string> {
  const [entry] = ImageDir.open(images).tryRead('cgroup') ?? [];
  const dirs = entry?.controllers.find(({ cnames }) => cnames.includes(controller))?.dirs ?? [];
  return new Map(dirs.flatMap(({ properties }) => properties.map(({ name, value }) => [name, value])));
}

liveCase('--cgroup-props and --cgroup-dump-controller choose what is kept', async () => {
  using cgroups = pidsCgroup();
  const specimen = await startInCgroup(cgroups);
  const read = async (name: string, args: readonly string[]) => {
    const images = makeImagesDir(specimen, name);
    expectSuccess(await dump(specimen, images, ['-R', ...args]));
    return [...propertiesIn(images, 'pids').keys()];
  };
  const common = ['cgroup.clone_children', 'notify_on_release', 'cgroup.procs', 'tasks'];
  const spec = (strategy: string) => `"pids":\n - "strategy": "${strategy}"\n - "properties": ["pids.peak"]\n`;
  expect(await read('default', [])).toEqual(['pids.max', ...common]);
  const peak = cgroups.has('a/pids.peak') ? ['pids.peak'] : [];
  expect(await read('merged', ['--cgroup-props', spec('merge')])).toEqual(['pids.max', ...peak, ...common]);
  expect(await read('replaced', ['--cgroup-props', spec('replace')])).toEqual([...peak, ...common]);
  const ignoring = ['--cgroup-props', spec('merge'), '--cgroup-props-ignore-default'];
  expect(await read('ignoring', ignoring)).toEqual([...peak, ...common]);
  const file = join(specimen.dir, 'props.yaml');
  writeFileSync(file, '"pids":\n - "strategy": "replace"\n - "properties": [ ]\n');
  expect(await read('file', ['--cgroup-props-file', file])).toEqual(common);
  expect(await read('other', ['--cgroup-dump-controller', 'freezer'])).toEqual([]);
  writeFileSync(file, '"pids":\n - "strategy": "replace"\n');
  const failed = await dump(specimen, makeImagesDir(specimen, 'bad'), ['--cgroup-props-file', file]);
  expect(failed.exitCode).toBe(1);
  expect(failed.log).toContain(
    `--cgroup-props-file ${file}: "properties" of controller pids expected in line 3, found the end`,
  );
  await checkRound(specimen, 1);
});

liveCase('a hierarchy can be opened again while it dies', async () => {
  const name = `name=criu-live-dying-${process.pid}`;
  for (let round = 0; round < 20; round++) new Hierarchy([name], undefined)[Symbol.dispose]();
});

liveCase('a cgroup yard without the hierarchy is refused', async () => {
  using cgroups = pidsCgroup();
  const specimen = await startInCgroup(cgroups);
  const failed = await dump(specimen, makeImagesDir(specimen, 'images'), ['--cgroup-yard', specimen.dir]);
  expect(failed.exitCode).toBe(1);
  expect(failed.log).toContain('leave out --cgroup-yard');
  await checkRound(specimen, 1);
});

const freezers = [
  { version: 1, controllers: ['freezer'], file: 'freezer.state', frozen: 'FROZEN', thawed: 'THAWED' },
  { version: 2, controllers: [''], file: 'cgroup.freeze', frozen: '1', thawed: '0' },
];
for (const { version, controllers, file, frozen, thawed } of freezers) {
  for (const wasFrozen of [true, false]) {
    const name = `a tree that was ${wasFrozen ? '' : 'not '}frozen by its cgroup (version ${version}) comes back so`;
    liveCase(name, async () => {
      using cgroups = new CgroupFolder(controllers);
      const specimen = await startInCgroup(cgroups);
      if (!cgroups.has(`a/${file}`)) throw new SkippedByProgram(`no ${file} here`);
      for (const round of [1, 2, 3]) {
        if (wasFrozen) cgroups.write(`a/${file}`, frozen);
        const images = await dumpAway(specimen, `images-${round}`, ['--freeze-cgroup', join(cgroups.folder, 'a')]);
        cgroups.remove();
        expectSuccess(await restore(specimen, images));
        expect(cgroups.read(`a/${file}`)).toBe(wasFrozen ? frozen : thawed);
        cgroups.write(`a/${file}`, thawed);
        await checkRound(specimen, round);
      }
    });
  }
}

for (const { version, controllers, file, frozen, thawed } of freezers) {
  const name = `a frozen cgroup (version ${version}) is thawed for a restore when it is empty, and refused when it is not`;
  liveCase(name, async () => {
    using cgroups = new CgroupFolder(controllers);
    const specimen = await startInCgroup(cgroups);
    if (!cgroups.has(`a/${file}`)) throw new SkippedByProgram(`no ${file} here`);
    cgroups.write(`a/${file}`, frozen);
    const images = await dumpAway(specimen, 'images', ['--freeze-cgroup', join(cgroups.folder, 'a')]);
    const other = Bun.spawn(['sleep', '60'], { stdio: ['ignore', 'ignore', 'ignore'] });
    trackProcess(other.pid);
    cgroups.write('a/cgroup.procs', String(other.pid));
    cgroups.write(`a/${file}`, frozen);
    const refused = await restore(specimen, images);
    expect(refused.exitCode).toBe(1);
    expect(refused.log).toContain(
      'is frozen, so nobody can be restored into it: it is not thawed for the restore, because other processes are in it; ',
    );
    cgroups.write(`a/${file}`, thawed);
    other.kill('SIGKILL');
    await other.exited;
    cgroups.write(`a/${file}`, frozen);
    expectSuccess(await restore(specimen, images));
    expect(cgroups.read(`a/${file}`)).toBe(frozen);
    cgroups.write(`a/${file}`, thawed);
    await checkRound(specimen, 1);
  });
}
