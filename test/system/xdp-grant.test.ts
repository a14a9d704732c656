/** `linecard grant` as root, and engines without any privilege that forward between real namespaces. */
import type { ChildProcess } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, expect } from 'vitest';
import { end } from '../fakes/bridge.ts';
import { Command, linecard } from '../fakes/command.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { dropWire, makeWire, sh, testAsRoot, type Wire, waitFor } from '../fakes/netns.ts';

const NOBODY = 65_534;
const inFolder = temporaryFolder();
const wires: Wire[] = [];
const children: ChildProcess[] = [];
const paths: string[] = [];
afterEach(() => {
  for (const child of children.splice(0)) end(child);
  for (const wire of wires.splice(0)) dropWire(wire);
  // A helper that was killed leaves its socket.
  for (const path of paths.splice(0)) rmSync(path, { force: true });
});

/** A user without any capability, now or ever. */
const without = (uid = NOBODY) => [
  'setpriv',
  `--reuid=${uid}`,
  `--regid=${uid}`,
  '--clear-groups',
  '--inh-caps=-all',
  '--bounding-set=-all',
  '--no-new-privs',
];
/** A pool that fits into the usual limit of locked memory. */
const SMALL = ['--frames', '3072', '--rxd', '512', '--txd', '512'];

function wire(host: number): Wire {
  const made = makeWire(host);
  wires.push(made);
  return made;
}

let made = 0;
async function helper(...args: string[]): Promise<{ command: Command; path: string }> {
  // The folder of the test's files is root's alone: whoever connects has to get there.
  const path = `/tmp/linecard-grant-${process.pid}-${made++}.sock`;
  paths.push(path);
  const command = new Command(['grant', ...args, '--socket', path]);
  children.push(command.child);
  await waitFor('it listens', () => command.stdout.includes('Ctrl-C') || command.child.exitCode !== null);
  return { command, path };
}

const granted = (path: string, ...of: Wire[]) => of.map(({ name }) => `xdp:${name},grant=${path}`);

function forward(path: string, a: Wire, b: Wire, ...more: string[]): Command {
  const args = ['l2fwd', ...granted(path, a, b), '--no-mac-updating', '-T', '0', ...SMALL, ...more];
  const command = new Command(args, { through: without() });
  children.push(command.child);
  return command;
}

const program = ({ name }: Wire): boolean => sh(`ip link show ${name}`).includes('prog/xdp');
/** Programs come before sockets: packets get through a little after them. */
async function forwards(a: Wire, b: Wire, engine: Command): Promise<void> {
  const ping = `ping -c 1 -W 1 ${b.address}`;
  await waitFor('it forwards', () => {
    if (engine.child.exitCode !== null) throw new Error(engine.stderr);
    return a.run(ping).then(
      () => true,
      () => false,
    );
  });
  expect([program(a), program(b)]).toEqual([true, true]);
}

testAsRoot('An engine without any privilege forwards ping, and gives all of it back in order', async () => {
  const [a, b] = [wire(1), wire(2)];
  const { command, path } = await helper(`xdp:${a.name}`, `xdp:${b.name}`, '--to', 'nobody');
  const engine = forward(path, a, b);
  await forwards(a, b, engine);
  const pid = engine.child.pid!;
  expect(sh(`grep -E ^(Uid|CapEff|CapPrm|NoNewPrivs): /proc/${pid}/status`).replaceAll('\t', ' ')).toBe(
    `Uid: ${NOBODY} ${NOBODY} ${NOBODY} ${NOBODY}\nCapPrm: 0000000000000000\nCapEff: 0000000000000000\nNoNewPrivs: 1\n`,
  );
  expect(await a.run(`ping -c 5 -i 0.2 -W 1 ${b.address}`)).toContain(' 0% packet loss');
  expect(await a.run(`ping -c 5 -i 0.2 -W 1 ${b.address6}`)).toContain(' 0% packet loss');
  engine.child.kill('SIGINT');
  expect(await engine.ended).toMatchObject({ code: 0, stdout: expect.stringContaining('Ledger: balanced') });
  await waitFor('the programs are gone', () => !program(a) && !program(b), 1000);
  expect(command.stdout).toContain(`xdp:${a.name}: process ${pid} of uid ${NOBODY} has it`);
  await waitFor('it says so', () => command.stdout.includes(`${pid} of uid ${NOBODY} gave it back`));
  command.child.kill('SIGINT');
  expect(await command.ended).toMatchObject({ code: 0, stderr: '' });
  expect(existsSync(path)).toBe(false);
});

testAsRoot('When the engine is killed, its programs are gone at once, and another engine follows it', async () => {
  const [a, b] = [wire(1), wire(2)];
  const { path } = await helper(`xdp:${a.name}`, `xdp:${b.name}`, '--to', String(NOBODY));
  for (let round = 0; round < 3; round++) {
    const engine = forward(path, a, b);
    await forwards(a, b, engine);
    expect(await a.run(`ping -c 3 -i 0.2 -W 1 ${b.address}`)).toContain(' 0% packet loss');
    engine.child.kill('SIGKILL');
    await engine.ended;
    await waitFor('the programs are gone', () => !program(a) && !program(b), 1000);
  }
});

testAsRoot(
  'When the helper is killed, the programs are gone, and the engine ends with an error that says so',
  async () => {
    const [a, b] = [wire(1), wire(2)];
    const { command, path } = await helper(`xdp:${a.name}`, `xdp:${b.name}`, '--to', String(NOBODY));
    const engine = forward(path, a, b);
    await forwards(a, b, engine);
    command.child.kill('SIGKILL');
    await command.ended;
    await waitFor('the programs are gone', () => !program(a) && !program(b), 1000);
    const { code, stderr } = await engine.ended;
    expect([code, stderr]).toEqual([1, expect.stringContaining('[GRANT_LOST]')]);
    expect(stderr).toContain('start linecard grant again');
    // What it has left behind is no obstacle to the next.
    expect(existsSync(path)).toBe(true);
    const next = new Command(['grant', `xdp:${a.name}`, '--to', String(NOBODY), '--socket', path]);
    children.push(next.child);
    await waitFor('it listens', () => next.stdout.includes('Ctrl-C'));
    next.child.kill('SIGTERM');
    expect((await next.ended).code).toBe(0);
  },
);

testAsRoot('Nobody but the named user gets anything, not even root', async () => {
  const a = wire(1);
  const { command, path } = await helper(`xdp:${a.name}`, '--to', '12345');
  const sink = ['sink', ...granted(path, a), '--time', '1', ...SMALL];
  const stranger = await linecard(sink, { through: without() });
  expect(stranger).toMatchObject({ code: 1, stderr: expect.stringMatching(/EACCES.*\[UNIX_CONNECT\]/) });
  const root = await linecard(sink);
  expect(root).toMatchObject({ code: 1, stderr: expect.stringMatching(/for another user.*\[GRANT_REFUSED\]/) });
  expect(command.stdout).toContain('of uid 0: uid 0 may not connect');
  expect(await linecard(sink, { through: without(12_345) })).toMatchObject({ code: 0 });
});

testAsRoot('A granted socket is good for its interface only, whatever its owner does with it', async () => {
  const [a, b] = [wire(1), wire(2)];
  const { path } = await helper(`xdp:${a.name}`, '--to', String(NOBODY));
  const script = fileURLToPath(new URL('../fakes/grant-engine.mjs', import.meta.url));
  expect(JSON.parse(sh([...without(), process.execPath, script, path, a.name, b.name]))).toEqual({
    ownSocket: 'socket -1',
    bindElsewhere: 'bind -22',
    unconfine: 'setsockopt -1',
    free: 'setsockopt -1',
    otherInterface: 'GRANT_REFUSED',
    again: 'GRANT_TAKEN',
  });
});

testAsRoot('An engine is promiscuous through the helper, until either ends', async () => {
  const [a, b] = [wire(1), wire(2)];
  const { path } = await helper(`xdp:${a.name}`, `xdp:${b.name}`, '--to', String(NOBODY));
  const promiscuity = () => Number(/promiscuity (\d+)/.exec(sh(`ip -d link show ${a.name}`))![1]);
  const engine = forward(path, a, b, '-P');
  await forwards(a, b, engine);
  expect(promiscuity()).toBe(1);
  engine.child.kill('SIGKILL');
  await engine.ended;
  await waitFor('it is no longer', () => promiscuity() === 0, 1000);
});

testAsRoot('Too little locked memory, and a wrong namespace, are named with what to do', async () => {
  const [a, b] = [wire(1), wire(2)];
  const { path } = await helper(`xdp:${a.name}`, '--to', String(NOBODY));
  const sink = ['sink', ...granted(path, a), '--time', '1'];
  const poor = await linecard(sink, { through: ['prlimit', '--memlock=65536:65536', ...without()] });
  expect(poor).toMatchObject({ code: 1, stderr: expect.stringMatching(/limited to 65536 bytes.*ulimit -l.*XSK_UMEM/) });
  // An interface of the same name, elsewhere.
  sh(`ip -n ${b.space} link add ${a.name} type veth peer name other`);
  const elsewhere = ['ip', 'netns', 'exec', b.space, ...without()];
  const other = await linecard(sink, { through: elsewhere });
  expect(other).toMatchObject({ code: 1, stderr: expect.stringContaining('[GRANT_NAMESPACE]') });
});

testAsRoot('The command line says what is wrong with what was typed, and with what there is', async () => {
  const a = wire(1);
  const path = inFolder('x.sock');
  const grant = (...args: string[]) => linecard(['grant', ...args, '--socket', path]);
  expect(await grant(`xdp:${a.name}`)).toMatchObject({ code: 2, stderr: expect.stringContaining('--to') });
  expect(await grant(`xdp:${a.name}`, '--to', 'no-such-user')).toMatchObject({ code: 2 });
  expect(await grant('xdp:nothing-there', '--to', '1')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('[NO_SUCH_INTERFACE]'),
  });
  for (const name of [
    'null:a',
    'xdp:',
    `xdp:${a.name},queues=3-1`,
    `xdp:${a.name},queues=256`,
    `xdp:${a.name},mode=skb`,
  ])
    expect(await grant(name, '--to', '1'), name).toMatchObject({ code: 2 });
  const unprivileged = await linecard(['grant', `xdp:${a.name}`, '--to', String(NOBODY)], { through: without() });
  expect(unprivileged).toMatchObject({ code: 1, stderr: expect.stringMatching(/EACCES|EPERM/) });
});
