import { expect, test } from 'vitest';
import { inOptions } from '../../lib/cli/words.ts';

test.each([
  ['port a: setting rxQueues: 9 is not a whole number', 'port a: option -q: 9 is not a whole number'],
  ['port a: setting promiscuous: this port is', 'port a: option -P: this port is'],
  ['engine option idleUs: -1 is', 'option --idle-us: -1 is'],
  ['engine option burst: 0 is', 'option --burst: 0 is'],
  ['engine option stallMs: 0 is', 'option stallMs: 0 is'],
  ['; open all (rxQueues: 8), or', '; open all (-q 8), or'],
  ['; open the engine with frameSize: 2048 or 4096', '; use --frame-size 2048 or 4096'],
  ['use smaller rings (rxRing, txRing)', 'use smaller rings (--rxd, --txd)'],
  ["or do without: hugepages: 'try'", 'or do without: --hugepages try'],
  ['a smaller arena (option arenaBytes)', 'a smaller arena (option --arena)'],
  ['option "firstFlow" of gen: x', 'option --first-flow of gen: x'],
  ['option "flows" of sink: x', 'option --flows of sink: x'],
  ['option "flows" of mine: x', 'option "flows" of mine: x'],
  ['or raise the MTU (mtu: 1982)', 'or raise the MTU (--mtu 1982)'],
  ['capture frames/mtu.pcap cannot be opened', 'capture frames/mtu.pcap cannot be opened'],
])('%s', (library, typed) => {
  expect(inOptions(library)).toBe(typed);
});
