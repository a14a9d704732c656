// A process with an engine of its own, for tests that kill it or let it run in another network namespace.
// argv: what it does ("open", "forward"), then port names. It says what became of it in one line of JSON, and waits.
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
  say({ ok: true });
  setInterval(() => {}, 1000);
} catch (error) {
  say({ ok: false, code: error.code, message: error.message });
}
