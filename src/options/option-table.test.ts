import { expect, test } from 'bun:test';
import { COMMANDS } from './commands.ts';
import { defaultOptions } from './criu-options.ts';
import { OPTION_TABLE } from './option-table.ts';

/** Every long option of CRIU 4.2 (criu/config.c) with its kind: flag, negatable, value, optional value. */
const CRIU_OPTIONS = {
  none:
    'leave-stopped leave-running help version ms exec-cmd enable-external-sharing enable-external-masters lazy-pages ' +
    'all no-default-config tls-no-cn-verify',
  negatable:
    'restore-detached restore-sibling daemon tcp-established log-pid evasive-devices link-remap shell-job file-locks ' +
    'page-server track-mem auto-dedup force-irmap extra experimental skip-in-flight deprecated display-stats ' +
    'weak-sysctls tcp-close stream tls skip-file-rwx-check mntns-compat-mode unprivileged ghost-fiemap allow-uprobes',
  required:
    'tree images-dir work-dir log-file join-ns root close pidfile veth-pair action-script address port ' +
    'prev-images-dir libdir ext-mount-map cgroup-root inherit-fd feature skip-mnt enable-fs freeze-cgroup ' +
    'ghost-limit irmap-scan-path lsm-profile timeout external empty-ns cgroup-props cgroup-props-file ' +
    'cgroup-dump-controller status-fd ps-socket config tls-cacert tls-cacrl tls-cert tls-key cgroup-yard ' +
    'pre-dump-mode file-validation lsm-mount-context network-lock',
  optional: 'ext-unix-sk cpu-cap manage-cgroups verbosity',
};
const CRIU_SHORT = 'd S s R t h D o v x V r j J l W L M';

test('every option of CRIU 4.2 is there, of the same kind', () => {
  const kinds = new Map(OPTION_TABLE.map(({ long, argument }) => [long, argument]));
  for (const [kind, names] of Object.entries(CRIU_OPTIONS)) {
    for (const name of names.split(' ')) expect(`${name} ${kinds.get(name)}`).toBe(`${name} ${kind}`);
  }
});

test('nothing else is there but what CRIU 3.12 had, and our own', () => {
  const known = new Set(Object.values(CRIU_OPTIONS).flatMap((names) => names.split(' ')));
  const others = OPTION_TABLE.map(({ long }) => long).filter((long) => !known.has(long));
  expect(others).toEqual(['cgroup-props-ignore-default', 'cow-dump', 'run-at-once']);
});

test('the short options are those of CRIU', () => {
  const shorts = OPTION_TABLE.flatMap(({ short }) => (short === undefined ? [] : [short]));
  expect(shorts.sort()).toEqual(CRIU_SHORT.split(' ').sort());
});

test('names are unique', () => {
  const names = OPTION_TABLE.map(({ long }) => long);
  expect(new Set(names).size).toBe(names.length);
});

test('every row has a help text of whole sentences, and values have a name', () => {
  for (const { long, help, metavar, argument } of OPTION_TABLE) {
    expect(`${long}: ${/^[A-Zs-].*\.$/.test(help)}`).toBe(`${long}: true`);
    const hasValue = argument === 'required' || argument === 'optional';
    expect(`${long}: ${metavar !== undefined}`).toBe(`${long}: ${hasValue}`);
  }
});

test('commands exist and fields have a default', () => {
  const commands = new Set(COMMANDS.map(({ name }) => name));
  const fields = Object.keys(defaultOptions());
  for (const spec of OPTION_TABLE) {
    if (spec.commands !== 'all') for (const name of spec.commands) expect(commands.has(name)).toBe(true);
    if (spec.sets !== null) expect(fields).toContain(spec.sets);
  }
});
