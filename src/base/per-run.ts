/**
 * What is found out once in a run of criu. It would be wrong in another run: it holds descriptors, or is true of one machine
 * only. Memory of criu outlives a run when the next one starts from an image of it (start/).
 */
const forgetters: (() => void)[] = [];

/** A function that makes a value when it is first called; `end` is told of the value when the run is over. */
export function perRun<T>(make: () => T, end?: (value: T) => void): () => T {
  let made: { readonly value: T } | undefined;
  forgetters.push(() => {
    if (made !== undefined) end?.(made.value);
    made = undefined;
  });
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** The same for what depends on nothing but the code of criu, so that it is the same in each run. */
export function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** The run is over, and all that it found out is forgotten. */
export function forgetRun(): void {
  for (const forget of forgetters) forget();
}
