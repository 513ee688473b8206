/** The configuration options of a command line, for processes and requests that come after it. Pure. */

import type { CriuOptions } from '../options/criu-options.ts';

export function configWords({ configFile, noDefaultConfig }: Readonly<CriuOptions>): string[] {
  return [
    ...(configFile === undefined ? [] : ['--config', configFile]),
    ...(noDefaultConfig ? ['--no-default-config'] : []),
  ];
}
