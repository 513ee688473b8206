/** Steps that fetch descriptors of another process (pidfd_getfd). */
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { LaterNumber } from '../step-args.ts';
import type { FdTablePlan } from './fd-table-plan.ts';

/** The other process. Its pidfd is opened at the first one and parked. */
export class PeerDescriptors {
  readonly #plan: FdTablePlan;
  readonly #pid: number;
  readonly #label: string;
  #pidfd: number | undefined = undefined;

  constructor(plan: FdTablePlan, pid: number, label: string) {
    this.#plan = plan;
    this.#pid = pid;
    this.#label = label;
  }

  fetch(fd: number | LaterNumber): number {
    const plan = this.#plan;
    this.#pidfd ??= plan.park(plan.open(`refer to ${this.#label}`, SYS.pidfd_open, this.#pid, 0));
    const which = typeof fd === 'number' ? `descriptor ${fd}` : 'a descriptor';
    return plan.open(`fetch ${which} of ${this.#label}`, SYS.pidfd_getfd, this.#pidfd, fd, 0);
  }

  close(): void {
    if (this.#pidfd !== undefined) this.#plan.close(this.#pidfd);
    this.#pidfd = undefined;
  }
}
