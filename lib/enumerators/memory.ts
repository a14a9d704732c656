/** Enumerator class `memory`: ports that exist because their name was asked for: `null`, `loop`, `pair`. */
import { type Api, type DeviceFacts, type EnumeratorClass, type EnumeratorHost, FRAMEWORK_API } from '../framework/types.ts';
import { badName, parsePortName, wholeOption } from './options.ts';

/** Facts are `kind`, `name`, and per kind `size`, `ring`, `side`. */
export const MEMORY_ENUMERATOR_API: Api = { name: 'memory', version: 1 };

/** What the accepted names look like. */
export const MEMORY_PORT_NAMES = ['null:NAME[,size=BYTES]', 'loop:NAME[,ring=N]', 'pair:NAME/0|1[,ring=N]'];

interface Wanted {
  readonly address: string;
  readonly facts: DeviceFacts;
}

function ringOption(text: string, name: ReturnType<typeof parsePortName>): number {
  const ring = wholeOption(text, name, 'ring', 1024, 64, 32_768);
  if ((ring & (ring - 1)) === 0) return ring;
  throw badName(text, `ring=${ring} is not a power of two`, 'use 64, 128 … 32768');
}

const KINDS: Readonly<Record<string, ((text: string) => Wanted) | undefined>> = {
  __proto__: null as never,
  null: (text) => {
    const name = parsePortName(text, ['size']);
    const size = wholeOption(text, name, 'size', 60, 14, 65_000);
    return { address: `null:${name.name}`, facts: { kind: 'null', name: name.name, size } };
  },
  loop: (text) => {
    const name = parsePortName(text, ['ring']);
    return { address: `loop:${name.name}`, facts: { kind: 'loop', name: name.name, ring: ringOption(text, name) } };
  },
  pair: (text) => {
    const name = parsePortName(text, ['ring']);
    const end = /^(?<link>[^/]+)\/(?<side>[01])$/.exec(name.name)?.groups;
    if (end === undefined) throw badName(text, 'it does not say which end of which pair', 'write pair:NAME/0 or pair:NAME/1');
    const facts = { kind: 'pair', name: end.link, side: Number(end.side), ring: ringOption(text, name) };
    return { address: `pair:${name.name}`, facts };
  },
};

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
          const wanted = KINDS[text.slice(0, Math.max(0, text.indexOf(':')))]?.(text);
          if (wanted !== undefined) devices?.addDevice(wanted);
          return wanted?.address;
        },
      });
    },
  };
}
