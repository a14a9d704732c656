/** Enumerator class `socket`: ports at the ends of unix sockets, made because their name was asked for. */
import {
  type Api,
  type DeviceFacts,
  type EnumeratorClass,
  type EnumeratorHost,
  FRAMEWORK_API,
} from '../framework/types.ts';
import { badName, type Options, optionValues, parsePortName } from './options.ts';

/** Facts are `kind`, `path`, and what was asked for, by name: flags as booleans, numbers as numbers. */
export const SOCKET_ENUMERATOR_API: Api = { name: 'socket', version: 1 };

/** What the accepted names look like. */
export const SOCKET_PORT_NAMES = [
  'virtio-user:PATH[,server=1][,queues=N][,packed=1][,mac=…][,mtu=N][,wait=S][,mergeable=0]…',
  'vhost-user:PATH[,client=1][,queues=N][,packed=0][,mac=…][,mtu=N][,memory=GIB][,uid=N][,mergeable=0]…',
];

/** Longest path of a unix socket (unix(7)). */
const MOST_PATH = 107;
const MOST_QUEUES = 128;

const COMMON: Options = {
  queues: { is: 'number', min: 1, max: MOST_QUEUES, absent: 1 },
  packed: { is: 'flag' },
  mac: { is: 'mac' },
  mtu: { is: 'number', min: 68, max: 65_535 },
  // Features that are used when both ends have them, unless one is told not to.
  mergeable: { is: 'flag' },
  'in-order': { is: 'flag' },
  'event-idx': { is: 'flag' },
  indirect: { is: 'flag' },
  // Checksums left to the other end: a back end offers it unless told not to, a front end takes it only when told to.
  csum: { is: 'flag' },
};

const KINDS: Readonly<Record<string, Options>> = {
  'virtio-user': {
    ...COMMON,
    server: { is: 'flag', absent: false },
    inflight: { is: 'flag', absent: false },
    // Seconds to wait for the back end when the port is opened.
    wait: { is: 'number', min: 0, max: 9, absent: 3 },
  },
  'vhost-user': {
    ...COMMON,
    client: { is: 'flag', absent: false },
    // GiB of addresses for the front end's memory.
    memory: { is: 'number', min: 1, max: 1024, absent: 8 },
    uid: { is: 'number', min: 0, max: 2 ** 32 - 2 },
  },
};

/** The facts of a port name, or undefined when it is none of ours. Throws `BAD_PORT_NAME`. */
export function socketFacts(text: string): DeviceFacts | undefined {
  const kind = text.slice(0, Math.max(0, text.indexOf(':')));
  const options = Object.hasOwn(KINDS, kind) ? KINDS[kind] : undefined;
  if (options === undefined) return undefined;
  const name = parsePortName(text, Object.keys(options));
  const bytes = Buffer.byteLength(name.name);
  if (bytes === 0) throw badName(text, 'it names no socket', `write ${SOCKET_PORT_NAMES.join(' or ')}`);
  if (bytes > MOST_PATH || name.name.includes('\0'))
    throw badName(text, `the path has ${bytes} bytes, and ${MOST_PATH} are possible`, 'use a shorter one');
  return { kind, path: name.name, ...optionValues(text, name, options) };
}

/** Makes the class. A device's address is its kind and path: there is one port at each end of a socket. */
export function socketClass(): EnumeratorClass {
  const info = { name: 'socket', version: '1.0.0', frameworkApi: FRAMEWORK_API };
  return {
    ...info,
    start(host) {
      let devices: EnumeratorHost | undefined;
      host.addEnumerator({
        ...info,
        api: SOCKET_ENUMERATOR_API,
        portNames: SOCKET_PORT_NAMES.join(', '),
        start(given) {
          devices = given;
        },
        request(text) {
          const facts = socketFacts(text);
          if (facts === undefined) return undefined;
          const address = `${facts.kind}:${facts.path}`;
          devices?.addDevice({ address, facts });
          return address;
        },
      });
    },
  };
}
