/** `criu --version`, in the two lines that CRIU prints; see version.ts for why they say what they say. */

import type { Logger } from '../../base/log.ts';
import { GIT_ID, VERSION } from '../version.ts';

export function printVersion(log: Logger): void {
  log.message(`Version: ${VERSION}`);
  log.message(`GitID: ${GIT_ID}`);
}
