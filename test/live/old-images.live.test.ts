/** Images as older releases of CRIU wrote them: ours are rewritten in that spelling before each restore. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { RoundTripOptions, Specimen } from '../harness/harness.ts';
import { liveTest } from '../harness/live-test.ts';
import { toOldSpelling } from '../harness/old-images.ts';

/** The images of the newest dump. */
function respell({ dir }: Specimen): void {
  const rounds = readdirSync(dir).flatMap((name) => /^images-(\d+)$/.exec(name)?.[1] ?? []);
  toOldSpelling(join(dir, `images-${Math.max(...rounds.map(Number))}`));
}

function oldTest(what: string, program: string, options: RoundTripOptions = {}): void {
  liveTest(`${what} in old images`, program, { rounds: 1, beforeRestore: respell, ...options });
}

// What may differ in /proc is what may differ with new images too; see files.live.test.ts.
const deletedNames = [/\/fd\/\d+$/, /\/fdinfo\/7$/];

oldTest('signals, their actions and queues', 'signals');
oldTest('timers', 'timers', { ignore: [/(SigPnd|ShdPnd)$/] });
oldTest('resource limits', 'limits');
oldTest('credentials', 'creds');
oldTest('threads', 'threads');
oldTest('a tree of processes', 'tree');
oldTest('private memory', 'mem-private');
oldTest('mapped files', 'mem-file');
oldTest('regular files', 'files-regular');
oldTest('deleted files', 'ghost', { ignore: deletedNames });
oldTest('pipes', 'pipes');
oldTest('events', 'events', { ignore: [/\/fdinfo\//] });
oldTest('watches of inotify and fanotify', 'watches', { ignore: [/\/fd\/\d+$/, /\/fdinfo\//] });
oldTest('UNIX sockets', 'unix-sockets', { ignore: [/\/fd\/\d+$/] });
oldTest('Internet sockets', 'inet-sockets');
