/**
 * --lsm-profile, and whether this kernel can give tasks the labels that the images have. Pure; before any process exists.
 *
 * The option changes the labels of tasks that have one: to another name, or with "none" to no label of their own.
 */
import { CriuError, type CriuErrorFields, CriuErrors } from '../../base/errors.ts';
import type { CoreEntry } from '../../image/gen/core.ts';
import { Lsmtype } from '../../image/gen/inventory.ts';
import type { LsmModule } from './lsm.ts';

/** What is given as "apparmor:NAME", "selinux:NAME" or "none". */
export interface LsmProfile {
  readonly module: LsmModule;
  readonly name: string;
}

/** The parts of a tree that matter. */
interface LabelledTree {
  readonly inventory: { readonly lsmtype?: number | undefined };
  readonly tasks: readonly { readonly label: string; readonly threads: readonly { readonly core: CoreEntry }[] }[];
}

/** As the option parser has let it through. */
export function parseLsmProfile(text: string): LsmProfile {
  const colon = text.indexOf(':');
  const module = colon < 0 ? text : text.slice(0, colon);
  if (module !== 'apparmor' && module !== 'selinux') return { module: 'none', name: '' };
  return { module, name: text.slice(colon + 1) };
}

/** Puts the labels of the option into the tree. Throws CriuErrors when this kernel (`module`) cannot have them. */
export function chooseLabels(tree: LabelledTree, profile: LsmProfile | undefined, module: LsmModule): void {
  if (profile !== undefined && profile.module !== 'none' && profile.module !== module) {
    throw new CriuError({
      object: `--lsm-profile ${profile.module}:${profile.name}`,
      action: `${profile.module} LSM specified but ${profile.module} not supported by kernel`,
      remedy: 'restore without a label with --lsm-profile none',
    });
  }
  const problems: CriuErrorFields[] = [];
  for (const { label, threads } of tree.tasks) {
    for (const { core } of threads) {
      const creds = core.thread_core?.creds;
      if (creds?.lsm_profile === undefined) continue;
      if (profile !== undefined) {
        creds.lsm_profile = profile.module === 'none' ? undefined : profile.name;
        if (profile.module === 'none') creds.lsm_sockcreate = undefined;
      } else problems.push(...findProblem(label, creds.lsm_profile, moduleOf(tree), module));
    }
  }
  if (problems.length > 0) throw new CriuErrors('the security labels of the tree cannot be restored', problems);
}

function findProblem(task: string, profile: string, theirs: LsmModule, ours: LsmModule): CriuErrorFields[] {
  // CRIU writes no module for a tree without labels of its own.
  if (ours !== 'none' && (theirs === ours || theirs === 'none')) return [];
  const why = ours === 'none' ? 'this kernel has neither SELinux nor AppArmor' : `this kernel has ${ours}`;
  const action = `cannot get the ${theirs === 'none' ? '' : `${theirs} `}label "${profile}"`;
  const remedy = 'restore on a machine like the one of the dump, or without a label with --lsm-profile none';
  return [{ object: task, action, why, remedy }];
}

function moduleOf({ inventory: { lsmtype } }: LabelledTree): LsmModule {
  if (lsmtype === Lsmtype.SELINUX) return 'selinux';
  return lsmtype === Lsmtype.APPARMOR ? 'apparmor' : 'none';
}
