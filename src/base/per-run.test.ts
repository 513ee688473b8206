import { expect, test } from 'bun:test';
import { forgetRun, once, perRun } from './per-run.ts';

test('what belongs to a run is made once in it, told of its end, and made anew in the next', () => {
  const ended: number[] = [];
  let made = 0;
  const value = perRun(
    () => ++made,
    (it) => ended.push(it),
  );
  forgetRun();
  expect([value(), value(), ended]).toEqual([1, 1, []]);
  forgetRun();
  forgetRun();
  expect([value(), ended]).toEqual([2, [1]]);
});

test('what is the same in each run is made once', () => {
  let made = 0;
  const value = once(() => ++made);
  expect(value()).toBe(1);
  forgetRun();
  expect(value()).toBe(1);
});

test('undefined is remembered as well', () => {
  let made = 0;
  const value = perRun(() => {
    made++;
    return undefined;
  });
  expect([value(), value(), made]).toEqual([undefined, undefined, 1]);
});
