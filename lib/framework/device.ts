/** A device inside the framework: its state, its binding, and what was tried for it. */

import type { Pktio } from '../pktio/types.ts';
import type { Candidate } from './match.ts';
import type { DevioRecord, DriverRecord, EnumeratorRecord } from './records.ts';
import { apiText } from './records.ts';
import { nextState } from './states.ts';
import type { Attempt, Device, DeviceFacts, DeviceState, Devio } from './types.ts';

/** What a bound device consists of. */
export interface Binding {
  readonly driver: DriverRecord;
  readonly provider: DevioRecord;
  readonly devio: Devio;
  readonly pktio: Pktio;
  /** Somebody holds the port since a `request`: it ends with the binding. */
  claimed: boolean;
}

type Outcome = Candidate<DriverRecord, DevioRecord> & { readonly attempt: Attempt };

/** The framework's own side of a device. */
export class DeviceRecord {
  readonly enumerator: EnumeratorRecord;
  readonly address: string;
  readonly facts: DeviceFacts;
  readonly id: string;
  /** What everyone else holds. One object for the device's whole life. */
  readonly view: Device;
  binding: Binding | undefined;
  /** Why it failed, while it has. */
  failure: Error | undefined;
  /** `device-added` was emitted. */
  announced = false;
  /** It was made for a port name, and goes when the port is released. */
  requested = false;
  /** It was unbound by request, and stays so until the next request. */
  held = false;
  /** Its removal, from when it is asked for. */
  leaving: Promise<void> | undefined;
  /** Drivers whose probe of this device passed its deadline: it may still be going on, beside a new one. */
  readonly hung = new Set<DriverRecord>();
  #state: DeviceState = 'unbound';
  #outcomes: Outcome[] = [];

  constructor(enumerator: EnumeratorRecord, device: { readonly address: string; readonly facts: DeviceFacts }) {
    this.enumerator = enumerator;
    this.address = device.address;
    this.facts = Object.freeze({ ...device.facts });
    this.id = `${enumerator.id}/${device.address}`;
    this.view = viewOf(this);
  }

  get state(): DeviceState {
    return this.#state;
  }

  move(to: DeviceState): void {
    this.#state = nextState(this.id, this.#state, to);
  }

  /** What came of this candidate, if it was tried. */
  attempt(driver: DriverRecord, devio: DevioRecord): Attempt | undefined {
    return this.#outcomes.find((o) => o.driver === driver && o.devio === devio)?.attempt;
  }

  record(candidate: Candidate<DriverRecord, DevioRecord>, stage: Attempt['stage'], reason: string): void {
    const { driver, devio } = candidate;
    const names = { driver: driver.name, driverVersion: driver.version };
    const attempt = { ...names, devio: apiText(devio.api), backend: devio.backend, stage, reason };
    this.#outcomes.push({ ...candidate, attempt });
  }

  /** From here on each candidate may be tried again, once. */
  forget(): void {
    this.#outcomes = [];
    this.hung.clear();
  }
}

function viewOf(record: DeviceRecord): Device {
  const { name, owner, api } = record.enumerator;
  const enumerator = Object.freeze({ name, class: owner.name, api });
  return Object.freeze({
    address: record.address,
    id: record.id,
    enumerator,
    facts: record.facts,
    get state() {
      return record.state;
    },
    get driver() {
      return record.binding?.driver.name;
    },
    get devio() {
      const provider = record.binding?.provider;
      return provider && { api: provider.api, backend: provider.backend };
    },
    get pktio() {
      return record.binding?.pktio;
    },
  });
}
