/**
 * Records the image set of this folder anew, with dist/criu: `npx bun test/image-sets/record.ts` (root, gcc). Images of the
 * past are what it is for, so there is a reason to do so only when the set is to hold something else.
 */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { explain, runCriu } from '../harness/criu-command.ts';
import { tryKill } from '../harness/libc.ts';
import { COUNT, FOLDER, IMAGES, PID, PROGRAM, waitForCounts } from './image-set.ts';

const built = Bun.spawnSync([
  ...[
    'gcc',
    '-Os',
    '-static',
    '-nostdlib',
    '-fno-pie',
    '-no-pie',
    '-fno-stack-protector',
    '-fno-asynchronous-unwind-tables',
  ],
  ...['-Wl,-z,norelro,-z,noseparate-code,--build-id=none', '-s', '-o', PROGRAM, join(import.meta.dir, 'pair.c')],
]);
if (!built.success) throw new Error(built.stderr.toString());
rmSync(FOLDER, { recursive: true, force: true });
mkdirSync(FOLDER);
cpSync(PROGRAM, join(FOLDER, 'pair'));
writeFileSync(COUNT, '');
// The pid is one that is seldom in use, and exists on machines with few pids too.
const script = `echo ${PID - 1} > /proc/sys/kernel/ns_last_pid; (exec setsid env -i ./pair >> ${COUNT}) &`;
const shell = Bun.spawn(['sh', '-c', script], { cwd: FOLDER, stdin: 'ignore', stdout: 'ignore', stderr: 'ignore' });
await shell.exited;
await waitForCounts(3);
const comm = readFileSync(`/proc/${PID}/comm`, 'latin1');
const children = readFileSync(`/proc/${PID}/task/${PID}/children`, 'latin1');
if (comm !== 'pair\n' || children === '') throw new Error(`pid ${PID} is ${comm}: somebody else was faster, try again`);
rmSync(IMAGES, { recursive: true, force: true });
mkdirSync(IMAGES);
const args = ['dump', '-t', String(PID), '-D', IMAGES, '--manage-cgroups=ignore', '-o', join(FOLDER, 'dump.log')];
const result = await runCriu({ args, imagesDir: FOLDER, logName: 'dump.log' });
if (result.exitCode !== 0) {
  tryKill(PID, 9);
  throw new Error(explain(result));
}
writeFileSync(join(import.meta.dir, 'counted'), readFileSync(COUNT, 'latin1').trimEnd().split('\n').at(-1) ?? '');
rmSync(join(IMAGES, 'stats-dump'), { force: true });
