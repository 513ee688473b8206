import { expect, test } from 'bun:test';
import { COMMANDS } from '../../options/commands.ts';
import { OPTION_TABLE } from '../../options/option-table.ts';
import { parseCommandLine } from '../../options/parse-command-line.ts';
import { commandHelp, generalHelp, shortUsage, wrap } from './help.ts';

test('the help shows every option but old spellings', () => {
  const help = generalHelp();
  for (const { long, isOld } of OPTION_TABLE) {
    const isShown = new RegExp(`^  (-.,|   ) --${long}\\b`, 'm').test(help);
    expect(`${long} ${isShown}`).toBe(`${long} ${!isOld}`);
  }
});

test('the help of a command shows only what concerns it', () => {
  const help = commandHelp('check');
  expect(help).toContain('--feature NAME');
  expect(help).toContain('--log-file FILE');
  expect(help).toContain('--tree PID');
  expect(help).not.toContain('--leave-running');
  expect(help).not.toContain('Memory:');
});

test('no line is wider than 96', () => {
  for (const text of [generalHelp(), shortUsage(), ...COMMANDS.map(({ name }) => commandHelp(name))]) {
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(96);
  }
});

test('after a mistake the commands and a hint are shown', () => {
  expect(shortUsage()).toContain('\n  dump          save a process and all its descendants as images\n');
  expect(shortUsage().endsWith('\n\nTry -h|--help for more info')).toBe(true);
});

test('text is broken at blanks; a longer word stands alone', () => {
  expect(wrap('aa bb cc', 5)).toEqual(['aa bb', 'cc']);
  expect(wrap('a bbbbbbbb c', 4)).toEqual(['a', 'bbbbbbbb', 'c']);
  expect(wrap('', 4)).toEqual([]);
});

test('examples are command lines that the parser takes', () => {
  for (const { name, examples = [] } of COMMANDS) {
    const help = commandHelp(name);
    for (const [line] of examples) {
      expect(help).toContain(`  ${line} `);
      const words = line.slice(line.indexOf('criu ') + 5).split(' ');
      expect(parseCommandLine(words, {}, () => undefined).command).toBe(name);
    }
  }
});
