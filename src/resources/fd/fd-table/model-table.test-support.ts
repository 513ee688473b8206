/** A model of a kernel's descriptor tables that executes planned steps: for tests of plans without a kernel. */
import { F_DUPFD_CLOEXEC, F_SETFD, O_CLOEXEC } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { Step } from '../step.ts';
import type { StepArg } from '../step-args.ts';

/** An open file description: what made it. */
export interface ModelFile {
  readonly what: string;
}

interface Descriptor {
  readonly file: ModelFile;
  isCloexec: boolean;
}

/** Where the number of a call's flags is among its arguments, for calls that make one descriptor. */
const MAKERS: ReadonlyMap<number, number | 'always'> = new Map<number, number | 'always'>([
  [SYS.openat, 2],
  [SYS.eventfd2, 1],
  [SYS.signalfd4, 3],
  [SYS.timerfd_create, 1],
  [SYS.epoll_create1, 0],
  [SYS.pidfd_open, 'always'],
  [SYS.socket, 1],
  [SYS.accept4, 3],
]);

const number = (arg: StepArg | undefined): number => (typeof arg === 'number' ? arg : Number.NaN);

export class ModelTable {
  readonly descriptors = new Map<number, Descriptor>();
  /** Tables of other tasks by pid, for pidfd_getfd. */
  readonly others: ReadonlyMap<number, ModelTable>;
  /** Calls that neither take nor free a number, as text. */
  readonly calls: string[] = [];

  constructor(others: ReadonlyMap<number, ModelTable> = new Map()) {
    this.others = others;
  }

  /** Executes the steps. Throws when one fails, or when a result is not the planned one. */
  run(steps: readonly Step[]): void {
    for (const step of steps) {
      const result = this.#execute(step);
      if (step.expected !== undefined && result !== undefined && result !== step.expected) {
        throw new Error(`${step.because}: ${result} instead of ${step.expected}`);
      }
    }
  }

  /** What is open: "0:/dev/null 1:/dev/null! 3:…", with "!" for FD_CLOEXEC. */
  toString(): string {
    const sorted = [...this.descriptors].sort(([a], [b]) => a - b);
    return sorted.map(([fd, { file, isCloexec }]) => `${fd}:${file.what}${isCloexec ? '!' : ''}`).join(' ');
  }

  #execute({ nr, args, because }: Step): number | undefined {
    const [first, second, third] = args;
    const flagsAt = MAKERS.get(nr);
    if (flagsAt !== undefined) {
      const isCloexec = flagsAt === 'always' || (number(args[flagsAt]) & O_CLOEXEC) !== 0;
      return this.#put({ what: describeMade(nr, args) }, isCloexec);
    }
    switch (nr) {
      case SYS.pipe2: {
        const isCloexec = (number(second) & O_CLOEXEC) !== 0;
        const name = because.replace('make ', '');
        this.#put({ what: `read end of ${name}` }, isCloexec);
        this.#put({ what: `write end of ${name}` }, isCloexec);
        return 0;
      }
      case SYS.socketpair: {
        const isCloexec = (number(second) & O_CLOEXEC) !== 0;
        const kind = `${because.replace('make ', '')} of type ${number(second) & ~O_CLOEXEC}`;
        this.#put({ what: kind }, isCloexec);
        this.#put({ what: `peer of ${kind}` }, isCloexec);
        return 0;
      }
      case SYS.write:
      case SYS.sendto:
        this.calls.push(`${because} with ${bytesIn(second)} through ${this.#get(first).file.what}`);
        return undefined;
      case SYS.close:
        if (!this.descriptors.delete(number(first))) throw new Error(`${because}: EBADF`);
        return 0;
      case SYS.dup3:
        this.descriptors.set(number(second), {
          file: this.#get(first).file,
          isCloexec: (number(third) & O_CLOEXEC) !== 0,
        });
        return number(second);
      case SYS.pidfd_getfd:
        return this.#put(this.#fetch(number(first), number(second)), true);
      case SYS.fcntl:
        return this.#fcntl(args, because);
      default:
        this.calls.push(because);
        return undefined;
    }
  }

  #fcntl([fd, command, value]: readonly StepArg[], because: string): number | undefined {
    const descriptor = this.#get(fd);
    if (command === F_DUPFD_CLOEXEC) return this.#put(descriptor.file, true, number(value));
    if (command === F_SETFD) descriptor.isCloexec = value === 1;
    else this.calls.push(because);
    return undefined;
  }

  #fetch(pidfd: number, fd: number): ModelFile {
    const pid = Number(this.#get(pidfd).file.what.slice('task '.length));
    const other = this.others.get(pid)?.descriptors.get(fd);
    if (other === undefined) throw new Error(`task ${pid} has no descriptor ${fd}`);
    return other.file;
  }

  #get(fd: StepArg | undefined): Descriptor {
    const descriptor = this.descriptors.get(number(fd));
    if (descriptor === undefined) throw new Error(`EBADF: ${number(fd)}`);
    return descriptor;
  }

  #put(file: ModelFile, isCloexec: boolean, from = 0): number {
    let fd = from;
    while (this.descriptors.has(fd)) fd++;
    this.descriptors.set(fd, { file, isCloexec });
    return fd;
  }
}

const bytesIn = (arg: StepArg | undefined) =>
  typeof arg === 'object' && 'bytes' in arg ? Buffer.from(arg.bytes).toString('latin1') : '?';

function describeMade(nr: number, args: readonly StepArg[]): string {
  if (nr === SYS.pidfd_open) return `task ${number(args[0])}`;
  if (nr !== SYS.openat) return Object.entries(SYS).find(([, value]) => value === nr)?.[0] ?? String(nr);
  const path = args[1];
  return typeof path === 'object' && 'text' in path ? path.text : 'a held file';
}
