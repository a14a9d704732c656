/**
 * Time stamps of capture files as nanoseconds since 1970, in two unsigned 32-bit halves.
 * Usual resolutions are converted in doubles, exactly; the others with BigInt.
 */
import { MICROSECONDS, NANOSECONDS } from './format.ts';
import type { CaptureInterface, PacketRecord } from './types.ts';

const TWO16 = 0x1_0000;
const TWO32 = 0x1_0000_0000;
const NS_PER_SECOND = 1_000_000_000;

/** Sets `seconds` (u32) and `nanoseconds` (below 2^43): pcap §5. The largest sum is below 2^63. */
export function setSeconds(record: PacketRecord, seconds: number, nanoseconds: number): void {
  // Schoolbook in base 2^16, for a product of 62 bits: each partial product is below 2^46.
  const high = Math.floor(seconds / TWO16) * NS_PER_SECOND;
  const low = (seconds % TWO16) * NS_PER_SECOND + (high % TWO16) * TWO16 + nanoseconds;
  record.timeHi = Math.floor(high / TWO16) + Math.floor(low / TWO32);
  record.timeLo = low % TWO32;
}

/**
 * Sets a 64-bit count of an interface's time units, pcapng §4.3. Returns false when that is not a time between 1970
 * and 2554, which 64 bits of nanoseconds can express.
 */
export function setTicks(record: PacketRecord, hi: number, lo: number, from: CaptureInterface): boolean {
  if (from.offset !== 0n) return setExactly(record, hi, lo, from);
  if (from.resolution === NANOSECONDS) {
    record.timeHi = hi;
    record.timeLo = lo;
    return true;
  }
  if (from.resolution === MICROSECONDS) {
    const low = lo * 1000;
    record.timeHi = hi * 1000 + Math.floor(low / TWO32);
    record.timeLo = low % TWO32;
    return record.timeHi < TWO32;
  }
  return setExactly(record, hi, lo, from);
}

function setExactly(record: PacketRecord, hi: number, lo: number, from: CaptureInterface): boolean {
  const ticks = (BigInt(hi) << 32n) | BigInt(lo);
  const exponent = BigInt(from.resolution & 0x7f);
  // if_tsresol: the most significant bit chooses between powers of 2 and of 10, pcapng §4.2.
  const perSecond = from.resolution & 0x80 ? 1n << exponent : 10n ** exponent;
  const ns = (ticks * BigInt(NS_PER_SECOND)) / perSecond + from.offset * BigInt(NS_PER_SECOND);
  if (ns < 0n || ns >> 64n !== 0n) return false;
  record.timeHi = Number(ns >> 32n);
  record.timeLo = Number(ns & 0xffff_ffffn);
  return true;
}

/** Returns a record's time as one number. */
export function timeOf(record: PacketRecord): bigint {
  return (BigInt(record.timeHi) << 32n) | BigInt(record.timeLo);
}
