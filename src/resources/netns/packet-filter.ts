/**
 * Rules of packet filters. Images have the text that the programs nft and iptables-save print, as CRIU has it, so these
 * programs write and read it; what a rule means is known to them alone. They run only where there are rules: netlink and
 * /proc tell whether there are any.
 */

import { CriuError, type CriuErrorFields } from '../../base/errors.ts';
import { invocation } from '../../base/invocation.ts';
import { tryReadFile } from '../../linux/syscalls/fs.ts';
import { listTables, NFT_TABLE_F_OWNER } from '../../netlink/nf-tables.ts';

export const RULE_IMAGES = ['iptables', 'ip6tables', 'nftables'] as const;
export type RuleImage = (typeof RULE_IMAGES)[number];
export type PacketFilter = Readonly<Record<RuleImage, Uint8Array>>;

/** The programs of iptables come in two kinds that do not see each other's rules: of the old tables, and of nf_tables. */
const IPTABLES = {
  iptables: { names: '/proc/net/ip_tables_names', save: 'iptables', what: 'IPv4 rules (x_tables)' },
  ip6tables: { names: '/proc/net/ip6_tables_names', save: 'ip6tables', what: 'IPv6 rules (x_tables)' },
} as const;

const EMPTY = new Uint8Array(0);

/** Reads the rules of the namespace that we are in, and why they cannot be saved. */
export function readPacketFilter(): { rules: PacketFilter; problems: CriuErrorFields[] } {
  const problems: CriuErrorFields[] = [];
  const refuse = (object: string, why: string, remedy?: string): Uint8Array => {
    const action = 'cannot be dumped';
    problems.push({ object: `${object} of the network namespace`, action, why, ...(remedy && { remedy }) });
    return EMPTY;
  };
  const rules = {
    iptables: readTables('iptables', refuse),
    ip6tables: readTables('ip6tables', refuse),
    nftables: readRuleset(refuse),
  };
  for (const names of ['/proc/net/arp_tables_names']) {
    if (hasLines(names)) refuse('ARP rules (x_tables)', 'there is no image for them', 'use nftables');
  }
  return { rules, problems };
}

type Refuse = (object: string, why: string, remedy?: string) => Uint8Array;

function hasLines(path: string): boolean {
  const text = tryReadFile(path);
  return typeof text === 'string' && text.trim() !== '';
}

function readTables(image: 'iptables' | 'ip6tables', refuse: Refuse): Uint8Array {
  const { names, what } = IPTABLES[image];
  if (!hasLines(names)) return EMPTY;
  const program = findLegacy(image, 'save');
  if (program === undefined) return refuse(what, `${image}-legacy-save is needed`, 'install iptables');
  const { output, failure } = run([program]);
  if (failure !== undefined) return refuse(what, failure);
  if (/--match-set|--(add|del)-set/.test(output)) return refuse(what, 'they use sets (ipset), which have no image');
  return Buffer.from(output);
}

function readRuleset(refuse: Refuse): Uint8Array {
  const what = 'rules (nf_tables)';
  const tables = listTables();
  if (tables.length === 0) return EMPTY;
  const owned = tables.find(({ flags }) => (flags & NFT_TABLE_F_OWNER) !== 0);
  if (owned !== undefined) {
    return refuse(what, `table ${owned.name} belongs to a process (flag owner), and goes away with it`);
  }
  const { output, failure } = run(['nft', 'list', 'ruleset']);
  if (failure !== undefined) return refuse(what, failure, 'install nftables');
  if (/\bxt (match|target|watcher)\b|# xt_/.test(output)) {
    return refuse(what, 'there are rules of iptables-nft that nft cannot express', 'write them with nft');
  }
  return Buffer.from(output);
}

/** A ruleset in the words of nft without a table of the family inet. Pure. */
export function withoutTable(ruleset: Uint8Array, table: string): Uint8Array {
  const text = `\n${Buffer.from(ruleset).toString('latin1')}`;
  const start = text.indexOf(`\ntable inet ${table} {\n`);
  const end = start < 0 ? -1 : text.indexOf('\n}\n', start);
  return end < 0 ? ruleset : Buffer.from(text.slice(1, start + 1) + text.slice(end + 3), 'latin1');
}

/** What speaks against restoring rules: programs that are not there. */
export function findMissingPrograms(rules: PacketFilter): CriuErrorFields[] {
  return RULE_IMAGES.flatMap((image) => {
    const names = image === 'nftables' ? ['nft'] : [`${image}-legacy-restore`, `${image}-restore`];
    if (rules[image].length === 0 || names.some((name) => Bun.which(name) !== null)) return [];
    const object = 'packet filter of the network namespace';
    const remedy = `install ${image === 'nftables' ? 'nftables' : 'iptables'}`;
    return [{ object, action: 'cannot be restored', why: `the program ${names[0]} is needed`, remedy }];
  });
}

function programFor(image: RuleImage): string[] {
  if (image === 'nftables') return ['nft', '-f', '-'];
  return [findLegacy(image, 'restore') ?? `${image}-legacy-restore`, '-w'];
}

/** Makes the rules in the namespace that we are in. Throws CriuError. */
export function restorePacketFilter(rules: PacketFilter): void {
  for (const image of RULE_IMAGES) {
    if (rules[image].length === 0) continue;
    const { failure } = run(programFor(image), rules[image]);
    if (failure === undefined) continue;
    throw new CriuError({
      object: `${image} rules of the network namespace`,
      action: 'cannot be restored',
      why: failure,
    });
  }
}

/** The program for the old tables; where both kinds are installed, it has another name. */
function findLegacy(image: 'iptables' | 'ip6tables', verb: 'save' | 'restore'): string | undefined {
  return [`${image}-legacy-${verb}`, `${image}-${verb}`].find((program) => {
    const { output, failure } = run([program, '--version']);
    return failure === undefined && !output.includes('nf_tables');
  });
}

/** Runs a program to its end, in the namespace that we are in. */
export function run(command: readonly string[], input: Uint8Array = EMPTY): { output: string; failure?: string } {
  const [name] = command;
  try {
    const { exitCode, stdout, stderr } = Bun.spawnSync([...command], {
      env: invocation().environment(),
      stdin: input,
      stdout: 'pipe',
      stderr: 'pipe',
    });
    const output = stdout.toString();
    if (exitCode === 0) return { output };
    const said = stderr.toString().trim().split('\n')[0];
    return { output, failure: `${name} ended with ${exitCode}${said === '' ? '' : ` (${said})`}` };
  } catch {
    return { output: '', failure: `the program ${name} cannot be started` };
  }
}
