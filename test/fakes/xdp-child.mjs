// A process with an engine of its own, for tests that kill it or let it run in another network namespace.
// argv: what it does ("open", "start" and stop, "promiscuous" start, "forward"), then port names. It says what became of
// it in a line of JSON;
// but for "start" it waits then.
import { openEngine } from '../../dist/lib/index.js';

const [what, ...names] = process.argv.slice(2);
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

try {
  const engine = await openEngine({ frames: 8192 });
  const ports = [];
  for (const name of names) ports.push(await engine.open(name));
  if (what === 'forward') {
    const app = { module: 'l2fwd', options: { macUpdating: false } };
    const jobs = ports.map((port, i) => ({
      app,
      rx: { port: port.name },
      tx: [ports[ports.length - 1 - i].name],
      group: '0',
    }));
    await engine.run(jobs);
  }
  if (what === 'promiscuous') {
    for (const port of ports) {
      port.setPromiscuous(true);
      await port.start();
    }
  }
  if (what === 'start') {
    for (const port of ports) await port.start();
    await engine.close();
  }
  say({ ok: true });
  if (what !== 'start') setInterval(() => {}, 1000);
} catch (error) {
  say({ ok: false, code: error.code, message: error.message });
  process.exit();
}
