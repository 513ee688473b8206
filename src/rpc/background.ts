/**
 * `--daemon`: the service is started again as a process of a session of its own, since the runtime cannot be forked.
 * This process ends when the other one serves, and fails when that fails.
 */

import { fromByteString } from '../base/bytes.ts';
import { CriuError } from '../base/errors.ts';
import { invocation } from '../base/invocation.ts';
import type { CommandContext } from '../cli/command-context.ts';
import { commandLineWords } from '../cli/startup.ts';
import { reportReady } from '../cli/status-files.ts';
import { O_CLOEXEC } from '../linux/abi/fcntl.ts';
import { close } from '../linux/syscalls/fs.ts';
import { pipe2, tryRead } from '../linux/syscalls/pipe.ts';

/** The descriptor at which the process in the background says that it is ready. */
const READY_FD = 3;

/** Returns the exit status. Throws CriuError when the service cannot begin. */
export async function startInBackground({ options, log, startDir }: CommandContext): Promise<number> {
  const [readEnd, writeEnd] = pipe2(O_CLOEXEC);
  const words = [...commandLineWords().map(fromByteString), '--no-daemon', '--status-fd', String(READY_FD)];
  log.flush();
  const service = Bun.spawn(['/proc/self/exe', ...words], {
    argv0: 'criu',
    env: invocation().environment(),
    cwd: fromByteString(startDir),
    stdio: ['ignore', 'ignore', 'pipe', writeEnd],
    detached: true,
  });
  close(writeEnd);
  const ready = tryRead(readEnd, new Uint8Array(1));
  close(readEnd);
  if (ready === 1) {
    log.info(`the service runs as process ${service.pid}`);
    if (options.statusFd !== undefined) reportReady(options.statusFd);
    return 0;
  }
  const said = (await service.stderr.text()).trim();
  throw new CriuError({ action: "Can't run service server in the background", ...(said === '' ? {} : { why: said }) });
}
