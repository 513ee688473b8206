import { expect, test } from 'bun:test';
import { parseMaps } from '../proc/maps.ts';
import { agentPlaces, agentPlacesIn } from './agent-places.ts';

const MAPS = [
  '00400000-00401000 r-xp 00000000 fe:00 7                          /bin/program',
  '00401000-00402000 rw-p 00000000 fe:00 8                          /data/an xp file',
  '00402000-00403000 r-xs 00000000 fe:00 9                          /bin/shared',
  '00403000-00404000 rwxp 00000000 00:00 0 ',
  '00404000-00405000 r-xp 00000000 fe:00 9                          /lib/one',
  '7ffd00000000-7ffd00002000 r--p 00000000 00:00 0                  [vvar]',
  '7ffd00002000-7ffd00004000 r-xp 00000000 00:00 0                  [vdso]',
  'ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0          [vsyscall]',
];
const PLACES = ['[vdso]', '/bin/program', '/lib/one'];

test('the vdso comes first, then files that are executed', () => {
  expect(agentPlaces(parseMaps(MAPS.join('\n'))).map(({ path }) => path)).toEqual(PLACES);
  expect(agentPlaces([])).toEqual([]);
});

test('out of the text come the same', () => {
  for (const text of [MAPS.join('\n'), `${MAPS.join('\n')}\n`]) {
    expect(agentPlacesIn(text, 'maps')).toEqual(agentPlaces(parseMaps(text)));
  }
  expect(agentPlacesIn('', 'maps')).toEqual([]);
});
