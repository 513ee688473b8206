/**
 * cpuinfo.img: which features the CPU of a dump had, and whether the CPU of a restore has them too.
 *
 * Lost: nothing; it is information only. CPUs of other architectures are refused by name.
 */
import { CriuError } from '../../base/errors.ts';
import type { CoreEntry } from '../../image/gen/core.ts';
import type { ImageDir } from '../../image/image-dir.ts';
import { cpuid } from '../../linux/cpuid.ts';
import { compareCpu, type Wanted } from './compare-cpu.ts';
import { readCpu } from './read-cpu.ts';
import { xfeatureNames } from './xfeatures.ts';

/** Writes cpuinfo.img for this CPU. For `cpuinfo dump`, and for `dump` when `cpuCap.image` is set. */
export function writeCpuinfo(images: ImageDir): void {
  images.write('cpuinfo', undefined, [{ x86_entry: [readCpu()], ppc64_entry: [], s390_entry: [] }]);
}

/**
 * Compares cpuinfo.img with this CPU; returns what is missing, one sentence each. For `cpuinfo check`, and for
 * `restore` when `cpuCap.image` is set. Throws CriuError when the image is not there or is of another architecture.
 */
export function checkCpuinfo(images: ImageDir, wanted: Wanted): string[] {
  const { x86_entry } = images.readOne('cpuinfo');
  const [entry] = x86_entry;
  if (entry === undefined || x86_entry.length > 1) {
    throw new CriuError({
      object: 'cpuinfo.img',
      action: `has ${x86_entry.length} entries for x86 CPUs instead of one`,
      why: 'the images are of another architecture, or damaged',
    });
  }
  return compareCpu(entry, readCpu(), wanted);
}

/** x87 and SSE: every x86-64 CPU has them. */
const ALWAYS_THERE = 0x3n;

/**
 * Parts of the FPU state that the cores hold and this CPU has no room for, one sentence each: the fpu mode of
 * --cpu-cap, which needs no cpuinfo.img. Asks the CPU (one CPUID) only when there is more than x87 and SSE.
 */
export function checkFpu(cores: Iterable<CoreEntry>): string[] {
  let needed = 0n;
  for (const { thread_info } of cores) {
    needed |= thread_info?.fpregs.xsave?.xstate_bv ?? 0n;
    for (const { bit } of thread_info?.xstate_ext ?? []) needed |= 1n << BigInt(bit);
  }
  return describeMissingXfeatures(needed & ~ALWAYS_THERE, () => {
    const { eax, edx } = cpuid(0xd);
    return BigInt(eax) | (BigInt(edx) << 32n);
  });
}

/** `supported` is only called when something is needed. */
export function describeMissingXfeatures(needed: bigint, supported: () => bigint): string[] {
  if (needed === 0n) return [];
  return xfeatureNames(needed & ~supported()).map((name) => `the CPU lacks ${name}, which the images hold`);
}
