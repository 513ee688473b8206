/**
 * Work on many tasks at once. What is done to a task is a list of steps, between which the task itself runs until its next
 * stop. When each step is done in all tasks before the next, the tasks run at the same time and nobody is waited for in
 * vain.
 */
export type Steps = readonly (() => void)[];

/** Several lists as one: its steps do that step of all of them. */
export function together(lists: readonly Steps[]): Steps {
  const steps: (() => void)[] = [];
  const count = lists.reduce((most, { length }) => Math.max(most, length), 0);
  for (let i = 0; i < count; i++) {
    steps.push(() => {
      for (const list of lists) list[i]?.();
    });
  }
  return steps;
}
