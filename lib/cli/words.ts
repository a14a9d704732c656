/** What the library calls its options, as the command line calls them. Pure. */

/** Settings of ports and engines that have a name of their own here. */
const NAMES: Readonly<Record<string, string>> = {
  rxQueues: '-q',
  rxRing: '--rxd',
  txRing: '--txd',
  frameSize: '--frame-size',
  idleUs: '--idle-us',
  arenaBytes: '--arena',
};

/** In this order: phrases before the words in them. */
const WORDS: readonly (readonly [RegExp, string])[] = [
  [/\boption "(size|rate|flows|count|destination|verify)" of (gen|sink)\b/g, 'option --$1 of $2'],
  [/\boption "firstFlow" of gen\b/g, 'option --first-flow of gen'],
  [/\b(?:engine option|setting) promiscuous\b/g, 'option -P'],
  [/\b(?:engine option|setting) (burst|cpus|mode|frames|hugepages|mtu)\b/g, 'option --$1'],
  [/\b(?:engine option|setting) /g, 'option '],
  [/\bopen the engine with\b/g, 'use'],
  [/\bmore frames\b/g, 'more frames (--frames)'],
  [/\bfewer or smaller frames\b/g, 'fewer or smaller frames (--frames, --frame-size)'],
  [/\bhugepages: '(\w+)'/g, '--hugepages $1'],
  [/\(mtu: (\d+)\)/g, '(--mtu $1)'],
];

/** Replaces names of the library's options in a message by the command line's. */
export function inOptions(text: string): string {
  const said = WORDS.reduce((before, [pattern, word]) => before.replace(pattern, word), text);
  // `rxQueues: 8` is a setting and its value, `setting rxQueues: 9 is …` the beginning of a sentence.
  return said.replace(
    /\b(option )?(rxQueues|rxRing|txRing|frameSize|idleUs|arenaBytes)\b(: (?=\d))?/g,
    (_, option: string | undefined, name: string, colon = '') =>
      option === undefined ? `${NAMES[name]}${colon === '' ? '' : ' '}` : `${option}${NAMES[name]}${colon}`,
  );
}
