/** kcmp(2) with KCMP_EPOLL_TFD (since Linux 4.13): which file an epoll watches. */
import { KCMP_EPOLL_TFD } from '../abi/kcmp.ts';
import { SYS } from '../abi/syscall-numbers.ts';
import { syscall } from '../kernel.ts';

/** struct kcmp_epoll_slot: an entry of an epoll set. */
export interface EpollSlot {
  /** Descriptor of the epoll. */
  readonly efd: number;
  /** The number that the file was added by. */
  readonly tfd: number;
  /** Which one, when several have the same number. */
  readonly toff: number;
}

const words = new Uint32Array(3);

/** Whether descriptor `fd` of process `pid` is the file in that slot of an epoll of process `owner`. */
export function isEpollTarget(pid: number, fd: number, owner: number, { efd, tfd, toff }: EpollSlot): boolean {
  words.set([efd, tfd, toff]);
  return syscall(SYS.kcmp, pid, owner, KCMP_EPOLL_TFD, fd, words) === 0;
}
