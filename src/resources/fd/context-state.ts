/** What is known of a restore as a whole and asked for again with each of thousands of files. */
import type { RestoreContext } from './file-kind.ts';

/** The same as `context.state`, without a look at the key while it is the same context. */
export function contextState<T>(key: string, make: (context: RestoreContext) => T): (context: RestoreContext) => T {
  let last: { readonly context: RestoreContext; readonly value: T } | undefined;
  return (context) => {
    if (last?.context === context) return last.value;
    const value = context.state(key, () => make(context));
    last = { context, value };
    return value;
  };
}
