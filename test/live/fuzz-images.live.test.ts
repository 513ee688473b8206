/** Damaged images get clear errors: some thousands in this process, a few through the executable (FUZZ=n for more). */
import { liveCase } from '../harness/live-test.ts';
import { describeFuzz, fuzzChecks, fuzzWhole, makeImageSets } from './fuzz-images.ts';

const count = Number(process.env['FUZZ'] ?? 2000);

liveCase('damaged images are refused with a clear error, quickly, and leave no process', async () => {
  const sets = await makeImageSets();
  const checks = fuzzChecks(sets, count, 1);
  const whole = await fuzzWhole(sets, Math.ceil(count / 160), 1);
  console.log(`${describeFuzz(checks)}\n${describeFuzz(whole)}`);
  if (checks.findings.length + whole.findings.length > 0) throw new Error('see above');
});
