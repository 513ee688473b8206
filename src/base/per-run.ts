/**
 * What is found out once in a run of criu. It would be wrong in another run: it holds descriptors, or is true of one machine
 * only. Memory of criu outlives a run when the next one starts from an image of it (start/).
 */
const forgetters: (() => void)[] = [];

/** A function that makes a value when it is first called; `end` is told of the value when the run is over. */
export function perRun<T>(make: () => T, end?: (value: T) => void): () => T {
  const { get, forget } = remembered(make, end);
  forgetters.push(forget);
  return get;
}

/** The same for what depends on nothing but the code of criu, so that it is the same in each run. */
export const once = <T>(make: () => T): (() => T) => remembered(make).get;

function remembered<T>(make: () => T, end?: (value: T) => void) {
  let made: { readonly value: T } | undefined;
  const get = (): T => {
    made ??= { value: make() };
    return made.value;
  };
  const forget = (): void => {
    if (made !== undefined) end?.(made.value);
    made = undefined;
  };
  return { get, forget };
}

/** The run is over, and all that it found out is forgotten. */
export function forgetRun(): void {
  for (const forget of forgetters) forget();
}
