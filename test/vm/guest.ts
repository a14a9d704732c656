/**
 * A QEMU guest under software emulation, for tests of what needs hardware or another kernel: Debian's kernel on this
 * machine's own root, read-only (`image.sh`, `init.sh`). Commands run in it as root; its devices are QEMU's.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { packageRoot } from '../../bench/root.ts';

/** Where images are kept: outside the tree, since they take a minute to make. */
const IMAGES = process.env.LINECARD_VM_CACHE ?? join(homedir(), '.cache/linecard-vm');
const BOOT_MS = 120_000;
const QMP_MS = 10_000;

/** How to start a guest. */
export interface GuestOptions {
  /** MiB. */
  readonly memory?: number;
  readonly cpus?: number;
  /** QEMU's machine; q35 if absent. */
  readonly machine?: string;
  /** The guest's memory as a memfd that a vhost-user back end can map. */
  readonly shared?: boolean;
  /** Further arguments of QEMU: devices, netdevs. They come first, as an IOMMU must. */
  readonly args?: readonly string[];
  /** Network namespace of its process, for netdevs that are interfaces of it. */
  readonly netns?: string;
  /** Debian's backported QEMU instead of the installed one: with one cpu, it is only reliable so. */
  readonly backported?: boolean;
  /** Further words of the kernel's command line. */
  readonly append?: string;
}

/** What a command left behind. */
export interface Answer {
  readonly status: number;
  readonly output: string;
}

/** Makes the images if they are not there, and the backported QEMU if it is asked for. Throws with what was said when that fails. */
export function makeImages(backported = false): void {
  for (const script of ['image.sh', ...(backported ? ['backports.sh'] : [])])
    execFileSync('bash', [join(packageRoot(), 'test/vm', script), IMAGES], { stdio: 'pipe' });
}

/** The program, and what it needs to be told to find its own firmware. */
function qemuProgram({ backported = false }: GuestOptions): readonly [program: string, args: readonly string[]] {
  if (!backported) return ['qemu-system-x86_64', []];
  const place = join(IMAGES, 'qemu');
  return [join(place, 'usr/bin/qemu-system-x86_64'), ['-L', join(place, 'firmware')]];
}

// ERMS and FSRM off: the kernel's "rep movsb" goes byte by byte under emulation.
const CPU = 'max,-erms,-fsrm,-smap,-smep,-la57,-pku';
// The kernel counts ticks to see whether its timer works, and panics when the emulator was not let run meanwhile.
const KERNEL_LINE =
  'no_timer_check console=ttyS0 quiet panic=-1 mitigations=off nokaslr norandmaps audit=0 apparmor=0 nowatchdog';

function qemuArguments(folder: string, options: GuestOptions): string[] {
  const { memory = 768, cpus = 1, machine = 'q35', shared = false, args = [], append = '' } = options;
  const share = (tag: string, path: string) => [
    ...['-fsdev', `local,id=${tag},path=${path},security_model=none,readonly=on,multidevs=remap`],
    ...['-device', `virtio-9p-pci,fsdev=${tag},mount_tag=${tag}`],
  ];
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-accel', 'tcg,thread=multi'],
    ...[
      '-machine',
      `${machine}${shared ? ',memory-backend=memory' : ''}`,
      '-cpu',
      CPU,
      '-m',
      `${memory}`,
      '-smp',
      `${cpus}`,
    ],
    ...(shared ? ['-object', `memory-backend-memfd,id=memory,size=${memory}M,share=on`] : []),
    ...args,
    ...['-kernel', join(IMAGES, 'vmlinux'), '-initrd', join(IMAGES, 'initrd'), '-append', `${KERNEL_LINE} ${append}`],
    ...['-serial', `file:${join(folder, 'console')}`, '-qmp', `unix:${join(folder, 'qmp')},server=on,wait=off`],
    ...['-device', 'virtio-serial-pci', '-chardev', `socket,id=agent,path=${join(folder, 'agent')}`],
    ...['-device', 'virtserialport,chardev=agent,name=agent'],
    ...share('host', '/'),
    ...share('modules', join(IMAGES, 'modules')),
  ];
}

/** The first line of `socket` after what was read before; each line goes to one asker, in order. */
class Lines {
  private readonly waiting: ((line: string) => void)[] = [];
  private readonly lines: string[] = [];
  private rest = '';

  constructor(socket: Socket) {
    socket.setEncoding('utf8').on('data', (text: string) => {
      const parts = (this.rest + text).split('\n');
      this.rest = parts.pop()!;
      for (const line of parts) {
        const asker = this.waiting.shift();
        if (asker === undefined) this.lines.push(line);
        else asker(line);
      }
    });
    socket.on('error', () => {}); // its end is told by the process
  }

  next(): Promise<string> {
    const line = this.lines.shift();
    return line === undefined ? new Promise((resolve) => this.waiting.push(resolve)) : Promise.resolve(line);
  }
}

/** A guest that runs. */
export class Guest {
  private readonly folder: string;
  private readonly qemu: ChildProcess;
  private readonly ended: Promise<string>;
  private readonly server: Server;
  private agent: { readonly socket: Socket; readonly lines: Lines } | undefined;
  private monitor: { readonly socket: Socket; readonly lines: Lines } | undefined;
  private number = 0;
  private turn: Promise<unknown> = Promise.resolve();

  private constructor(folder: string, server: Server, options: GuestOptions) {
    this.folder = folder;
    this.server = server;
    let said = '';
    const [qemu, first] = qemuProgram(options);
    const command = [qemu, ...first, ...qemuArguments(folder, options)];
    const { netns } = options;
    const [program, ...args] = netns === undefined ? command : ['ip', 'netns', 'exec', netns, ...command];
    this.qemu = spawn(program!, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.qemu.stdout, this.qemu.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
    }
    this.ended = new Promise((resolve) => {
      this.qemu.on('error', (error) => resolve(error.message));
      this.qemu.on('close', (code, signal) => resolve(`QEMU ended with ${signal ?? code}: ${said.trim()}`));
    });
  }

  /** Boots a guest; resolves when it answers. Rejects with the end of its console when it does not. */
  static async boot(options: GuestOptions = {}): Promise<Guest> {
    makeImages(options.backported);
    const folder = mkdtempSync(join(tmpdir(), 'linecard-vm-'));
    const server = createServer();
    const connected = new Promise<Socket>((resolve) => server.once('connection', resolve));
    await new Promise<void>((resolve) => server.listen(join(folder, 'agent'), resolve));
    const guest = new Guest(folder, server, options);
    try {
      const socket = await guest.within(BOOT_MS, 'QEMU', connected);
      const lines = new Lines(socket);
      guest.agent = { socket, lines };
      await guest.within(BOOT_MS, 'boot', lines.next());
      return guest;
    } catch (error) {
      await guest.close();
      throw error;
    }
  }

  /** Its process. */
  get pid(): number {
    return this.qemu.pid!;
  }

  /** What the kernel has printed. */
  console(): string {
    return readFileSync(join(this.folder, 'console'), 'utf8');
  }

  /** Runs `command` with bash; commands run one after the other. */
  try(command: string, ms = 60_000): Promise<Answer> {
    const answer = this.turn.then(() => this.ask(command, ms));
    this.turn = answer.catch(() => {});
    return answer;
  }

  /** As `try`; returns what was printed. Throws with it when the command failed. */
  async run(command: string, ms?: number): Promise<string> {
    const { status, output } = await this.try(command, ms);
    if (status !== 0) throw new Error(`in the guest, ${command} ended with ${status}: ${output}`);
    return output;
  }

  private async ask(command: string, ms: number): Promise<Answer> {
    const { socket, lines } = this.agent!;
    const number = ++this.number;
    socket.write(`${number} ${Buffer.from(command).toString('base64')}\n`);
    for (;;) {
      const line = await this.within(ms, command, lines.next());
      const [its, status, output = ''] = line.split(' ');
      // An answer to a command that was given up comes late.
      if (Number(its) === number) return { status: Number(status), output: Buffer.from(output, 'base64').toString() };
    }
  }

  /** A command of QEMU's monitor (QMP), such as `device_del`. Returns its `return`; throws with its error. */
  async qmp(execute: string, args: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    const { socket, lines } = await this.monitoring();
    socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    for (;;) {
      const answer = JSON.parse(await this.within(QMP_MS, execute, lines.next())) as Record<string, unknown>;
      if ('error' in answer) throw new Error(`${execute}: ${JSON.stringify(answer.error)}`);
      if ('return' in answer) return answer.return; // else it is an event
    }
  }

  private async monitoring(): Promise<{ readonly socket: Socket; readonly lines: Lines }> {
    if (this.monitor === undefined) {
      const socket = createConnection(join(this.folder, 'qmp'));
      this.monitor = { socket, lines: new Lines(socket) };
      await this.within(QMP_MS, 'monitor', this.monitor.lines.next());
      await this.qmp('qmp_capabilities');
    }
    return this.monitor;
  }

  /** Ends it, whatever it is doing. Idempotent. */
  async close(): Promise<void> {
    this.qemu.kill('SIGKILL');
    await this.ended;
    this.agent?.socket.destroy();
    this.monitor?.socket.destroy();
    this.server.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  private async within<T>(ms: number, what: string, promise: Promise<T>): Promise<T> {
    const late = new AbortController();
    const fail = async (why: string): Promise<never> => {
      throw new Error(`${what}: ${why}; the guest's console ends with: ${this.console().slice(-1500)}`);
    };
    try {
      return await Promise.race([
        promise,
        this.ended.then(fail),
        sleep(ms, undefined, { signal: late.signal }).then(() => fail(`not within ${ms / 1000} s`)),
      ]);
    } finally {
      late.abort();
    }
  }
}
