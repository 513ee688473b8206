/** Programs of a terminal, each inside a multiplexer, which holds the other end. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { trackProcess } from '../harness/harness.ts';
import { findCommand, type RealProgram, realTest, travel, waitFor } from '../harness/real-program.ts';

/** A tmux server of its own, without a client: keys are sent, and the screen is read, from outside. */
class Tmux {
  readonly #socket: string;
  readonly #command: string;

  constructor(dir: string) {
    this.#socket = join(dir, 'tmux.sock');
    this.#command = findCommand('tmux') ?? 'tmux';
  }

  run(...args: readonly string[]): string {
    const command = [this.#command, '-S', this.#socket, '-f', '/dev/null', ...args];
    const result = Bun.spawnSync(command, {
      stdin: 'ignore',
      env: { ...process.env, LC_ALL: 'C.UTF-8', SHELL: '/bin/sh' },
    });
    if (!result.success) throw new Error(`tmux ${args.join(' ')}: ${result.stderr}`);
    return result.stdout.toString().trimEnd();
  }

  /** Starts the server with one program in it, and gives the server, which is the root of the tree. */
  start(dir: string, program: string): RealProgram {
    this.run('new-session', '-d', '-x', '80', '-y', '24', '-c', dir, program);
    const pid = Number(this.run('display-message', '-p', '#{pid}'));
    trackProcess(pid);
    return { dir, pid };
  }

  async waitForScreen(wanted: RegExp): Promise<void> {
    let screen = '';
    await waitFor(`${wanted} on the screen`, () => {
      screen = this.run('capture-pane', '-p');
      return wanted.test(screen) ? true : undefined;
    }).catch((error: Error) => {
      throw new Error(`${error.message}:\n${screen}`);
    });
  }
}

realTest('tmux with a shell keeps its screen and jobs', { tmux: 'tmux', bash: 'bash' }, async (dir) => {
  const tmux = new Tmux(dir);
  const program = tmux.start(dir, 'PS1="> " bash --norc -i');
  await tmux.waitForScreen(/^>/m);
  tmux.run('send-keys', 'word=traveller; sleep 1000 & sleep 1001', 'Enter');
  await tmux.waitForScreen(/^\[1\] \d+/m);
  for (const round of [1, 2]) {
    await travel(program);
    tmux.run('send-keys', 'C-z', '');
    await tmux.waitForScreen(new RegExp(`(Stopped[^]*){${round}}`));
    tmux.run('send-keys', `clear; jobs; echo round${round}:$word; fg 2`, 'Enter');
    await tmux.waitForScreen(new RegExp(`Running.*sleep 1000[^]*round${round}:traveller\n[^]*sleep 1001`));
  }
});

const editors = {
  vim: { package: 'vim', start: 'vim -Nu NONE text', type: 'ihello', save: ['Escape', ':wq', 'Enter'] },
  nano: { package: 'nano', start: 'nano text', type: 'hello', save: ['C-o', 'Enter', 'C-x'] },
};
for (const [editor, { package: name, start, type, save }] of Object.entries(editors)) {
  realTest(`${editor} inside tmux keeps what was typed`, { tmux: 'tmux', [editor]: name }, async (dir) => {
    const tmux = new Tmux(dir);
    writeFileSync(join(dir, 'text'), 'world\n');
    const program = tmux.start(dir, `sh -c 'export TERM=xterm; ${start}; echo done; exec sleep 1000'`);
    await tmux.waitForScreen(/world/);
    tmux.run('send-keys', type);
    await tmux.waitForScreen(/helloworld/);
    for (const round of [1, 2]) {
      await travel(program);
      tmux.run('send-keys', String(round));
      await tmux.waitForScreen(new RegExp(`hello1${round === 2 ? '2' : ''}world`));
    }
    for (const key of save) tmux.run('send-keys', key);
    await tmux.waitForScreen(/done/);
    const text = readFileSync(join(dir, 'text'), 'utf8');
    if (text !== 'hello12world\n') throw new Error(`the file has "${text}"`);
  });
}

realTest('screen with a shell keeps its window', { screen: 'screen' }, async (dir) => {
  const run = (...args: string[]): void => {
    const command = [findCommand('screen') ?? 'screen', '-c', '/dev/null', ...args];
    const env = { ...process.env, SCREENDIR: dir, TERM: 'xterm' };
    Bun.spawnSync(command, { cwd: dir, env, stdin: 'ignore' });
  };
  const shell = `sh -c 'echo $PPID > pid; while read line; do echo "$line" >> lines; done'`;
  Bun.spawnSync(['chmod', '700', dir]);
  run('-dmS', 'real', 'sh', '-c', 'echo $PPID > pid; while read line; do echo "$line" >> lines; done');
  const readText = (file: string): string | undefined => {
    try {
      return readFileSync(join(dir, file), 'utf8');
    } catch {
      return undefined;
    }
  };
  const pid = Number(await waitFor('screen', () => readText('pid')?.trim() || undefined));
  trackProcess(pid);
  for (const round of [1, 2]) {
    await travel({ dir, pid });
    run('-S', 'real', '-p', '0', '-X', 'stuff', `line${round}\n`);
    await waitFor(`line ${round} (${shell})`, () => readText('lines')?.includes(`line${round}`) || undefined);
  }
});
