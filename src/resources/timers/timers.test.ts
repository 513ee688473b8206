import { describe, expect, test } from 'bun:test';
import { Program } from '../../agent/program.ts';
import { planItimers } from './itimers.ts';
import { overrunWarnings, planPosixTimersArm, planPosixTimersCreate } from './posix-timers.ts';

const reasons = (program: Program) => Array.from({ length: program.length }, (_, i) => program.describe(i).because);
const off = { isec: 0, iusec: 0, vsec: 0, vusec: 0 };

describe('planItimers', () => {
  test('arms only what was armed', () => {
    const program = new Program();
    planItimers(program, { real: off, virt: { ...off, vsec: 1 }, prof: off });
    expect(reasons(program)).toEqual(['arm the virtual interval timer']);
  });

  test('a real-time timer that was just over goes on with its interval', () => {
    const program = new Program();
    planItimers(program, { real: { ...off, isec: 3, iusec: 5 }, virt: off, prof: off });
    const words = new BigUint64Array(program.assemble(0).buffer.slice(64));
    expect([...words]).toEqual([3n, 5n, 3n, 5n]);
  });

  test('refuses impossible microseconds', () => {
    expect(() => planItimers(new Program(), { real: { ...off, vusec: 1_000_000 }, virt: off, prof: off })).toThrow(
      'core image: has an impossible real-time interval timer: microseconds are 0 and 1000000',
    );
  });
});

const timer = {
  it_id: 1,
  clock_id: 1,
  si_signo: 14,
  it_sigev_notify: 0,
  sival_ptr: 0n,
  overrun: 0,
  isec: 0,
  insec: 0,
  vsec: 0,
  vnsec: 0,
};

describe('planPosixTimersCreate', () => {
  test('asks for ids where the kernel gives them', () => {
    const program = new Program();
    planPosixTimersCreate(program, [{ ...timer, it_id: 9 }, timer], { supportsTimerIds: true });
    expect(reasons(program)).toEqual([
      'ask for POSIX timers with wanted ids',
      'make POSIX timer 1 on clock 1',
      'make POSIX timer 9 on clock 1',
      'end making POSIX timers with wanted ids',
    ]);
  });

  test('counts up to them elsewhere', () => {
    const program = new Program();
    planPosixTimersCreate(program, [timer], { supportsTimerIds: false });
    expect(reasons(program)).toEqual([
      'use up timer id 0',
      'use up timer id 0',
      'make POSIX timer 1 on clock 1',
      'find POSIX timer 1',
    ]);
  });

  test('does not count to very high ids', () => {
    const high = { ...timer, it_id: 20_001 };
    expect(() => planPosixTimersCreate(new Program(), [high], { supportsTimerIds: false })).toThrow(
      'POSIX timer 20001: cannot be made: this kernel gives out timer ids one after the other only; ' +
        'restore on Linux 6.15 or newer',
    );
  });
});

test('planPosixTimersArm leaves timers alone that do not run', () => {
  const program = new Program();
  planPosixTimersArm(program, [timer, { ...timer, it_id: 2, vnsec: 1 }, { ...timer, it_id: 3, isec: 1 }]);
  expect(reasons(program)).toEqual(['arm POSIX timer 2', 'arm POSIX timer 3']);
});

test('the log is told of counts that nobody can give back', () => {
  expect(overrunWarnings("task 5 'x'", [timer, { ...timer, it_id: 2, overrun: 7 }])).toEqual([
    "task 5 'x': timer_getoverrun of POSIX timer 2 is 7, and will be 0 after a restore until it expires again",
  ]);
});
