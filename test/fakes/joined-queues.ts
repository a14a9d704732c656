/**
 * A queue of the `virtio-net` driver and one of the `vhost` driver at the two ends of one virtqueue, each with frames of
 * its own memory's pool. Nobody plays either end: what one writes the other reads.
 */
import { readCounters } from '../../lib/arena/counters.ts';
import { Gate } from '../../lib/arena/gate.ts';
import { BLOCK_BYTES, VHOST_RX_NAMES, VHOST_TX_NAMES } from '../../lib/drivers/vhost/block.ts';
import { programRing } from '../../lib/drivers/vhost/program.ts';
import { makeRxQueue, makeTxQueue } from '../../lib/drivers/vhost/queue.ts';
import { COUNTER_NAMES } from '../../lib/pktio/memory-port.ts';
import type { QueuePlan, RxQueue, TxQueue } from '../../lib/queue.ts';
import { featureSet } from '../../lib/virtio/features.ts';
import { VirtioWorld, type WorldOptions } from './virtio-queues.ts';

/** Which way packets go. */
export type Way = 'to device' | 'to driver';

const CALL = 71;
/** What `VirtioWorld` kicks with. */
const KICK = 9;

/** The two ends. */
export class JoinedQueues {
  readonly world: VirtioWorld;
  readonly tx: TxQueue;
  readonly rx: RxQueue;
  private readonly device: QueuePlan;
  private readonly way: Way;

  constructor(way: Way, options: WorldOptions) {
    const world = new VirtioWorld(options);
    this.world = world;
    this.way = way;
    const block = world.scratch(BLOCK_BYTES);
    const direction = way === 'to device' ? 'rx' : 'tx';
    this.device = {
      ...{ module: '', direction, port: 'vhost-user:test', queue: 0, fd: -1 },
      counters: world.scratch(256),
      counterNames: [...COUNTER_NAMES[direction], ...(direction === 'rx' ? VHOST_RX_NAMES : VHOST_TX_NAMES)],
      maxLength: options.maxLength ?? 1518,
      data: { block },
      peer: [world.memory],
    };
    const at = (offset: number) => ({ window: 0, offset });
    const { size, desc, driver, device } = world.place;
    programRing(
      world.memory,
      block,
      {
        ...{ index: direction === 'rx' ? 1 : 0, size, packed: options.kind === 'packed', enabled: true },
        features:
          featureSet('VERSION_1') |
          (options.mergeable ? featureSet('MRG_RXBUF') : 0n) |
          (options.eventIdx ? featureSet('EVENT_IDX') : 0n) |
          (options.inOrder ? featureSet('IN_ORDER') : 0n),
        ...{ desc: at(desc), driver: at(driver), device: at(device) },
        base: { avail: 0, availWrap: true, used: 0, usedWrap: true },
        ...{ call: CALL, kick: -1, err: -1, inflight: undefined, log: undefined, logAddress: -1 },
        // A guest's addresses are arena offsets, as a virtio-user port tells them.
        regions: [{ gpa: 0, bytes: world.memory.byteLength, window: 0, offset: 0 }],
      },
      0,
    );
    new Gate(world.memory, block, () => {}).set(true);
    const ours = way === 'to device' ? world.makeTx() : world.makeRx();
    const theirs =
      way === 'to device' ? makeRxQueue(this.device, world.context) : makeTxQueue(this.device, world.context);
    [this.tx, this.rx] = (way === 'to device' ? [ours, theirs] : [theirs, ours]) as [TxQueue, RxQueue];
  }

  /** Whether the receiving end, or the sending end, was signalled since this was asked last. */
  signalled(end: 'rx' | 'tx'): boolean {
    const fd = (end === 'rx') === (this.way === 'to device') ? KICK : CALL;
    const found = this.world.kicks.includes(fd);
    for (let i = this.world.kicks.length - 1; i >= 0; i--)
      if (this.world.kicks[i] === fd) this.world.kicks.splice(i, 1);
    return found;
  }

  /** Counters of the sending and the receiving end that are not 0. */
  get counted(): { readonly tx: Record<string, number>; readonly rx: Record<string, number> } {
    const { world, device, way } = this;
    const ours = world.counters(way === 'to device' ? 'tx' : 'rx');
    const read = readCounters(world.memory, device.counters, device.counterNames);
    const theirs = Object.fromEntries(Object.entries(read).map(([name, n]) => [name, Number(n)]));
    const some = (all: Record<string, number>) => Object.fromEntries(Object.entries(all).filter(([, n]) => n !== 0));
    return way === 'to device' ? { tx: some(ours), rx: some(theirs) } : { tx: some(theirs), rx: some(ours) };
  }
}
