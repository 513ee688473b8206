/**
 * Which version this criu says it is.
 *
 * Callers compare it with CRIU's: podman wants at least 3.11 (31100) before it checkpoints and 3.16 and later for
 * some options, runc switches features on by number, and LXC reads "Version: X" from the first line of --version and a
 * "GitID: " line. So the number is that of the CRIU whose command line, images and protocol this one follows, alone
 * on its line; who we are is told by the GitID line, which nobody compares.
 */

/** The CRIU release that this one behaves as. */
export const CRIU_COMPATIBLE_VERSION = { major: 4, minor: 2 } as const;
/** Our own release, from package.json. */
export const OWN_VERSION = '0.1.0';

export const VERSION = `${CRIU_COMPATIBLE_VERSION.major}.${CRIU_COMPATIBLE_VERSION.minor}`;
export const GIT_ID = `criu-ts-${OWN_VERSION}`;
