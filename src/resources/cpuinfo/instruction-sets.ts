/**
 * The words of CPU features in cpuinfo.img (order of CRIU's format, version 2: 19 words) and the names of those bits
 * that programs can use as instructions. Names are those of /proc/cpuinfo; bits are CPUID's (Intel SDM volume 2, CPUID;
 * AMD APM volume 3, appendix E).
 */

/** Where a word comes from, for messages: its index in the image. Words without a source are always 0. */
const WORD_SOURCES: readonly string[] = [
  'CPUID 1 EDX', 'CPUID 80000001h EDX', 'word 2', 'Linux', 'CPUID 1 ECX', 'word 5', 'CPUID 80000001h ECX', 'word 7',
  'word 8', 'CPUID 7 EBX', 'CPUID Dh EAX', 'CPUID 7 ECX', 'CPUID Fh.1 EDX', 'CPUID 80000008h EBX', 'CPUID 6 EAX',
  'CPUID 8000000Ah EDX', 'CPUID Fh EDX', 'CPUID 80000007h EBX', 'CPUID 7 EDX',
]; // biome-ignore format: a list of words

/** Names by word and bit: "name:bit". A program may depend on these; the other bits are for the kernel. */
const INSTRUCTIONS: Readonly<Record<number, string>> = {
  0: 'fpu:0 tsc:4 cx8:8 sep:11 cmov:15 clflush:19 mmx:23 fxsr:24 sse:25 sse2:26',
  1: 'syscall:11 mmxext:22 rdtscp:27 3dnowext:30 3dnow:31',
  3: 'rep_good:16 nopl:20',
  4:
    'sse3:0 pclmulqdq:1 monitor:3 ssse3:9 cx16:13 sse4_1:19 sse4_2:20 movbe:22 popcnt:23 aes:25 xsave:26 osxsave:27 ' +
    'avx:28 f16c:29 rdrand:30',
  6: 'abm:5 sse4a:6 misalignsse:7 3dnowprefetch:8 xop:11 fma4:16 tbm:21',
  9:
    'fsgsbase:0 bmi1:3 hle:4 avx2:5 bmi2:8 erms:9 rtm:11 mpx:14 avx512f:16 avx512dq:17 rdseed:18 adx:19 ' +
    'clflushopt:23 avx512pf:26 avx512er:27 avx512cd:28 sha_ni:29 avx512bw:30 avx512vl:31',
  10: 'xsaveopt:0 xsavec:1 xgetbv1:2',
  11:
    'avx512vbmi:1 avx512_vbmi2:6 gfni:8 vaes:9 vpclmulqdq:10 avx512_vnni:11 avx512_bitalg:12 tme:13 ' +
    'avx512_vpopcntdq:14 rdpid:22',
  13: 'clzero:0',
  18: 'avx512_4vnniw:2 avx512_4fmaps:3',
};

const BITS = 32;

/** The instruction sets of a word, as bit and name. */
export function instructionsOf(word: number): { readonly bit: number; readonly name: string }[] {
  const list = INSTRUCTIONS[word];
  if (list === undefined) return [];
  return list.split(' ').map((entry) => {
    const [name = '', bit = ''] = entry.split(':');
    return { bit: Number(bit), name };
  });
}

/** The bits of `word` that are set in `value`, by name where they have one. */
export function bitNames(word: number, value: number): string[] {
  const names = new Map(instructionsOf(word).map(({ bit, name }) => [bit, name]));
  const set = Array.from({ length: BITS }, (_, bit) => bit).filter((bit) => ((value >>> bit) & 1) === 1);
  return set.map((bit) => names.get(bit) ?? `bit ${bit} of ${WORD_SOURCES[word] ?? `word ${word}`}`);
}
