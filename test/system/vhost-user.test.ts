/** Frames through both ends of a vhost-user socket, as the engine was built: no root, real protocol, real rings. */
import { type Engine, openEngine } from 'linecard';
import { afterEach, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../fakes/folder.ts';
import { waitFor } from '../fakes/netns.ts';

const inFolder = temporaryFolder();
const FRAMES = 50_000;
let made = 0;
const engines: Engine[] = [];

afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.close();
});

async function engineOf(): Promise<Engine> {
  const engine = await openEngine({ frames: 4096 });
  engines.push(engine);
  return engine;
}

const CASES = [
  ['split rings', '', ''],
  ['packed rings', '', ',packed=1'],
  ['split rings, no mergeable buffers', '', ',mergeable=0'],
  ['packed rings, no mergeable buffers', ',mergeable=0', ',packed=1'],
  ['without EVENT_IDX, INDIRECT_DESC and IN_ORDER', '', ',event-idx=0,indirect=0,in-order=0'],
] as const;

describe('one process, both ends', () => {
  it.each(CASES)(`${FRAMES} frames go there and back over %s`, async (_what, theirs, mine) => {
    const engine = await engineOf();
    const path = inFolder(`both-${made++}`);
    const back = await engine.open(`vhost-user:${path},memory=1${theirs}`);
    const front = await engine.open(`virtio-user:${path}${mine}`);
    const app = (module: string, options = {}) => ({ module, options });
    const run = await engine.run([
      { app: app('gen', { count: FRAMES }), tx: [front.name], group: 'a' },
      { app: app('sink'), rx: { port: front.name }, group: 'a' },
      { app: app('l2fwd'), rx: { port: back.name }, tx: [back.name], group: 'a' },
    ]);
    const received = () => run.stats().ports[front.name]!.rx.packets;
    await waitFor('all come back', () => received() === BigInt(FRAMES), 15_000);
    const { ledger, errors, ports } = await run.stop();
    expect(errors).toEqual([]);
    expect(ledger.errors).toEqual([]);
    expect(ledger.balanced).toBe(true);
    for (const name of [back.name, front.name]) {
      expect(ports[name]?.rx.packets).toBe(BigInt(FRAMES));
      expect(ports[name]?.tx.completed).toBe(BigInt(FRAMES));
    }
  });

  it.each([
    ['the back end listens', '', ''],
    ['the front end listens', ',client=1', ',server=1'],
  ])(
    'a back end that goes and comes back while frames flow: %s',
    async (_role, theirs, mine) => {
      const path = inFolder(`again-${made++}`);
      const [ours, others] = [await engineOf(), await engineOf()];
      const openBack = () => others.open(`vhost-user:${path},memory=1${theirs}`);
      let back = await openBack();
      const front = await ours.open(`virtio-user:${path}${mine}`);
      const run = await ours.run([
        { app: { module: 'gen', options: { rate: 20_000 } }, tx: [front.name], group: 'a' },
        { app: { module: 'sink', options: {} }, rx: { port: front.name }, group: 'a' },
      ]);
      const received = () => run.stats().ports[front.name]!.rx.packets;
      for (let i = 0; i < 5; i++) {
        const echo = await others.run([
          { app: { module: 'l2fwd', options: {} }, rx: { port: back.name }, tx: [back.name], group: 'a' },
        ]);
        await waitFor('the link is up', () => front.link().status === 'up', 1000);
        const before = received();
        await waitFor('frames flow', () => received() > before + 100n, 5000);
        await echo.stop();
        await others.close(back);
        await waitFor('the link is down', () => front.link().status === 'down', 1000);
        back = await openBack(); // its link is down until it is started
      }
      const { ledger } = await run.stop();
      expect(ledger.errors).toEqual([]);
      expect(ledger.balanced).toBe(true);
    },
    60_000,
  );
});

describe('what cannot be opened says why', () => {
  it('nobody listens', async () => {
    const engine = await engineOf();
    const name = `virtio-user:${inFolder('nobody')},wait=0`;
    await expect(engine.open(name)).rejects.toThrow(/nobody listens at .*start the back end first, or use server=1/);
  });

  it('somebody listens there already', async () => {
    const [a, b] = [await engineOf(), await engineOf()];
    const name = `vhost-user:${inFolder('taken')},memory=1`;
    await a.open(name);
    await expect(b.open(name)).rejects.toThrow(/somebody listens there/);
  });

  it('two ports at one end of a socket', async () => {
    const engine = await engineOf();
    const path = inFolder('twice');
    await engine.open(`vhost-user:${path},memory=1`);
    await expect(engine.open(`vhost-user:${path},memory=1`)).rejects.toMatchObject({ code: 'PORT_TAKEN' });
  });
});
