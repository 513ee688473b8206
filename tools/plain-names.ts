/**
 * Private names (#name) become ordinary ones in the executable, with the name of their class in front. For the runtime each
 * private name is a symbol that is made when the class is defined, and is looked up in a slower way: 4 % of a small dump.
 * The compiler has seen to it already that nobody else uses them.
 */
import type { BunPlugin } from 'bun';

/** The beginning of a class; or the # of a private name, where it is declared or used. */
const CLASS_OR_NAME =
  /^(?:export )?(?:abstract )?class (\w+)|(?<=\.|^ +(?:(?:static|readonly|async|get|set) )*\*?)#(?=[a-zA-Z])/gm;

/** The same module without private names. Classes are at the top level, as they are in all of src. */
export function withPlainNames(text: string): string {
  let owner = '';
  return text.replace(CLASS_OR_NAME, (match, name: string | undefined) => {
    owner = name ?? owner;
    return name === undefined ? `$${owner}_` : match;
  });
}

export const plainNames: BunPlugin = {
  name: 'plain names',
  setup(build) {
    build.onLoad({ filter: /\/src\/.*\.ts$/ }, async ({ path }) => {
      return { loader: 'ts', contents: withPlainNames(await Bun.file(path).text()) };
    });
  },
};
