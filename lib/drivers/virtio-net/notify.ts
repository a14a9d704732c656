/** How a worker tells the device that a queue has something new. Data half. */
import type { QueueContext } from '../../queue.ts';
import type { VirtioQueueData } from './data.ts';

/**
 * Makes the function that notifies the device of a queue: an eventfd, or a plain store to a register (docs/adr/0003).
 * `position` is the queue's, as NOTIFICATION_DATA wants it in the upper half (virtio 1.2 §2.9).
 */
export function makeNotify(data: VirtioQueueData, context: QueueContext): (position: number) => void {
  const { kickFd, kickRegister, kickValue, kickWidth, position: withPosition } = data;
  if (kickRegister === 0) return kickFd < 0 ? () => {} : () => context.kick(kickFd);
  if (kickWidth === 2) {
    const register = new Uint16Array(context.memory, kickRegister, 1);
    return () => {
      register[0] = kickValue;
    };
  }
  const register = new Int32Array(context.memory, kickRegister, 1);
  const positionMask = withPosition === 0 ? 0 : 0xffff;
  return (position) => {
    register[0] = (kickValue & 0xffff) | ((position & positionMask) << 16);
  };
}
