/** What the registry demands of an object before it takes it. Pure; every refusal is a `RegistryError`. */
import { RegistryError } from '../errors.ts';
import type { Api, DeviceFacts, DevioProvider, Driver, Enumerator, EnumeratorClass, ObjectInfo } from './types.ts';
import { FRAMEWORK_API } from './types.ts';

/** No `/`: it separates the parts of a device's id. No truncation: a name that is too long is refused. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._:+-]{0,62}$/;
const NAME_RULE = 'use 1 to 63 letters, digits and . _ : + -, beginning with a letter or digit';
const MAX_ADDRESS = 4096;
const SCALARS = ['string', 'number', 'boolean'];

function refuse(code: string, what: string, why: string, fix: string): never {
  throw new RegistryError(code, { what, why, fix });
}

/** A value as a refusal shows it: short, and visible when it is empty. */
const shown = (value: unknown): string => {
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
};

function checkName(what: string, label: string, name: unknown): void {
  if (typeof name !== 'string' || !NAME.test(name)) {
    refuse('BAD_NAME', what, `its ${label} ${shown(name)} is not allowed`, NAME_RULE);
  }
}

/** Refuses with `BAD_API`: an empty name never gets in, so it never matches anything either. */
function checkApi(what: string, label: string, api: unknown): void {
  const { name, version } = (api ?? {}) as Partial<Api>;
  if (typeof name !== 'string' || !NAME.test(name)) {
    refuse('BAD_API', what, `the name ${shown(name)} of its ${label} is not allowed`, NAME_RULE);
  }
  if (!Number.isSafeInteger(version) || Number(version) < 0) {
    refuse('BAD_API', what, `the version ${shown(version)} of its ${label} is not a version`, 'use an integer from 0');
  }
}

function checkCallbacks(what: string, object: object, needed: readonly string[], optional: readonly string[]): void {
  for (const [key, value] of [...needed, ...optional].map((k) => [k, Reflect.get(object, k)] as const)) {
    if (typeof value === 'function' || (value === undefined && optional.includes(key))) continue;
    refuse('MISSING_CALLBACK', what, `its ${key} is ${shown(value)}`, `give it a function ${key}()`);
  }
}

/** Returns how messages call the object. The framework API comes first: of another one, nothing else means anything. */
function checkInfo(kind: string, object: ObjectInfo): string {
  if (typeof object !== 'object' || object === null) {
    refuse('BAD_OBJECT', kind, `${shown(object)} is not an object`, `pass the ${kind} itself`);
  }
  const what = `${kind} ${shown(object.name)}`;
  if (object.frameworkApi !== FRAMEWORK_API) {
    const why = `it was written for framework API ${shown(object.frameworkApi)}, and this is ${FRAMEWORK_API}`;
    refuse('BAD_FRAMEWORK_API', what, why, `use a release of it that states frameworkApi ${FRAMEWORK_API}`);
  }
  checkName(what, 'name', object.name);
  if (typeof object.version !== 'string' || object.version === '' || object.version.length > 63) {
    refuse(
      'BAD_VERSION',
      what,
      `its version ${shown(object.version)} is not allowed`,
      'use 1 to 63 characters: "1.0.0"',
    );
  }
  return what;
}

/** Checks an enumerator class. */
export function checkClass(object: EnumeratorClass): void {
  checkCallbacks(checkInfo('class', object), object, ['start'], ['stop']);
}

/** Checks an enumerator. */
export function checkEnumerator(object: Enumerator): void {
  const what = checkInfo('enumerator', object);
  checkApi(what, 'api', object.api);
  checkCallbacks(what, object, ['start'], ['stop', 'request', 'describe']);
}

/** Checks a devio. */
export function checkDevio(object: DevioProvider): void {
  const what = checkInfo('devio', object);
  checkApi(what, 'api', object.api);
  checkApi(what, 'enumeratorApi', object.enumeratorApi);
  checkName(what, 'backend', object.backend);
  checkCallbacks(what, object, ['usable', 'open'], ['stop']);
}

/** Checks a driver. */
export function checkDriver(object: Driver): void {
  const what = checkInfo('driver', object);
  const classes = [object.enumeratorClass].flat();
  if (classes.length === 0) refuse('BAD_NAME', what, 'it names no enumeratorClass', NAME_RULE);
  for (const name of classes) checkName(what, 'enumeratorClass', name);
  if (!Array.isArray(object.ids) || object.ids.length === 0) {
    refuse('NO_IDS', what, 'it names no device ids', 'list at least one; {} selects every device of its class');
  }
  for (const id of object.ids) checkFacts(what, 'BAD_IDS', id);
  if (!Array.isArray(object.devios) || object.devios.length === 0) {
    refuse('NO_DEVIOS', what, 'it names no devio', 'list at least one devio api that it can work with');
  }
  for (const api of object.devios) checkApi(what, 'devio', api);
  const names = object.devios.map((api) => `${api.name} ${api.version}`);
  if (new Set(names).size < names.length) {
    refuse('BAD_API', what, `it lists a devio twice: ${names.join(', ')}`, 'list each once, in order of preference');
  }
  if (object.priority !== undefined && !Number.isFinite(object.priority)) {
    refuse('BAD_PRIORITY', what, `its priority is ${shown(object.priority)}`, 'use a number, or leave it out for 0');
  }
  if (object.handover !== undefined) checkName(what, 'handover', object.handover);
  if ((object.handover === undefined) !== (object.succeed === undefined)) {
    refuse('BAD_HANDOVER', what, 'it has one of handover and succeed', 'state both, or neither');
  }
  checkCallbacks(what, object, ['probe'], ['stop', 'succeed']);
}

function checkFacts(what: string, code: string, facts: DeviceFacts): void {
  if (typeof facts !== 'object' || facts === null || Array.isArray(facts)) {
    refuse(code, what, `${shown(facts)} is not an object of facts`, 'use { key: value }');
  }
  for (const [key, value] of Object.entries(facts)) {
    if (!SCALARS.includes(typeof value))
      refuse(code, what, `${key} is ${shown(value)}`, 'use a string, number or boolean');
  }
}

/** Checks a device as an enumerator describes it. Addresses are free text: some are port names with paths in them. */
export function checkDevice(
  enumerator: string,
  device: { readonly address: string; readonly facts: DeviceFacts },
): void {
  const { address, facts } = device;
  const what = `device ${shown(address)} of enumerator ${enumerator}`;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not get into ids and messages
  if (typeof address !== 'string' || address === '' || address.length > MAX_ADDRESS || /[\0-\x1f\x7f]/.test(address)) {
    refuse('BAD_ADDRESS', what, 'that is no address', `use 1 to ${MAX_ADDRESS} characters without control characters`);
  }
  checkFacts(what, 'BAD_FACTS', facts);
}
