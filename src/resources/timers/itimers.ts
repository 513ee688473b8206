/**
 * The three interval timers of a process: setitimer(2).
 *
 * CPU time starts from zero in a restored task; the timers keep what was left of them.
 */
import type { Place, Program } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import type { ItimerEntry } from '../../image/gen/timer.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { ITIMER_PROF, ITIMER_REAL, ITIMER_VIRTUAL, ITIMERVAL_BYTES } from '../../linux/abi/time.ts';
import type { VisitResult } from '../../tracee/guest.ts';
import { small64 } from '../task/words.ts';

export interface Itimers {
  readonly real: ItimerEntry;
  readonly virt: ItimerEntry;
  readonly prof: ItimerEntry;
}

export interface ItimersToken {
  readonly real: Place;
  readonly virt: Place;
  readonly prof: Place;
}

export function inspectItimers(program: Program): ItimersToken {
  const ask = (which: number) => {
    const value = program.reserve(ITIMERVAL_BYTES);
    program.call(SYS.getitimer, which, value);
    return value;
  };
  return { real: ask(ITIMER_REAL), virt: ask(ITIMER_VIRTUAL), prof: ask(ITIMER_PROF) };
}

export function describeItimers(token: ItimersToken, result: VisitResult): Itimers {
  const entry = (place: Place): ItimerEntry => {
    const bytes = result.bytes(place);
    const [isec, iusec, vsec, vusec] = [0, 8, 16, 24].map((offset) => small64(bytes, offset));
    return { isec: isec ?? 0, iusec: iusec ?? 0, vsec: vsec ?? 0, vusec: vusec ?? 0 };
  };
  return { real: entry(token.real), virt: entry(token.virt), prof: entry(token.prof) };
}

/** Arms the timers: they run from the moment the program does. */
export function planItimers(program: Program, entries: Itimers): void {
  arm(program, 'real-time', ITIMER_REAL, revived(entries.real));
  arm(program, 'virtual', ITIMER_VIRTUAL, entries.virt);
  arm(program, 'profiling', ITIMER_PROF, entries.prof);
}

/**
 * A real-time timer that is over waits for its SIGALRM to be taken and shows nothing left (kernel/signal.c,
 * dequeue_signal restarts it). It goes on with its interval. The other two never show zero while they are armed
 * (kernel/time/itimer.c, get_cpu_itimer).
 */
function revived(entry: ItimerEntry): ItimerEntry {
  if (entry.vsec !== 0 || entry.vusec !== 0) return entry;
  return { ...entry, vsec: entry.isec, vusec: entry.iusec };
}

function arm(program: Program, name: string, which: number, { isec, iusec, vsec, vusec }: ItimerEntry): void {
  if (isec === 0 && iusec === 0 && vsec === 0 && vusec === 0) return;
  if (iusec >= 1e6 || vusec >= 1e6) {
    throw new CriuError({
      object: 'core image',
      action: `has an impossible ${name} interval timer`,
      why: `microseconds are ${iusec} and ${vusec}`,
    });
  }
  const value = program.words(isec, iusec, vsec, vusec);
  program.must(`arm the ${name} interval timer`, SYS.setitimer, which, value, 0);
}
