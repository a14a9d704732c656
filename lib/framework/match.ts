/** Which drivers could take a device, and through which devio. Pure: it reads data and calls nobody. */

import type { DevioFacts, DriverFacts } from './records.ts';
import { apiText, sameApi } from './records.ts';
import type { Attempt, Device, DeviceId } from './types.ts';

/** A driver and a devio that fit a device as far as data can tell. */
export interface Candidate<R extends DriverFacts = DriverFacts, D extends DevioFacts = DevioFacts> {
  readonly driver: R;
  readonly devio: D;
  /** Of the devio's api in the driver's list. */
  readonly index: number;
}

/** One line of a match: something to try, or why not. */
export type Verdict<R extends DriverFacts, D extends DevioFacts> =
  | { readonly candidate: Candidate<R, D> }
  | { readonly refusal: Attempt };

type MatchDevice = Pick<Device, 'enumerator' | 'facts'>;

/**
 * Returns every candidate and every refusal, in the order in which they are tried: drivers by priority, equal ones by
 * registration; each driver's devios in its own order; back ends of one api by registration.
 */
export function match<R extends DriverFacts, D extends DevioFacts>(
  device: MatchDevice,
  drivers: readonly R[],
  devios: readonly D[],
): Verdict<R, D>[] {
  const inOrder = [...drivers].sort((a, b) => b.priority - a.priority);
  return inOrder.flatMap((driver) => {
    const reason = unfit(device, driver);
    if (reason !== undefined) return [{ refusal: refusal(driver, reason.stage, reason.text) }];
    return driver.devios.flatMap((_, index) => matchDevio(device, driver, index, devios));
  });
}

/** Whether each key of `id` is a fact of the device with that very value. */
export function selects(id: DeviceId, facts: Device['facts']): boolean {
  return Object.entries(id).every(([key, value]) => facts[key] === value);
}

function unfit(device: MatchDevice, driver: DriverFacts): { stage: 'class' | 'ids'; text: string } | undefined {
  const kind = device.enumerator.class;
  if (!driver.enumeratorClasses.includes(kind)) {
    const text = `it is for devices of class ${driver.enumeratorClasses.join(' or ')}, and this one is ${kind}`;
    return { stage: 'class', text };
  }
  if (driver.ids.some((id) => selects(id, device.facts))) return undefined;
  return { stage: 'ids', text: `none of its ${driver.ids.length} device ids has the facts of this device` };
}

/** The enumerator api is compared here, before anybody asks the devio: it never sees a foreign device. */
function matchDevio<R extends DriverFacts, D extends DevioFacts>(
  device: MatchDevice,
  driver: R,
  index: number,
  devios: readonly D[],
): Verdict<R, D>[] {
  const wanted = driver.devios[index]!;
  const offers = devios.filter((devio) => sameApi(devio.api, wanted));
  if (offers.length === 0) {
    const others = devios.filter((devio) => devio.api.name === wanted.name).map((devio) => apiText(devio.api));
    const known = others.length === 0 ? 'none of that name' : [...new Set(others)].join(', ');
    const text = `no devio offers ${apiText(wanted)} (registered: ${known})`;
    return [{ refusal: refusal(driver, 'devio', text, { devio: apiText(wanted) }) }];
  }
  return offers.map((devio) => {
    if (sameApi(devio.enumeratorApi, device.enumerator.api)) return { candidate: { driver, devio, index } };
    const text = `it reaches devices of ${apiText(devio.enumeratorApi)}, and this one is of ${apiText(device.enumerator.api)}`;
    const where = { devio: apiText(devio.api), backend: devio.backend };
    return { refusal: refusal(driver, 'enumerator-api', text, where) };
  });
}

function refusal(
  driver: DriverFacts,
  stage: Attempt['stage'],
  reason: string,
  where: { readonly devio: string; readonly backend?: string } = { devio: '' },
): Attempt {
  return {
    driver: driver.name,
    driverVersion: driver.version,
    devio: where.devio,
    backend: where.backend ?? '',
    stage,
    reason,
  };
}
