/** How a worker tells the device that a queue has something new, and that it has heard the device. Data half. */
import type { QueueContext } from '../../queue.ts';
import { BLOCK, type Block } from './block.ts';
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

/**
 * Makes the function that lets an interrupt line rise again: the ISR status is read, which makes the device release the
 * line (virtio 1.2 §4.1.4.5), and then the line is unmasked. To be called before the ring is looked at for the last time.
 * What the status says does not matter: the queue is looked at anyway, the configuration by the main thread.
 */
export function makeAcknowledge({ isr, unmask }: VirtioQueueData, context: QueueContext, { words }: Block): () => void {
  if (isr === 0) return () => {};
  const status = new Uint8Array(context.memory, isr, 1);
  return () => {
    words[BLOCK.isr] = status[0];
    context.kick(unmask);
  };
}
