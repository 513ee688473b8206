/**
 * What a CPU must have for the code in a start image: that of libraries which chose their variants when the image was taken, and
 * that of the runtime's compilers. What is in no list is used by the kernel only, is known to be used by nobody here, or makes
 * code faster but not other code. The shorter the lists, the more machines start from the image.
 */
import { cpuid } from '../../src/linux/cpuid.ts';

/**
 * Bits of the registers of a leaf of CPUID (Intel SDM volume 2, CPUID). Each leaf costs an exit of a virtual machine, up to 40 µs,
 * at every start.
 */
export interface CpuNeeds {
  readonly leaf: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

const bits = (of: Readonly<Record<string, number>>) =>
  Object.values(of).reduce((all, bit) => all | (1 << bit), 0) >>> 0;

const LEAF_1_ECX = bits({
  SSE3: 0, PCLMULQDQ: 1, SSSE3: 9, FMA: 12, CMPXCHG16B: 13, SSE4_1: 19, SSE4_2: 20, MOVBE: 22, POPCNT: 23, AES: 25,
  XSAVE: 26, OSXSAVE: 27, AVX: 28, F16C: 29, RDRAND: 30,
}); // biome-ignore format: a table

/** RTM: variants of the C library for AVX2 ask whether they are in a transaction (XTEST) where there are any. */
const LEAF_7_EBX = bits({
  BMI1: 3, AVX2: 5, BMI2: 8, RTM: 11, AVX512F: 16, AVX512DQ: 17, RDSEED: 18, ADX: 19, AVX512_IFMA: 21, CLFLUSHOPT: 23,
  CLWB: 24, AVX512PF: 26, AVX512ER: 27, AVX512CD: 28, SHA: 29, AVX512BW: 30, AVX512VL: 31,
}); // biome-ignore format: a table
const LEAF_7_ECX = bits({
  AVX512_VBMI: 1, AVX512_VBMI2: 6, GFNI: 8, VAES: 9, VPCLMULQDQ: 10, AVX512_VNNI: 11, AVX512_BITALG: 12,
  AVX512_VPOPCNTDQ: 14, RDPID: 22, MOVDIRI: 27, MOVDIR64B: 28,
}); // biome-ignore format: a table
const LEAF_7_EDX = bits({ AVX512_VP2INTERSECT: 8, AVX512_FP16: 23 });

const LEAF_EXTENDED = 0x8000_0001;
/** The mathematical functions of the C library have variants with FMA4. */
const FMA4 = bits({ FMA4: 16 });
/** Where it is missing it does something else. Every CPU with BMI1 has it. */
const LZCNT = bits({ LZCNT: 5 });
const BMI1 = bits({ BMI1: 3 });

/** Everything of the CPU we run on that code may make use of. */
export function readCpuNeeds(): CpuNeeds[] {
  const [one, seven, extended] = [cpuid(1), cpuid(7), cpuid(LEAF_EXTENDED)];
  const ofExtended = (seven.ebx & BMI1) === 0 ? FMA4 | LZCNT : FMA4;
  return [
    { leaf: 1, ebx: 0, ecx: (one.ecx & LEAF_1_ECX) >>> 0, edx: 0 },
    {
      leaf: 7,
      ebx: (seven.ebx & LEAF_7_EBX) >>> 0,
      ecx: (seven.ecx & LEAF_7_ECX) >>> 0,
      edx: (seven.edx & LEAF_7_EDX) >>> 0,
    },
    { leaf: LEAF_EXTENDED, ebx: 0, ecx: (extended.ecx & ofExtended) >>> 0, edx: 0 },
  ].filter(({ ebx, ecx, edx }) => (ebx | ecx | edx) !== 0);
}
