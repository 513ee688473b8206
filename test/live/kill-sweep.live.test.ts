/** Killing criu at any moment of a dump must not harm the application: 200 random moments (KILLS=n for another number). */
import { liveCase } from '../harness/live-test.ts';
import { describeSweep, killSweep } from './kill-sweep.ts';

const kills = Number(process.env['KILLS'] ?? 200);

liveCase('the application runs on when criu is killed at any moment of a dump', async () => {
  const result = await killSweep(kills, 1);
  if (result.losses.length > 0) throw new Error(describeSweep(result));
  console.log(describeSweep(result));
});

liveCase('connections to others go on when criu is killed at any moment of a dump', async () => {
  const result = await killSweep(Math.ceil(kills / 4), 1, 'sweep-tcp');
  if (result.losses.length > 0) throw new Error(describeSweep(result));
  console.log(describeSweep(result));
});

liveCase('a 32-bit application runs on when criu is killed at any moment of a dump', async () => {
  const result = await killSweep(Math.ceil(kills / 4), 1, 'sweep-32');
  if (result.losses.length > 0) throw new Error(describeSweep(result));
  console.log(describeSweep(result));
});
