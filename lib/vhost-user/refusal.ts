/** What is said of a message that is not accepted. */
import { DeviceError } from '../errors.ts';

/** The peer's message is wrong: malformed, out of bounds, out of order, not negotiated. It changes nothing. */
export class Refusal extends DeviceError {}

/** The error for `message`. */
export function refusal(message: string, why: string, code = 'VHOST_REFUSED'): Refusal {
  return new Refusal(code, {
    what: `vhost-user ${message}`,
    why,
    fix: 'look at what the other end is, and at its log',
  });
}
