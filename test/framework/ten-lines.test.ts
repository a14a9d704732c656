import { expect, it } from 'vitest';
import { defineClass, defineDevio, defineDriver } from '../../lib/framework/define.ts';
import { Framework } from '../../lib/framework/framework.ts';
import { FRAMEWORK_API } from '../../lib/framework/types.ts';
import { FakePktio, refusal } from '../fakes/framework.ts';

it('a user registers an enumerator, a devio and a driver of their own in ten lines', async () => {
  const shelf = { name: 'shelf', version: 1 };
  const touch = { name: 'devio-touch', version: 1 };
  const framework = new Framework();
  framework.registerClass(
    defineClass({
      name: 'toys',
      enumerators: [{ name: 'shelf', api: shelf, start: (host) => host.addDevice({ address: '0', facts: {} }) }],
    }),
  );
  framework.registerDevio(
    defineDevio({
      api: touch,
      backend: 'hand',
      enumeratorApi: shelf,
      open: () => ({ api: touch, backend: 'hand', close() {} }),
    }),
  );
  framework.registerDriver(
    defineDriver({
      name: 'toy',
      enumeratorClass: 'toys',
      devios: [touch],
      probe: (device) => new FakePktio(device.id, 'toy'),
    }),
  );
  await framework.start();

  expect(framework.device('toys/shelf/0')?.pktio?.name).toBe('toys/shelf/0');
  await framework.stop();
});

it('the shorthands fill in only what was left out', () => {
  const touch = { name: 'devio-touch', version: 1 };
  const probe = () => new FakePktio('', '');
  const driver = defineDriver({ name: 'toy', enumeratorClass: 'toys', devios: [touch], probe });
  expect(driver).toMatchObject({ version: '0.0.0', frameworkApi: FRAMEWORK_API, ids: [{}] });
  const stated = { version: '3', frameworkApi: 0, ids: [{ colour: 'red' }] };
  expect(defineDriver({ ...driver, ...stated })).toMatchObject(stated);
  expect(refusal(() => new Framework().registerDriver(defineDriver({ ...driver, frameworkApi: 0 })))).toBe(
    'BAD_FRAMEWORK_API',
  );
});
