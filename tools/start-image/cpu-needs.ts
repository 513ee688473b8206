/**
 * What a CPU must have for the code in a start image: that of libraries which chose their variants when the image was taken, and
 * that of the runtime's compilers.
 */
import { cpuid } from '../../src/linux/cpuid.ts';

/** Bits of the registers of a leaf of CPUID (Intel SDM volume 2, CPUID). */
export interface CpuNeeds {
  readonly leaf: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

const bits = (...numbers: number[]) => numbers.reduce((all, bit) => all | (1 << bit), 0) >>> 0;

/** Leaf 1: the id of the CPU we run on (ebx); a hypervisor and its clock, OSXSAVE is set by the kernel. */
const LEAF_1_ECX = ~bits(3, 7, 8, 15, 18, 21, 24, 31) >>> 0;
/** Leaf 7: instructions; not protection keys, control-flow enforcement, and what only the kernel uses. */
const LEAF_7_EBX = bits(3, 5, 8, 9, 16, 17, 18, 19, 21, 23, 24, 26, 27, 28, 29, 30, 31);
const LEAF_7_ECX = bits(1, 6, 8, 9, 10, 11, 12, 14, 22, 27, 28);
/** Leaf 0x80000001: LAHF, LZCNT (ABM), XOP and the like. */
const LEAF_EXTENDED = 0x8000_0001;
const LEAF_EXTENDED_ECX = bits(0, 5, 6, 8);

/** Everything of the CPU we run on that code may make use of. */
export function readCpuNeeds(): CpuNeeds[] {
  const [one, seven, extended] = [cpuid(1), cpuid(7), cpuid(LEAF_EXTENDED)];
  return [
    { leaf: 1, ebx: 0, ecx: (one.ecx & LEAF_1_ECX) >>> 0, edx: 0 },
    { leaf: 7, ebx: (seven.ebx & LEAF_7_EBX) >>> 0, ecx: (seven.ecx & LEAF_7_ECX) >>> 0, edx: 0 },
    { leaf: LEAF_EXTENDED, ebx: 0, ecx: (extended.ecx & LEAF_EXTENDED_ECX) >>> 0, edx: 0 },
  ];
}
