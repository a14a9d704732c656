import { describe, expect, it, onTestFinished } from 'vitest';
import { FaultLog, parseFault } from '../../lib/vfio/faults.ts';
import { FakeVfio } from '../fakes/vfio.ts';

const [A, B] = ['0000:01:00.0', '0000:02:00.0'] as const;

/** Lines as kernels have written them. */
const LINES = {
  intel:
    'DMAR: [DMA Read NO_PASID] Request device [02:00.0] fault addr 0x70000000 [fault reason 0x06] PTE Read access is not set',
  intelOld: 'DMAR: [DMA Write] Request device [02:00.0] fault addr 7f000 [fault reason 05] PTE Write access is not set',
  intelPasid: 'DMAR: [DMA Read PASID 0x1] Request device [02:00.0] fault addr 0x1000 [fault reason 0x60] SM: walk',
  amd: 'vfio-pci 0000:02:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000c address=0x70000000 flags=0x0020]',
  amdOld: 'AMD-Vi: Event logged [IO_PAGE_FAULT device=02:00.0 domain=0x000c address=0x0000000070000000 flags=0x0020]',
};

function watched() {
  const vfio = new FakeVfio();
  const log = FaultLog.open(vfio.kernel)!;
  onTestFinished(() => log.close());
  const heard: string[] = [];
  for (const address of [A, B]) log.watch(address, (text) => heard.push(`${address}: ${text}`));
  return { vfio, log, heard };
}

describe('A record of the kernel’s log', () => {
  it('that tells of a fault is understood, Intel’s and AMD’s', () => {
    const parsed = Object.fromEntries(
      Object.entries(LINES).map(([key, line]) => [key, parseFault(`4,7,99,-;${line}`)]),
    );
    expect(parsed).toEqual({
      intel: { device: '02:00.0', what: 'DMA Read at 0x70000000' },
      intelOld: { device: '02:00.0', what: 'DMA Write at 0x7f000' },
      intelPasid: { device: '02:00.0', what: 'DMA Read at 0x1000' },
      amd: { device: '0000:02:00.0', what: 'IO_PAGE_FAULT at 0x70000000' },
      amdOld: { device: '02:00.0', what: 'IO_PAGE_FAULT at 0x0000000070000000' },
    });
  });

  it('that is somebody else’s, or of something else, is not', () => {
    for (const record of [
      `12,7,99,-;${LINES.intel}`, // a user's: facility 1
      `4,7,99,-;DMAR: INTR-REMAP: Request device [02:00.0] fault index 0x1c [fault reason 0x25]`,
      '4,7,99,-;e1000e 0000:02:00.0: Interrupt Throttling Rate set',
      `4,7,99,-;usb 1-1: Product:\n DEVICE=${LINES.intel}`,
      LINES.intel,
      ';',
      '',
    ]) {
      expect(parseFault(record)).toBeUndefined();
    }
  });
});

describe('The log of faults', () => {
  it('tells each function of its own, counted, and of what was before it was opened nothing', () => {
    const vfio = new FakeVfio();
    for (let i = 0; i < 12_000; i++) vfio.say(LINES.intel);
    const log = FaultLog.open(vfio.kernel)!;
    const heard: string[] = [];
    const unwatch = [A, B].map((address) => log.watch(address, (text) => heard.push(`${address}: ${text}`)));
    log.look();
    expect(heard).toEqual([]);
    vfio.say(LINES.amd.replace('02:00', '01:00'));
    vfio.say(LINES.intel);
    vfio.say(LINES.intelOld);
    vfio.say(LINES.intel.replace('02:00', '03:00'));
    log.look();
    expect(heard).toEqual([
      `${A}: the IOMMU kept it from memory that is not its own: IO_PAGE_FAULT at 0x70000000`,
      `${B}: the IOMMU kept it from memory that is not its own: 2 times, the last time DMA Write at 0x7f000`,
    ]);
    for (const end of unwatch) end();
    vfio.say(LINES.intel);
    log.look();
    expect(heard).toHaveLength(2);
    log.close();
    expect(vfio.kernel.opened).toEqual([]);
  });

  it('goes on behind records that were overwritten', () => {
    const { vfio, log, heard } = watched();
    vfio.records.push('overwritten');
    vfio.say(LINES.intel);
    log.look();
    expect(heard).toHaveLength(1);
  });

  it('does not read for ever what is written faster', () => {
    const { vfio, log } = watched();
    for (let i = 0; i < 10_010; i++) vfio.records.push('overwritten');
    vfio.kernel.restart();
    log.look();
    expect(vfio.kernel.journal.length).toBe(10_000);
  });

  it('is done without where it may not be read, or stops being readable', () => {
    const vfio = new FakeVfio();
    vfio.kernel.fault = (call) => (call.startsWith('open log') ? 'EPERM' : undefined);
    expect(FaultLog.open(vfio.kernel)).toBeUndefined();
    const { vfio: other, log, heard } = watched();
    other.say(LINES.intel);
    other.kernel.fault = () => 'EIO';
    log.look();
    other.kernel.fault = () => undefined;
    expect(heard).toEqual([]);
  });
});
