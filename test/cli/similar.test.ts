import { mkdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { suggestion } from '../../lib/cli/ports.ts';
import { similar } from '../../lib/cli/similar.ts';
import { temporaryFolder } from '../fakes/folder.ts';

const KINDS = ['null', 'loop', 'pair', 'pcap', 'xdp'];
const folder = temporaryFolder();

describe('similar words', () => {
  test.each([
    ['nul', 'null'],
    ['NULL', 'null'],
    ['lopp', 'loop'],
    ['pcpa', 'pcap'],
    ['pacp', 'pcap'],
  ])('%s may mean %s', (word, meant) => {
    expect(similar(word, KINDS)).toBe(meant);
  });

  test.each(['', 'eth', 'vhost', 'q'])('"%s" is like none', (word) => {
    expect(similar(word, KINDS)).toBeUndefined();
  });
});

describe('port names that are nobody’s', () => {
  test.each([
    ['nul:0', 'null:0'],
    ['pari:a/0', 'pair:a/0'],
    ['null', 'null:0'],
    ['in.pcap', 'pcap:in.pcap'],
    ['/tmp/x.pcapng', 'pcap:/tmp/x.pcapng'],
  ])('%s may mean %s', (name, meant) => {
    expect(suggestion(name, KINDS, folder('none'))).toBe(meant);
  });

  test('an interface of this machine is one of the kind that reaches interfaces', () => {
    mkdirSync(folder('sys/class/net/eth7'), { recursive: true });
    expect(suggestion('eth7', KINDS, folder('sys'))).toBe('xdp:eth7');
    expect(suggestion('eth8', KINDS, folder('sys'))).toBeUndefined();
    expect(suggestion('eth7', ['null'], folder('sys'))).toBeUndefined();
    expect(suggestion('../net/eth7', KINDS, folder('sys'))).toBeUndefined();
  });

  test.each(['0000:03:00.0', 'wlan', ''])('"%s" may mean nothing we know', (name) => {
    expect(suggestion(name, KINDS, folder('none'))).toBeUndefined();
  });
});
