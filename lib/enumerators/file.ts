/** Enumerator class `file`: ports over capture files, which exist because their name was asked for: `pcap:…`. */
import { type Api, type EnumeratorClass, type EnumeratorHost, FRAMEWORK_API } from '../framework/types.ts';
import { badName, parsePortName, wholeOption } from './options.ts';

/** Facts are `kind`, `in`, `out` (paths, or empty), `loops` and `timing`. */
export const FILE_ENUMERATOR_API: Api = { name: 'file', version: 1 };

/** What the accepted names look like. */
export const FILE_PORT_NAMES = ['pcap:IN[,out=OUT][,loops=N][,timing=topspeed|original]', 'pcap:out=OUT'];

const PREFIX = 'pcap:';
const OPTIONS = ['in', 'out', 'loops', 'timing'];
const TIMINGS = ['topspeed', 'original'];
const MAX_LOOPS = 2 ** 31 - 1;

/** The facts of a `pcap` device. */
export interface PcapFacts {
  readonly kind: 'pcap';
  /** The file to replay, or the empty string. */
  readonly in: string;
  /** The file to record to, or the empty string. */
  readonly out: string;
  /** How often to replay; 0 is for ever. */
  readonly loops: number;
  readonly timing: 'topspeed' | 'original';
}

/** Takes a `pcap:` port name apart. Throws `BAD_PORT_NAME`. */
export function pcapFacts(text: string): PcapFacts {
  const name = parsePortName(text, OPTIONS);
  if (name.name !== '' && name.options.has('in')) throw badName(text, 'it names an input file twice', 'name it once');
  const input = name.name === '' ? (name.options.get('in') ?? '') : name.name;
  const out = name.options.get('out') ?? '';
  for (const key of ['in', 'out'])
    if (name.options.get(key) === '') throw badName(text, `${key} has no file`, `write ${key}=FILE`);
  if (input === '' && out === '') throw badName(text, 'it names no file', `write ${FILE_PORT_NAMES.join(' or ')}`);
  const timing = name.options.get('timing') ?? 'topspeed';
  if (!TIMINGS.includes(timing)) throw badName(text, `there is no timing "${timing}"`, `use ${TIMINGS.join(' or ')}`);
  for (const key of ['loops', 'timing']) {
    if (input === '' && name.options.has(key))
      throw badName(text, `${key} is about an input file, and it names none`, `leave ${key} out, or name one`);
  }
  const loops = wholeOption(text, name, 'loops', 1, 0, MAX_LOOPS);
  return { kind: 'pcap', in: input, out, loops, timing: timing as PcapFacts['timing'] };
}

/** Makes the class. */
export function fileClass(): EnumeratorClass {
  const info = { name: 'file', version: '1.0.0', frameworkApi: FRAMEWORK_API };
  return {
    ...info,
    start(host) {
      let devices: EnumeratorHost | undefined;
      host.addEnumerator({
        ...info,
        api: FILE_ENUMERATOR_API,
        portNames: FILE_PORT_NAMES.join(', '),
        start(given) {
          devices = given;
        },
        request(text) {
          if (!text.startsWith(PREFIX)) return undefined;
          devices?.addDevice({ address: text, facts: { ...pcapFacts(text) } });
          return text;
        },
      });
    },
  };
}
