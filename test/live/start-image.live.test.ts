/**
 * criu starts from its start image or, with CRIU_PLAIN_START=1, as the runtime starts any program. Whoever calls it must not
 * see a difference: every situation here is tried with both, and compared.
 */
import { expect, test } from 'bun:test';
import {
  copyFileSync,
  linkSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { PLAIN_START } from '../../src/base/invocation.ts';
import { CriuReqType } from '../../src/image/gen/rpc.ts';
import { CODE_AT, FIRST_FD } from '../../src/start/layout.ts';
import { criuBinary, isInterop, isOriginal } from '../harness/criu-command.ts';
import { cleanUp, makeFolder, trackProcess } from '../harness/harness.ts';
import { readLinkMap } from '../harness/link-map.ts';
import { liveCase } from '../harness/live-test.ts';
import { isAlive } from '../harness/processes.ts';
import { findCommand, waitFor } from '../harness/real-program.ts';
import { RpcClient } from '../harness/rpc-client.ts';

type Start = 'image' | 'plain';
const STARTS: readonly Start[] = ['image', 'plain'];

/** The entry of the executable is the launcher's code, and an image stands behind it. */
const hasImage = !isOriginal && !isInterop && readEntry(criuBinary) === CODE_AT;

function readEntry(path: string): number {
  return new DataView(readFileSync(path).buffer).getUint32(24, true);
}

/** A test of the start; `needs` are commands that not every machine has. */
function startCase(name: string, needs: readonly string[], body: () => Promise<void>): void {
  const missing = needs.filter((command) => findCommand(command) === undefined);
  if (missing.length > 0) test.skip(`${name} (there is no ${missing.join(', ')})`, () => {});
  else if (!hasImage) test.skip(`${name} (${criuBinary} has no start image)`, () => {});
  else liveCase(name, body);
}

const environment = (start: Start, more: Record<string, string> = {}) => ({
  PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
  CRIU: criuBinary,
  ...more,
  ...(start === 'plain' ? { [PLAIN_START]: '1' } : {}),
});

interface Ended {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a script of bash, in which $CRIU is criu. */
function runScript(script: string, start: Start, more: Record<string, string> = {}): Ended {
  const { exitCode, stdout, stderr } = Bun.spawnSync(['bash', '-c', script], {
    env: environment(start, more),
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 20_000,
  });
  return { status: exitCode, stdout: stdout.toString('latin1'), stderr: stderr.toString('latin1') };
}

/** The script ends in the same way, and says the same but for pids. */
function sameTest(name: string, script: string, needs: readonly string[] = []): void {
  startCase(name, needs, async () => {
    const [image, plain] = STARTS.map((start) => runScript(script, start));
    const withoutPids = (ended: Ended | undefined) => ({ ...ended, stderr: ended?.stderr.replace(/\d+/g, 'N') });
    expect(withoutPids(image)).toEqual(withoutPids(plain));
    // Neither ends by a signal, or without a word.
    expect(plain?.status).toBeLessThan(126);
    expect(`${plain?.stdout}${plain?.stderr}`).not.toBe('');
  });
}

sameTest('the version', '$CRIU --version');
sameTest('the help', '$CRIU --help; $CRIU dump --help');
sameTest('no command', '$CRIU');
sameTest('a command that does not exist', '$CRIU foo');
sameTest('a check', '$CRIU check');
sameTest('a check with a log', "$CRIU check -v4 2>&1 | sed 's/^([0-9.]*)//'");
sameTest('commands that end with a refusal', 'for c in show exec page-server lazy-pages dedup; do $CRIU $c; done');
sameTest('a dump of nobody', '$CRIU dump -t 999999999 -D /tmp');
sameTest('cpuinfo without an image', '$CRIU cpuinfo check -D /');
sameTest('crit by its word', '$CRIU crit; $CRIU crit --version; $CRIU crit info /dev/null; $CRIU crit show --help');
sameTest('a name that is empty', "(exec -a '' $CRIU check)");
sameTest('arguments that are not UTF-8', "$CRIU dump -t $'\\xff\\xfe'; $CRIU check -D $'/tmp/\\xe4'; $CRIU check -D ü");
sameTest(
  'a variable that is not UTF-8',
  "cd $(mktemp -d) && echo no-such-option > $'\\xff' && CRIU_CONFIG_FILE=$'\\xff' $CRIU check; rm $'\\xff' && rmdir $PWD",
);
sameTest(
  'an environment whose file may not be read',
  'cd $(mktemp -d) && echo no-such-option > conf && export CRIU_CONFIG_FILE=conf && ' +
    'strace -o /dev/null -P /proc/self/environ -e inject=openat:error=EACCES $CRIU check; rm conf && rmdir $PWD',
  ['strace'],
);
sameTest('a long command line', `$CRIU dump -t 1 -D "$(head -c 100000 /dev/zero | tr '\\0' a)"`);
sameTest(
  'a long environment',
  `export A="$(head -c 100000 /dev/zero | tr '\\0' a)"; for i in $(seq 300); do export V$i=$i; done; $CRIU check`,
);
sameTest('an empty environment', `${PLAIN_START}="$${PLAIN_START}" env -i $CRIU check`);
sameTest(
  'closed standard streams',
  '$CRIU foo 0<&- 1>&- 2>&-; echo $?; $CRIU check 0<&-; $CRIU check 1>&-; $CRIU foo 2>&-; echo $?',
);
sameTest('few descriptors', '(ulimit -Sn 100; $CRIU check); (ulimit -n 50; $CRIU check)');
sameTest('a usual limit of descriptors', '(ulimit -Sn 1024; $CRIU check)');
sameTest('a stack without a limit', '(ulimit -s unlimited; $CRIU check)');
sameTest('addresses that are not random', 'setarch -R $CRIU check', ['setarch']);
sameTest('an address space of 3 GB', 'setarch -3 $CRIU check', ['setarch']);
sameTest('a namespace of pids', 'unshare -fp --mount-proc $CRIU check', ['unshare']);
sameTest('a namespace of users', 'unshare -Ur $CRIU check', ['unshare']);
sameTest(
  'a clock that is behind that of the image',
  // The uptime becomes five seconds.
  'unshare -fT --monotonic -$(($(cut -d. -f1 /proc/uptime) - 5)) $CRIU check',
  ['unshare'],
);
sameTest('another user', 'setpriv --reuid 65534 --clear-groups $CRIU dump -t 1', ['setpriv']);
sameTest('a tracer', 'strace -o /dev/null $CRIU check', ['strace']);
sameTest('one CPU', 'taskset -c 0 $CRIU check', ['taskset']);

for (const number of [FIRST_FD, FIRST_FD + 1, FIRST_FD + 2]) {
  sameTest(`descriptor ${number} is taken`, `exec ${number}</dev/null; $CRIU check`);
}

startCase('a plain start keeps nothing that was opened for the image', [], async () => {
  for (const number of [FIRST_FD, FIRST_FD + 1, FIRST_FD + 2]) {
    const pids = [];
    for (const start of STARTS) pids.push((await startService(start, `exec ${number}</dev/null; exec`)).pid);
    const [image = [], plain = []] = pids.map(descriptorsOf);
    expect(image).toEqual(plain);
    expect(image).toContain(number);
    await cleanUp();
  }
});

startCase('crit by the name of a link or a copy', [], async () => {
  const folder = makeFolder('start');
  symlinkSync(criuBinary, join(folder, 'crit'));
  for (const start of STARTS) {
    expect(runScript(`${folder}/crit --version; PATH=${folder}; crit --version`, start)).toEqual({
      status: 0,
      stdout: '4.2\n4.2\n',
      stderr: '',
    });
  }
});

startCase('too little address space is said by the launcher', [], async () => {
  expect(runScript('ulimit -v 1000000; $CRIU check', 'image')).toEqual({
    status: 127,
    stdout: '',
    stderr: `criu: cannot start: no memory for its start image; ${PLAIN_START}=1 in the environment does without\n`,
  });
});

startCase('the launcher says that there is no /proc', ['unshare'], async () => {
  expect(runScript("unshare -m sh -c 'umount -l /proc && exec $CRIU check'", 'image')).toEqual({
    status: 127,
    stdout: '',
    stderr: 'criu: cannot start: /proc is not mounted\n',
  });
});

startCase('the image has nothing of the environment that it was made in', [], async () => {
  // npm sets this one for whatever it runs.
  expect(readFileSync(criuBinary).includes('npm_lifecycle_event=build')).toBe(false);
});

startCase(
  'the C library of the image leaves the end of the heap alone, which is not where it was',
  ['setarch'],
  async () => {
    for (const before of ['exec', 'exec setarch -R']) {
      const { pid } = await startService('image', before);
      // start_brk (man 5 proc_pid_stat, field 47), after the name in parentheses.
      const start = Number(
        tryRead(`/proc/${pid}/stat`)
          .replace(/^.*\) /s, '')
          .split(' ')[44],
      );
      const guard = lines(`/proc/${pid}/maps`, new RegExp(`^${start.toString(16).padStart(8, '0')}-`));
      expect(guard.map((line) => line.split(' ')[1])).toEqual(['---p']);
      await cleanUp();
    }
  },
);

startCase('nothing is left to the dynamic linker', [], async () => {
  const { pid } = await startService('image', 'exec');
  const libraries = readLinkMap(pid, criuBinary);
  expect(libraries.map(({ name }) => name).join(' ')).toContain('/libc.so.6');
  // It would save the registers of this processor in room for those of the processor of the build.
  expect(libraries.filter(({ isLazy }) => isLazy).map(({ name }) => name)).toEqual([]);
});

startCase('many at once', [], async () => {
  const children = Array.from({ length: 16 }, () =>
    Bun.spawn([criuBinary, 'crit', '--version'], { env: environment('image'), stdout: 'pipe' }),
  );
  const texts = await Promise.all(children.map(({ stdout }) => new Response(stdout).text()));
  expect(new Set(texts)).toEqual(new Set(['4.2\n']));
});

/** A service, as a process that stands still; `before` is what the shell does before it becomes criu. */
async function startService(
  start: Start,
  before: string,
  binary = criuBinary,
): Promise<{ pid: number; folder: string }> {
  const folder = makeFolder('start');
  const command = `service -W ${folder} --address socket --pidfile pid -o log -v4`;
  const child = Bun.spawn(['bash', '-c', `${before} ${binary} ${command}`], {
    env: environment(start),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  trackProcess(child.pid);
  const pid = await waitFor('the service is ready', () => {
    if (child.exitCode !== null) throw new Error(`the service ended with ${child.exitCode}`);
    const text = tryRead(join(folder, 'pid'));
    return text === '' ? undefined : Number(text);
  });
  return { pid, folder };
}

function tryRead(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

const descriptorsOf = (pid: number): number[] => readdirSync(`/proc/${pid}/fd`).map(Number);

/** Lines of a file of /proc that begin with one of the words. */
const lines = (path: string, words: RegExp) =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => words.test(line));

const SAME_IN_STATUS = /^(Umask|Uid|Gid|Groups|Kthread|Sig|Shd|Cap|NoNewPrivs|Seccomp|Speculation|Cpus_allowed:)/;

async function inspectService(start: Start, before: string) {
  const { pid } = await startService(start, before);
  const inherited = descriptorsOf(pid).filter((fd) => fd < 3 || (fd > 10 && fd < FIRST_FD));
  const picture = {
    status: lines(`/proc/${pid}/status`, SAME_IN_STATUS).filter((line) => !line.startsWith('SigQ')),
    limits: lines(`/proc/${pid}/limits`, /./),
    inherited: inherited.map((fd) => [fd, readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/\d+/g, 'N')]),
    flags: inherited.map((fd) => lines(`/proc/${pid}/fdinfo/${fd}`, /^flags/)),
    comm: tryRead(`/proc/${pid}/comm`),
    arguments: tryRead(`/proc/${pid}/cmdline`).replace(/\/\S*start-\w+/, ''),
  };
  const isFromImage =
    descriptorsOf(pid).includes(FIRST_FD) && tryRead(`/proc/${pid}/maps`).includes('00100000-00101000');
  await cleanUp();
  return { picture, isFromImage };
}

startCase('a process has what its caller left it, and nothing else', ['env'], async () => {
  const fds = 'exec 12</etc/passwd 13</dev/null 20</etc/group;';
  for (const before of [
    `${fds} exec`,
    `${fds} exec 0<&- 1>&-; ulimit -Sn 1024; umask 027; exec`,
    // The collector's signal, SIGPWR, is needed, and taken by either.
    'exec env --ignore-signal=TERM,PIPE,HUP,USR1,CHLD --block-signal=USR1,HUP,SEGV,RTMIN',
    'exec env --ignore-signal=PIPE --block-signal',
  ]) {
    const [image, plain] = [await inspectService('image', before), await inspectService('plain', before)];
    expect(image.picture).toEqual(plain.picture);
    expect([image.isFromImage, plain.isFromImage]).toEqual([true, false]);
  }
});

function startSleeper(): Bun.Subprocess {
  const sleeper = Bun.spawn(['sleep', '100'], { detached: true, stdio: ['ignore', 'ignore', 'ignore'] });
  trackProcess(sleeper.pid);
  return sleeper;
}

startCase('a script sees the same environment, descriptors and limits', [], async () => {
  const seen = new Map<Start, string[]>();
  for (const start of STARTS) {
    const folder = makeFolder('start');
    const script = join(folder, 'script');
    const commands = [
      'cd /proc/$$; { for fd in fd/*; do echo "$fd $(readlink $fd)"; done',
      'grep -E "^Sig[BI]" /proc/self/status; cat limits; tr "\\0" "\\n" < environ; printenv BYTES | od -tx1; } > "$OUT"',
    ];
    writeFileSync(script, `#!/bin/bash\n${commands.join('\n')}\n`, { mode: 0o755 });
    const { pid } = startSleeper();
    const before =
      "exec 12</etc/passwd; export BYTES=$'\\xff\\xfe'; exec env --ignore-signal=TERM,HUP --block-signal=USR1";
    const { status } = runScript(
      `${before} $CRIU dump -R -t ${pid} -D ${folder} -o dump.log --action-script ${script}`,
      start,
      { OUT: join(folder, 'out'), ODD: 'ü' },
    );
    expect(status).toBe(0);
    const text = tryRead(join(folder, 'out'))
      .replaceAll(folder, 'FOLDER')
      .replaceAll(String(pid), 'PID')
      .replace(/\[\d+\]/g, '');
    seen.set(
      start,
      text.split('\n').filter((line) => !line.startsWith(PLAIN_START)),
    );
    await cleanUp();
  }
  expect(seen.get('image')).toContain('ODD=ü');
  expect(seen.get('image')).toContain('0000000 ff fe 0a');
  expect(seen.get('image')).not.toContain('fd/12 /etc/passwd');
  expect(seen.get('image')).toEqual(seen.get('plain') ?? []);
});

startCase('a restored task gets no descriptor of a caller', [], async () => {
  const folder = makeFolder('start');
  const sleeper = startSleeper();
  const { pid } = sleeper;
  const before = 'exec 7</etc/passwd 15</etc/group; exec env --block-signal';
  expect(runScript(`${before} $CRIU dump -t ${pid} -D ${folder}`, 'image').status).toBe(0);
  await sleeper.exited;
  expect(runScript(`${before} $CRIU restore -d -D ${folder}`, 'image')).toEqual({ status: 0, stdout: '', stderr: '' });
  try {
    expect(descriptorsOf(pid)).toEqual([0, 1, 2]);
    expect(lines(`/proc/${pid}/status`, /^SigBlk/)).toEqual(['SigBlk:\t0000000000000000']);
  } finally {
    if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  }
});

startCase('the file may be replaced or removed while it runs', [], async () => {
  const folder = makeFolder('start');
  const copy = join(folder, 'renamed');
  try {
    linkSync(criuBinary, copy);
  } catch {
    copyFileSync(criuBinary, copy);
  }
  const service = await startService('image', 'exec', copy);
  rmSync(copy);
  writeFileSync(copy, 'something else', { mode: 0o755 });
  using client = RpcClient.connect(join(service.folder, 'socket'));
  const { version } = client.call({ type: CriuReqType.VERSION });
  expect(version?.major_number).toBe(4);
});

/** Page faults of processes of ours that have ended and been waited for (proc_pid_stat(5), cminflt). */
const faultsOfChildren = () => Number(readFileSync('/proc/self/stat', 'latin1').split(') ')[1]?.split(' ')[8]);

startCase('nothing of the start and of --version is made in a run', [], async () => {
  const before = faultsOfChildren();
  expect(Bun.spawnSync([criuBinary, '--version']).exitCode).toBe(0);
  // Some 370; code of a few functions that has to be made first takes another 400.
  expect(faultsOfChildren() - before).toBeLessThan(600);
});

startCase('a dump has few page faults', [], async () => {
  const { pid } = startSleeper();
  const before = faultsOfChildren();
  expect(Bun.spawnSync([criuBinary, 'dump', '-R', '-t', String(pid), '-D', makeFolder('start')]).exitCode).toBe(0);
  // Some 1,950 where faults are dear, with pages that are asked for. With memory in holes of the image it has 200 more.
  expect(faultsOfChildren() - before).toBeLessThan(2100);
});

startCase('a crash is told', [], async () => {
  for (const start of STARTS) {
    const folder = makeFolder('start');
    const { status, stderr } = runScript(
      `$CRIU service -W ${folder} --address socket --pidfile pid &
      while [ ! -s ${folder}/pid ]; do sleep 0.02; done; kill -SEGV $!; wait $!`,
      start,
    );
    expect(status).toBe(139);
    expect(stderr).toContain('Segmentation fault at address');
  }
});
