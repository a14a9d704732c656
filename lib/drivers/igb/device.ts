/** The `igb` driver: Intel 82576 as a port. Control half. */
import type { Driver } from '../../framework/types.ts';
import { LIMITS, type Limits } from '../gbe/controller.ts';
import { gbeDriver } from '../gbe/driver.ts';
import { Igb } from './controller.ts';

/** PCI device id of the 82576 with copper ports. */
const DEVICE = 0x10c9;

/** Makes the driver. `limits` are for tests. */
export const igbDriver = (limits: Limits = LIMITS): Driver =>
  gbeDriver('igb', DEVICE, (port, devio) => new Igb(port, devio, limits));
