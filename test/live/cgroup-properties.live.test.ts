/** Properties of cgroups that are made again: those that the options of the dump have chosen. */
import { expect } from 'bun:test';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CgroupFolder, dumpAway, pidsCgroup, startInCgroup } from '../harness/cgroup-folder.ts';
import { checkRound, expectGone, expectSuccess, restore, SkippedByProgram } from '../harness/harness.ts';
import { liveCase } from '../harness/live-test.ts';

/** A text for --cgroup-props. */
function choose(controller: string, strategy: 'merge' | 'replace', ...names: string[]): string {
  const list = names.map((name) => `"${name}"`).join(', ');
  return `"${controller}":\n - "strategy": "${strategy}"\n - "properties": [ ${list} ]\n`;
}

const everything = { max: '4321', notify: '1', idle: '0' };
const cases = [
  { what: 'no option', args: [], wanted: everything },
  {
    what: '--cgroup-props',
    args: ['--cgroup-props', choose('cpu', 'merge', 'cpu.idle')],
    wanted: { ...everything, idle: '1' },
  },
  { what: '--cgroup-props-file', file: choose('pids', 'replace'), wanted: { ...everything, max: 'max' } },
  {
    what: '--cgroup-props-ignore-default',
    args: ['--cgroup-props', choose('pids', 'merge'), '--cgroup-props-ignore-default'],
    wanted: { ...everything, max: 'max' },
  },
  {
    what: '--cgroup-dump-controller',
    args: ['--cgroup-dump-controller', 'pids'],
    wanted: { ...everything, idle: undefined },
  },
];

liveCase('a cgroup that is made again has the properties that were chosen', async () => {
  using pids = pidsCgroup();
  using cpu = new CgroupFolder(['cpu']);
  const specimen = await startInCgroup(pids);
  for (const [index, { what, args = [], file, wanted }] of cases.entries()) {
    pids.make('a');
    cpu.make('a');
    if (!cpu.has('a/cpu.idle')) throw new SkippedByProgram('this kernel has no cpu.idle');
    for (const cgroups of [pids, cpu]) cgroups.write('a/cgroup.procs', String(specimen.pid));
    pids.write('a/pids.max', '4321');
    pids.write('a/notify_on_release', '1');
    cpu.write('a/cpu.idle', '1');
    const path = join(specimen.dir, 'properties');
    if (file !== undefined) writeFileSync(path, file);
    const images = await dumpAway(
      specimen,
      `images-${index}`,
      file === undefined ? args : ['--cgroup-props-file', path],
    );
    pids.remove();
    cpu.remove();
    expectSuccess(await restore(specimen, images));
    const got = {
      max: pids.read('a/pids.max'),
      notify: pids.read('a/notify_on_release'),
      idle: cpu.has('a') ? cpu.read('a/cpu.idle') : undefined,
    };
    expect({ what, ...got }).toEqual({ what, ...wanted });
    expect(pids.read('a/cgroup.procs')).toBe(String(specimen.pid));
    await checkRound(specimen, index + 1);
  }
});

liveCase('--cgroup-yard has the hierarchies of a dump and of a restore', async () => {
  using cgroups = pidsCgroup();
  const specimen = await startInCgroup(cgroups);
  const yards = ['dump', 'restore'].map((name) => {
    const yard = join(specimen.dir, name);
    mkdirSync(yard);
    symlinkSync(cgroups.folder.slice(0, -cgroups.path.length), join(yard, 'pids'));
    return yard;
  });
  const [yard = '', otherYard = ''] = yards;
  for (const round of [1, 2, 3]) {
    cgroups.write('a/pids.max', '4321');
    const args = ['--cgroup-dump-controller', 'pids', '--cgroup-yard', yard];
    const images = await dumpAway(specimen, `images-${round}`, args);
    cgroups.remove();
    const refused = await restore(specimen, images, ['--cgroup-yard', images]);
    expect(refused.exitCode).toBe(1);
    expect(refused.log).toContain(`cgroup hierarchy pids: is not in the cgroup yard (${images}/pids: ENOENT)`);
    await expectGone([specimen.pid], 'a restore that was refused');
    expectSuccess(await restore(specimen, images, ['--cgroup-yard', otherYard]));
    expect(cgroups.read('a/pids.max')).toBe('4321');
    expect(cgroups.read('a/cgroup.procs')).toBe(String(specimen.pid));
    await checkRound(specimen, round);
  }
});
