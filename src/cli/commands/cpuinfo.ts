/** `criu cpuinfo dump|check`: writes what this CPU has as cpuinfo.img, or compares it with one. */
import { CriuError, CriuErrors } from '../../base/errors.ts';
import { ImageDir } from '../../image/image-dir.ts';
import { checkCpuinfo, writeCpuinfo } from '../../resources/cpuinfo/cpuinfo.ts';
import type { CommandContext } from '../command-context.ts';

/** Throws CriuErrors, one line for each feature that is missing. */
export function run({ options, args, log, imagesDir }: CommandContext): number {
  const images = ImageDir.open(imagesDir);
  const [action] = args;
  if (action === 'dump') {
    writeCpuinfo(images);
    log.info(`written to ${images.imagePath('cpuinfo')}`);
    return 0;
  }
  if (action !== 'check') {
    throw new CriuError({ action: 'cpuinfo requires an action: dump or check' });
  }
  const { fpu, ins, cpu } = options.cpuCap;
  // With nothing to check, everything is checked, as CRIU does.
  const wanted = fpu || ins || cpu ? { fpu, ins, cpu } : { fpu: true, ins: true, cpu: true };
  const problems = checkCpuinfo(images, wanted);
  if (problems.length > 0) {
    const remedy = 'see --cpu-cap for what is compared';
    const summary = `this CPU is not fit for the images: ${problems.length} differences; ${remedy}`;
    throw new CriuErrors(
      summary,
      problems.map((action) => ({ action })),
    );
  }
  log.info('this CPU is fit for the images');
  return 0;
}
