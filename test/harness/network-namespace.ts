/** A network namespace for one test: what is started in it, criu too, has nothing to do with the machine's network. */
import { CLONE_NEWNET } from '../../src/linux/abi/sched.ts';
import { SYS } from '../../src/linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../src/linux/kernel.ts';
import { close, open } from '../../src/linux/syscalls/fs.ts';

/** Runs `body` with the main thread, whose children inherit it, in a new network namespace. */
export async function inNetworkNamespace<T>(body: () => Promise<T>): Promise<T> {
  const home = open('/proc/self/ns/net', 0);
  check('unshare', syscall(SYS.unshare, CLONE_NEWNET), 'CLONE_NEWNET');
  try {
    return await body();
  } finally {
    check('setns', syscall(SYS.setns, home, CLONE_NEWNET), 'back');
    close(home);
  }
}
