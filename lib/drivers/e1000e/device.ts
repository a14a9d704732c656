/** The `e1000e` driver: Intel 82574L as a port. Control half. */
import type { Driver } from '../../framework/types.ts';
import { LIMITS, type Limits } from '../gbe/controller.ts';
import { gbeDriver } from '../gbe/driver.ts';
import { E1000e } from './controller.ts';

/** PCI device id of the 82574L. */
const DEVICE = 0x10d3;

/** Makes the driver. `limits` are for tests. */
export const e1000eDriver = (limits: Limits = LIMITS): Driver =>
  gbeDriver('e1000e', DEVICE, (port, devio) => new E1000e(port, devio, limits));
