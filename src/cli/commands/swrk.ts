/** `criu swrk FD`: answers requests (RPC) of the program that has started it and holds the other end of FD. */

import { CriuError } from '../../base/errors.ts';
import { SERVICE_WORKER } from '../../options/parse-command-line.ts';
import { configWords } from '../../rpc/config-words.ts';
import { serveClient } from '../../rpc/worker.ts';
import type { CommandContext } from '../command-context.ts';
import { assertInherited } from '../startup.ts';

/** Throws CriuError when FD is no connection; what is wrong with a request is told to the client. */
export async function run({ options, args }: CommandContext): Promise<number> {
  const [word = '', origin] = args;
  const fd = /^[0-9]+$/.test(word) ? Number(word) : -1;
  if (fd < 0)
    throw new CriuError({ object: `fd ${word}`, action: 'is no descriptor', remedy: 'Usage: criu swrk <fd>' });
  assertInherited(fd, 'criu swrk');
  return await serveClient({ fd, isOwnWorker: origin !== SERVICE_WORKER, words: configWords(options) });
}
