/** Memory ports as the framework would make them: a driver's probe over a real arena, and a worker's end of their queues. */
import { Arena } from '../../lib/arena/arena.ts';
import { asMemoryDevio, type MemoryDevio, memoryDevio } from '../../lib/devios/memory.ts';
import { memoryClass } from '../../lib/enumerators/memory.ts';
import type { Device, DeviceFacts, Driver, Enumerator } from '../../lib/framework/types.ts';
import type { Port } from '../../lib/pktio/port.ts';
import type { QueueModule, RxQueue, TxQueue } from '../../lib/queue.ts';
import { loadNative } from '../../native/index.ts';
import { FakeClock, type FakeStack, fakeStack } from './pcap-queues.ts';

/** A port and its worker. */
export interface OpenPort {
  readonly port: Port;
  readonly devio: MemoryDevio;
  rx(queue: number): RxQueue;
  tx(queue: number): TxQueue;
  /** Closes port and devio, in the framework's order. */
  close(): Promise<void>;
}

/** A machine with memory ports. */
export interface Machine {
  readonly arena: Arena;
  readonly stack: FakeStack;
  open(name: string): Promise<OpenPort>;
  /** Closes the arena; throws when a port left something in it. */
  close(): void;
}

const FRAMES = 1024;
const FRAME = 2048;

/** The device that the memory enumerator makes of `name`. */
async function deviceOf(name: string): Promise<Device> {
  const enumerators: Enumerator[] = [];
  await memoryClass().start({ addEnumerator: (e) => enumerators.push(e), removeEnumerator: async () => {} });
  const added: { address: string; facts: DeviceFacts }[] = [];
  await enumerators[0]?.start({ addDevice: (device) => added.push(device), removeDevice: async () => {} });
  enumerators[0]?.request?.(name);
  return added[0] as unknown as Device;
}

/** Makes a machine whose ports `driver` drives, with the queues of `module`. */
export function makeMachine(driver: Driver, module: QueueModule): Machine {
  const native = loadNative();
  const arena = new Arena(native);
  const frames = arena.mapMemory(FRAMES * FRAME);
  const stack = fakeStack(frames.offset, FRAMES, FRAME, 1792);
  const provider = memoryDevio(arena, { name: 'memory', version: 1 });
  const context = {
    memory: arena.memory,
    pool: stack.pool,
    stack,
    clock: new FakeClock(),
    kick: (fd: number) => native.notify(fd),
    kickTx: () => 0,
    kickRx: () => 0,
    scratch: (bytes: number) => arena.allocate(bytes),
  };
  return {
    arena,
    stack,
    async open(name) {
      const device = await deviceOf(name);
      const devio = asMemoryDevio(await provider.open(device));
      try {
        const port = (await driver.probe(device, devio, 0)) as Port;
        return {
          port,
          devio,
          rx: (queue) => module.makeRxQueue(port.queues.rx[queue]!.plan, context),
          tx: (queue) => module.makeTxQueue(port.queues.tx[queue]!.plan, context),
          async close() {
            await port.close();
            await devio.close();
          },
        };
      } catch (error) {
        await devio.close();
        throw error;
      }
    },
    close() {
      arena.unmap(frames);
      const left = arena.mapped().length;
      arena.close();
      if (left > 0) throw new Error(`${left} segments are still mapped`);
    },
  };
}
