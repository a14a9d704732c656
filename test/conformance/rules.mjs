/**
 * The rules of virtio 1.2 (OASIS, committee specification 01) that a network driver (V) and a network device behind
 * vhost-user (B) must keep, by numbers of our own, with their sections; and lies that each end must survive: of a device
 * (H), of a guest (G). A rule that does not apply says why. `npm run conformance` puts the tests behind them.
 */
const sections = (prefix, list) =>
  Object.fromEntries(
    list
      .trim()
      .split(/\s+/)
      .map((section, i) => [`${prefix}${i + 1}`, { section }]),
  );

const driver = sections(
  'V',
  `2.1.1 2.1.1 2.1.1 2.1.1 2.2.1 2.2.1 2.2.1 2.4.2 2.5.1 2.5.1 2.5.1 2.6.1.1.2 2.6.1.2.2
   2.7.1 2.7.4.2 2.7.4.2 2.7.5.2 2.7.5.2 2.7.5.3.1 2.7.5.3.1 2.7.5.3.1 2.7.5.3.1 2.7.5.3.1 2.7.6.1 2.7.7.1 2.7.7.1
   2.7.7.1 2.7.8.3 2.7.10.1 2.7.10.1 2.7.10.1 2.7.13.3.1 2.7.13.4.1
   2.8.11 2.8.16 2.8.16 2.8.16 2.8.17 2.8.17 2.8.17 2.8.17 2.8.19 2.8.19 2.8.19 2.8.21.1.1 2.8.21.3.1
   3.1.1 3.1.1 3.1.1 3.1.1 3.1.1 3.1.1 3.3.1
   4.1.2.2 4.1.2.2 4.1.3.1 4.1.4.1 4.1.4.1 4.1.4.1 4.1.4.1 4.1.4.1 4.1.4.1 4.1.4.3.2 4.1.4.3.2 4.1.4.3.2 4.1.4.3.2
   4.1.4.3.2 4.1.4.3.2 4.1.4.5.2 4.1.4.8.2 4.1.4.9.2 4.1.5.1.2.2 4.1.5.1.2.2 4.1.5.1.2.2 4.1.5.2.1 4.1.5.4.2
   5.1.3.1 5.1.4.2 5.1.4.2 5.1.4.2 5.1.4.2 5.1.4.2 5.1.6.2.1 5.1.6.2.1 5.1.6.2.1 5.1.6.2.1 5.1.6.2.1 5.1.6.2.1
   5.1.6.2.1 5.1.6.2.1 5.1.6.2.1 5.1.6.3.1 5.1.6.3.1 5.1.6.3.1 5.1.6.4.2 5.1.6.4.2 5.1.6.4.2 5.1.6.4.2 5.1.6.5.1.2
   5.1.6.5.2.2 5.1.6.5.4.1 5.1.6.5.6.1 5.1.6.5.6.1 5.1.6.5.6.1 5.1.6.5.6.1 5.1.6.5.7.2 5.1.6.5.7.2 5.1.6.5.7.2
   5.1.6.5.7.2 5.1.6.5.7.2 5.1.6.5.8.2 6.1 6.1 6.1 6.1 6.1 6.1`,
);

const device = sections(
  'B',
  `2.1.2 2.1.2 2.2.2 2.2.2 2.2.2 2.4.1 2.5.2 2.6.1.1.1 2.6.1.2.1 2.7.4.1 2.7.5.1 2.7.5.3.2 2.7.5.3.2 2.7.7.2 2.7.7.2
   2.7.8.2 2.7.10.2 2.8.12 2.8.15 2.8.18 5.1.4.1 5.1.6.2.2 5.1.6.3.2 5.1.6.4.1 5.1.6.5.1.1 5.1.6.5.2.1 5.1.6.5.4.2
   5.1.6.5.6 5.1.6.5.7.3 6.2`,
);

const lies = (prefix, count) =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`${prefix}${i + 1}`, { section: '' }]));

const because = (rules, ids, why) => {
  for (const id of ids) rules[id] = { ...rules[id], why };
};

const range = (prefix, first, last) => Array.from({ length: last - first + 1 }, (_, i) => `${prefix}${first + i}`);

const hostileDevice = lies('H', 14);
const hostileGuest = lies('G', 14);
because(driver, ['V29'], 'no test of its own: the fake device looks at it in every test of a split ring');
because(device, range('B', 25, 27), 'a vhost-user back end has no control queue: the front end answers these commands');
because(device, ['B28'], 'the front end enables pairs, ring by ring: see B1');
because(device, ['B29'], 'RSS is not offered');

export const LISTS = [
  { title: 'What a driver must do', rules: driver },
  { title: 'What a device must do', rules: device },
  { title: 'What a device may lie about', rules: hostileDevice },
  { title: 'What a guest may lie about', rules: hostileGuest },
];

/** Holes of others that cannot be here, and why. */
export const ELSEWHERE = {
  'CVE-2020-14374 to CVE-2020-14378':
    'of vhost-crypto, which is not offered; what is read twice `system/vhost-attack.test.ts` finds',
  'CVE-2020-12888': 'of VFIO: a BAR is touched only while its decoding is on, see `devios`',
};

/** Numbers that a test's title begins with: `V9, V11: …`, `V106 to V110: …`, `G4, CVE-2018-1059: …`. */
export function idsOf(title) {
  const head = /^((?:[VBHG]\d+|CVE-\d{4}-\d+)(?:(?:, | to )(?:[VBHG]\d+|CVE-\d{4}-\d+))*):/.exec(title)?.[1];
  if (head === undefined) return [];
  return head.split(', ').flatMap((part) => {
    const [first, last] = part.split(' to ');
    return last === undefined ? [first] : range(first[0], Number(first.slice(1)), Number(last.slice(1)));
  });
}

/** Folders of the tests. */
export const FOLDERS = ['test/drivers/virtio-net', 'test/drivers/vhost', 'test/vhost-user', 'test/virtio'];
