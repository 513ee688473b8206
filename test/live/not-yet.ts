/**
 * Live tests that do not pass yet, by name, each with the reason. These lists may only shrink.
 * RUN_NOT_YET=1 runs them all the same.
 */

/** What our own criu can't do yet. */
export const notYet: Readonly<Record<string, string>> = {};

/** What the original CRIU (CRIU_ORIGINAL=1) does otherwise; there the test would fail. */
export const knownOnOriginal: Readonly<Record<string, string>> = {
  'mappings keep their madvise flags, locks and names': 'MLOCK_ONFAULT becomes a plain lock',
  'a blocked nanosleep goes on after the restore': 'it ends with EINTR',
  'a blocked poll-timeout goes on after the restore': 'it ends with EINTR',
  'a blocked poll goes on after the restore': 'it ends with EINTR',
  'a blocked futex-timeout goes on after the restore': 'it ends with EINTR',
  'threads keep their CPU affinity and timer slack': 'neither is in its images',
  'members of a session or group without its leader keep it': 'their parent becomes another subreaper',
  'a tree of stopped tasks and zombies does not notice a dump with --leave-running': 'a second SIGSTOP is left pending',
  'signal actions, masks and pending signals survive': 'an ignored SIGTRAP is set back to its default',
  'a POSIX timer keeps its overrun': 'the count of expirations is lost',
  'personality, I/O priority, core dump filter and MDWE survive': 'most of them are lost',
  'a pipe in packet mode keeps its packets': 'refused',
  'an eventfd stays a semaphore': 'the mode is lost',
  'a file whose name was deleted and linked again survives': 'it asks for --link-remap',
  'a deleted file above the limit is refused, naming --ghost-limit': 'the option is not named',
  'mlockall holds for later mappings': 'MCL_FUTURE is lost',
};
