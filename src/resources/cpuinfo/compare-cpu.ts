/** Is this CPU good enough for what was dumped on another? Pure: both are given as entries of cpuinfo.img. */
import type { CpuinfoX86Entry } from '../../image/gen/cpuinfo.ts';
import { bitNames, instructionsOf } from './instruction-sets.ts';
import { xfeatureNames } from './xfeatures.ts';

/** What is to be compared, as --cpu-cap says. */
export interface Wanted {
  readonly fpu: boolean;
  readonly ins: boolean;
  readonly cpu: boolean;
}

const WORDS_V1 = 12;
/** The bits of the FPU's own features: word, bit, name. */
const FPU_FEATURES = [
  [0, 0, 'fpu'],
  [0, 24, 'fxsr'],
  [4, 27, 'osxsave'],
  [10, 3, 'xsaves'],
] as const;

const isSet = (words: readonly number[], word: number, bit: number) => (((words[word] ?? 0) >>> bit) & 1) === 1;

/** What is wrong with the image itself: such an image can't be compared. */
function checkForm(image: CpuinfoX86Entry): string | undefined {
  const words = { 1: WORDS_V1, 2: 19 }[image.capability_ver];
  if (words === undefined) return `the image has CPU features of version ${image.capability_ver}; known are 1 and 2`;
  if (image.capability.length === words) return undefined;
  return `the image has ${image.capability.length} words of CPU features instead of ${words}`;
}

/** Every difference that matters, as a sentence; an empty list when the CPU will do. */
export function compareCpu(image: CpuinfoX86Entry, cpu: CpuinfoX86Entry, wanted: Wanted): string[] {
  const wrong = checkForm(image);
  if (wrong !== undefined) return [wrong];
  // Older images say nothing about the later words: they are taken as equal.
  const capability = cpu.capability.map((value, word) => image.capability[word] ?? value);
  const problems = [
    ...(wanted.fpu ? compareFpu({ ...image, capability }, cpu) : []),
    ...(wanted.ins ? compareInstructions(capability, cpu.capability) : []),
    ...(wanted.cpu ? compareAll(capability, cpu.capability) : []),
  ];
  return [...new Set(problems)];
}

function compareFpu(image: CpuinfoX86Entry, cpu: CpuinfoX86Entry): string[] {
  const problems = FPU_FEATURES.filter(
    ([word, bit]) => isSet(image.capability, word, bit) && !isSet(cpu.capability, word, bit),
  ).map(([, , name]) => `the CPU lacks ${name}, which the FPU state in the images needs`);
  const missing = (image.xfeatures_mask ?? 0n) & ~(cpu.xfeatures_mask ?? 0n);
  problems.push(...xfeatureNames(missing).map((name) => `the CPU lacks ${name}, which the images may hold`));
  const sizes = [
    ['enabled', image.xsave_size, cpu.xsave_size],
    ['possible', image.xsave_size_max, cpu.xsave_size_max],
  ] as const;
  for (const [which, before, now] of sizes) {
    if (before !== undefined && before !== now) {
      problems.push(
        `the FPU state (all ${which} parts) has ${now} bytes here, but ${before} where the images come from`,
      );
    }
  }
  return problems;
}

/** A CPU may have more instructions than the other, but not fewer. */
function compareInstructions(image: readonly number[], cpu: readonly number[]): string[] {
  return image.flatMap((_, word) =>
    instructionsOf(word)
      .filter(({ bit }) => isSet(image, word, bit) && !isSet(cpu, word, bit))
      .map(({ name }) => `the CPU lacks ${name}`),
  );
}

function compareAll(image: readonly number[], cpu: readonly number[]): string[] {
  return image.flatMap((value, word) => {
    const here = cpu[word] ?? 0;
    const lacks = bitNames(word, (value & ~here) >>> 0).map((name) => `the CPU lacks ${name}`);
    const adds = bitNames(word, (here & ~value) >>> 0).map((name) => `the CPU has ${name}, the other had not`);
    return [...lacks, ...adds];
  });
}
