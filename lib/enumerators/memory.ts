/** Enumerator class `memory`: ports that exist because their name was asked for: `null`, `loop`, `pair`. */
import {
  type Api,
  type DeviceFacts,
  type EnumeratorClass,
  type EnumeratorHost,
  FRAMEWORK_API,
} from '../framework/types.ts';
import { MIN_FRAME_LENGTH } from '../queue.ts';
import { badName, type PortName, parsePortName, wholeOption } from './options.ts';

/** Facts are `kind`, `name`, and per kind `size`, `ring`, `side`. */
export const MEMORY_ENUMERATOR_API: Api = { name: 'memory', version: 1 };

/** What the accepted names look like. */
export const MEMORY_PORT_NAMES = ['null:NAME[,size=BYTES]', 'loop:NAME[,ring=N]', 'pair:NAME/0|1[,ring=N]'];

interface Wanted {
  readonly address: string;
  readonly facts: DeviceFacts;
}

/** A port of nothing but a kind and a name of its own. */
function nameOf(text: string, { name }: PortName): string {
  if (name !== '') return name;
  throw badName(text, 'it has no name', `write ${MEMORY_PORT_NAMES.join(' or ')}`);
}

function ringOption(text: string, name: PortName): number {
  const ring = wholeOption(text, name, 'ring', 1024, 64, 32_768);
  if ((ring & (ring - 1)) === 0) return ring;
  throw badName(text, `ring=${ring} is not a power of two`, 'use 64, 128 … 32768');
}

/** What the port name `text` asks for, or undefined when it is none of these kinds. Throws `BAD_PORT_NAME`. */
function wanted(text: string): Wanted | undefined {
  const colon = text.indexOf(':');
  const kind = text.slice(0, Math.max(0, colon));
  if (kind === 'null') {
    const parsed = parsePortName(text, ['size']);
    const name = nameOf(text, parsed);
    const size = wholeOption(text, parsed, 'size', 60, MIN_FRAME_LENGTH, 65_000);
    return { address: `null:${name}`, facts: { kind, name, size } };
  }
  if (kind === 'loop') {
    const parsed = parsePortName(text, ['ring']);
    const name = nameOf(text, parsed);
    return { address: `loop:${name}`, facts: { kind, name, ring: ringOption(text, parsed) } };
  }
  if (kind !== 'pair') return undefined;
  const parsed = parsePortName(text, ['ring']);
  const end = /^(?<name>[^/]+)\/(?<side>[01])$/.exec(nameOf(text, parsed))?.groups;
  if (end === undefined) {
    throw badName(text, 'it does not say which end of which pair', 'write pair:NAME/0 or pair:NAME/1');
  }
  const facts = { kind, name: end.name, side: Number(end.side), ring: ringOption(text, parsed) };
  return { address: `pair:${parsed.name}`, facts };
}

/** Makes the class. */
export function memoryClass(): EnumeratorClass {
  const info = { name: 'memory', version: '1.0.0', frameworkApi: FRAMEWORK_API };
  return {
    ...info,
    start(host) {
      let devices: EnumeratorHost | undefined;
      host.addEnumerator({
        ...info,
        api: MEMORY_ENUMERATOR_API,
        portNames: MEMORY_PORT_NAMES.join(', '),
        start: (given) => {
          devices = given;
        },
        request(text) {
          const port = wanted(text);
          if (port !== undefined) devices?.addDevice(port);
          return port?.address;
        },
      });
    },
  };
}
