/** `criu --version`, in the two lines that CRIU prints; see version.ts for why they say what they say. */

import { GIT_ID, VERSION } from '../version.ts';

export function versionText(): string {
  return `Version: ${VERSION}\nGitID: ${GIT_ID}`;
}
