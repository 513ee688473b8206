/** The CPUID instruction (Intel SDM volume 2, CPUID). In a virtual machine each call costs an exit: ask for what is used. */
import { once } from '../base/per-run.ts';
import { addressOf, callable, placeCode } from './kernel.ts';

/** C function(leaf, subleaf, out): stores eax, ebx, ecx, edx at out. */
const CODE = [
  0x53, // push rbx
  0x49, 0x89, 0xd0, // mov r8, rdx
  0x89, 0xf8, // mov eax, edi
  0x89, 0xf1, // mov ecx, esi
  0x0f, 0xa2, // cpuid
  0x41, 0x89, 0x00, // mov [r8], eax
  0x41, 0x89, 0x58, 0x04, // mov [r8+4], ebx
  0x41, 0x89, 0x48, 0x08, // mov [r8+8], ecx
  0x41, 0x89, 0x50, 0x0c, // mov [r8+12], edx
  0x5b, // pop rbx
  0xc3, // ret
]; // biome-ignore format: one instruction a line

const thunk = once(() => callable(placeCode(CODE)));

export interface Cpuid {
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** One leaf of CPUID on the CPU we run on. */
export function cpuid(leaf: number, subleaf = 0): Cpuid {
  const out = new Uint32Array(4);
  thunk()(leaf, subleaf, addressOf(out), 0, 0, 0, 0);
  const [eax = 0, ebx = 0, ecx = 0, edx = 0] = out;
  return { eax, ebx, ecx, edx };
}
