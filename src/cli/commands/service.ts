/** `criu service`: answers requests (RPC) of anybody who may open its socket, each client in a process of its own. */

import { startInBackground } from '../../rpc/background.ts';
import { serve } from '../../rpc/service.ts';
import type { CommandContext } from '../command-context.ts';

/** Returns only with --daemon, when the service in the background is ready. */
export async function run(context: CommandContext): Promise<number> {
  return context.options.detached ? await startInBackground(context) : await serve(context);
}
