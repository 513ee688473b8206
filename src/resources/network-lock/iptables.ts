/**
 * Undoes the lock of a CRIU that was told nothing else: two rules of iptables or ip6tables for each connection. Where the
 * rules are is the secret of that program, so it has to take them away again.
 */
import { invocation } from '../../base/invocation.ts';
import { AF_INET } from '../../linux/abi/socket.ts';
import { formatAddress, isMapped } from '../fd/inet-socket/address.ts';
import { type LockedEnds, UNLOCKED_MARK } from './network-lock.ts';

/** Input for iptables-restore and ip6tables-restore; undefined when there is nothing to do. Pure. */
export function describeUnlock(connections: readonly LockedEnds[]): { v4?: string; v6?: string } {
  const lines = { v4: [] as string[], v6: [] as string[] };
  for (const { family, src_addr, src_port, dst_addr, dst_port } of connections) {
    const isV4 = family === AF_INET || isMapped(dst_addr);
    const text = (words: readonly number[]) =>
      formatAddress(isV4 ? AF_INET : family, { port: 0, words: isV4 ? words.slice(-1) : words }).replace(
        /^\[|\]?:0$/g,
        '',
      );
    const [own, other] = [text(src_addr), text(dst_addr)];
    const rule = (chain: string, from: string, sport: number, to: string, dport: number) =>
      `-D ${chain} -p tcp -m mark ! --mark ${UNLOCKED_MARK} -s ${from} --sport ${sport} -d ${to} --dport ${dport} -j DROP`;
    lines[isV4 ? 'v4' : 'v6'].push(
      rule('INPUT', other, dst_port, own, src_port),
      rule('OUTPUT', own, src_port, other, dst_port),
    );
  }
  const script = (rules: string[]) => ['*filter', ...rules, 'COMMIT', ''].join('\n');
  return {
    ...(lines.v4.length > 0 ? { v4: script(lines.v4) } : {}),
    ...(lines.v6.length > 0 ? { v6: script(lines.v6) } : {}),
  };
}

/** After a reboot the rules are gone, and the program fails: that is no reason to give up. */
export function unlockIptables(connections: readonly LockedEnds[]): void {
  const { v4, v6 } = describeUnlock(connections);
  for (const [program, input] of [
    ['iptables-restore', v4],
    ['ip6tables-restore', v6],
  ] as const) {
    if (input !== undefined) change(program, input);
  }
}

/** What CRIU puts into a network namespace of the tree: a chain that drops all packets but those with its mark. */
const CHAIN_REMOVAL = ['-D INPUT -j CRIU\n-D OUTPUT -j CRIU', '-X CRIU'].map(
  (rules) => `*filter\n:CRIU - [0:0]\n${rules}\nCOMMIT\n`,
);

/** The same for a namespace that was locked as a whole. In two steps: iptables-nft does not see that the chain is free. */
export function unlockNamespace(): void {
  for (const program of ['iptables-restore', 'ip6tables-restore']) {
    for (const input of CHAIN_REMOVAL) if (!change(program, input)) break;
  }
}

/** Either all of it is done, or nothing. */
function change(program: string, input: string): boolean {
  try {
    const stdin = Buffer.from(input);
    const { exitCode } = Bun.spawnSync([program, '-w', '--noflush'], {
      env: invocation().environment(),
      stdin,
      stdout: 'ignore',
      stderr: 'ignore',
    });
    return exitCode === 0;
  } catch {
    // It is not installed: then it has not made the rules here.
    return false;
  }
}
