/** A mount namespace for one test: what is mounted in it, is seen by the programs and the criu of that test only. */
import { CLONE_FS, CLONE_NEWIPC, CLONE_NEWNS } from '../../src/linux/abi/sched.ts';
import { SYS } from '../../src/linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../src/linux/kernel.ts';
import { close, open } from '../../src/linux/syscalls/fs.ts';

const namespaces = [
  ['mnt', CLONE_NEWNS],
  ['ipc', CLONE_NEWIPC],
] as const;

/** Runs `body` with the main thread, whose children inherit them, in new mount and IPC namespaces: message queues belong to both. */
export async function inMountNamespace<T>(body: () => Promise<T>): Promise<T> {
  const folder = process.cwd();
  const homes = namespaces.map(([name, flag]) => ({ flag, fd: open(`/proc/thread-self/ns/${name}`, 0) }));
  check('unshare', syscall(SYS.unshare, CLONE_NEWNS | CLONE_NEWIPC), 'CLONE_NEWNS');
  try {
    const { exitCode, stderr } = Bun.spawnSync(['mount', '--make-rprivate', '/'], { stderr: 'pipe' });
    if (exitCode !== 0) throw new Error(`cannot make mounts private: ${stderr}`);
    return await body();
  } finally {
    // Threads that were started meanwhile share the folder: setns(2) refuses that.
    check('unshare', syscall(SYS.unshare, CLONE_FS), 'CLONE_FS');
    for (const { flag, fd } of homes) {
      check('setns', syscall(SYS.setns, fd, flag), 'back');
      close(fd);
    }
    // The root of the namespace is the folder now.
    process.chdir(folder);
  }
}
