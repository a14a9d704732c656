/**
 * The probe: a UDP packet over IPv4 that says which one it is, made by `gen`, checked by `sink`. Data half.
 *
 * It is untagged and without IP options, so that its UDP payload starts at byte 42 and everything from the flow on can
 * be read as aligned words. From there on it is little-endian, as the words are on all that we run on.
 */
import { fold } from './checksum.ts';
import { checkPattern, lanes, patternKey, tailSum, tailSumOf, writePattern } from './pattern.ts';

/**
 * Byte offsets from the first byte of the UDP payload. `length` is the frame's, without FCS; `tx` is the number of the
 * generator's tx queue, for people; a 64-bit `sequence` counts within a flow. A pattern fills the rest (`pattern.ts`).
 */
export const PROBE = { magic: 0, flow: 4, length: 6, tx: 8, sequenceHigh: 10, sequence: 14, size: 18 } as const;

/** First byte of the probe in its frame: Ethernet, IPv4 and UDP headers. */
export const PROBE_AT = 42;
/** Shortest frame that holds a probe, which is also the shortest frame on a wire. */
export const PROBE_FRAME_MIN = PROBE_AT + PROBE.size;
/** Largest number of flows: a flow has 16 bits. */
export const PROBE_FLOWS = 0x1_0000;

/** The first four bytes, as the two halves that lie in different words: "LC", "p1". */
export const PROBE_MAGIC = { first: 0x434c, second: 0x3170 } as const;

/** Words of a template: the frame's first 15, then the sum that `makeProbeWriter` starts from. */
export const TEMPLATE_WORDS = 16;

/** What a reader returns instead of a flow: it is no probe of ours. */
export const FOREIGN = -1;
/** What a reader returns instead of a flow: it was a probe, but some of it changed on the way. */
export const CORRUPT = -2;

const { first: MAGIC_1, second: MAGIC_2 } = PROBE_MAGIC;
const MIN = PROBE_FRAME_MIN;

// Words of a frame.
const TYPE = 3; // EtherType, version and header length, traffic class
const IP = 4; // total length, identification; then fragment, ttl, protocol; checksum; addresses up to word 8
const UDP_WORD = 10; // UDP checksum, first half of the magic
const FLOW = 11; // second half of the magic, flow
const LENGTH = 12; // length, tx
const HIGH = 13; // sequence
const LOW = 14;
const PATTERN = 15;
const BASE = 15; // of a template

const IPV4_NO_OPTIONS = 0x45_0008; // 08 00 45, little-endian
const UDP_PROTOCOL = 17;
const PSEUDO_UDP = UDP_PROTOCOL << 8; // 00 11 of the pseudo-header, little-endian
const HIGH_MAX = 0x1f_ffff; // a sequence below 2^53 is exact as a number

const swap = (half: number): number => ((half & 0xff) << 8) | (half >>> 8);

/** Writes probe number (`high`, `low`) of the flow whose template is number `index` into the frame at `at`. */
export type ProbeWriter = (at: number, index: number, high: number, low: number) => void;

/**
 * Returns the writer of frames of `size` bytes after `templates` (`makeProbeTemplate`, one after the other).
 * The UDP checksum follows from the template's: only the sequence differs, and a pattern's sum is known.
 */
export function makeProbeWriter(i32: Int32Array, templates: Int32Array, size: number): ProbeWriter {
  const extra = (size - MIN) | 0;
  return (at, index, high, low) => {
    const w = at >>> 2;
    const t = (index * TEMPLATE_WORDS) | 0;
    for (let k = 0; k < LENGTH; k = (k + 4) | 0) {
      i32[w + k] = templates[t + k];
      i32[w + k + 1] = templates[t + k + 1];
      i32[w + k + 2] = templates[t + k + 2];
      i32[w + k + 3] = templates[t + k + 3];
    }
    i32[w + LENGTH] = templates[t + LENGTH];
    i32[w + HIGH] = high;
    i32[w + LOW] = low;
    let sum = (templates[t + BASE] + lanes(high) + lanes(low)) | 0;
    if (extra !== 0) {
      const key = patternKey(templates[t + FLOW] >>> 16, high, low);
      writePattern(i32, (w + PATTERN) | 0, extra, key);
      sum = (sum + tailSum(extra, key)) | 0;
    }
    const check = ~fold(sum) & 0xffff;
    // Zero means "no checksum" (RFC 768): its other form is sent.
    i32[w + UDP_WORD] = templates[t + UDP_WORD] | (check === 0 ? 0xffff : check);
  };
}

/** Checks the frame of `length` bytes at `at`. Returns its flow, `FOREIGN` or `CORRUPT`. */
export type ProbeReader = (at: number, length: number) => number;

/**
 * Returns a reader that knows flows below `flows`. It checks lengths, both checksums (the pattern's part, which is the
 * same for all, taken for granted) and, unless `headerOnly`, every byte of the pattern. MAC addresses, addresses, ports and TTL may have been rewritten, with the checksums, on the way.
 */
export function makeProbeReader(i32: Int32Array, flows: number, headerOnly: boolean): ProbeReader {
  return (at, length) => {
    if (length < MIN) return FOREIGN;
    const w = at >>> 2;
    const type = i32[w + TYPE];
    const fragment = i32[w + IP + 1];
    const udp = i32[w + UDP_WORD];
    const flow = i32[w + FLOW];
    if ((type & 0xff_ffff) !== IPV4_NO_OPTIONS || fragment >>> 24 !== UDP_PROTOCOL) return FOREIGN;
    if (udp >>> 16 !== MAGIC_1 || (flow & 0xffff) !== MAGIC_2) return FOREIGN;
    const total = i32[w + IP];
    const check = i32[w + 6];
    const address = i32[w + 7];
    const source = i32[w + 8];
    const destination = i32[w + 9];
    const said = i32[w + LENGTH];
    const high = i32[w + HIGH];
    const low = i32[w + LOW];
    if ((said & 0xffff) !== length || swap(total & 0xffff) !== length - 14) return CORRUPT;
    if (swap(destination >>> 16) !== length - 34 || high >>> 0 > HIGH_MAX) return CORRUPT;
    const header = (type >>> 16) + lanes(total) + lanes(fragment) + lanes(check) + lanes(address) + (source & 0xffff);
    if (fold(header | 0) !== 0xffff) return CORRUPT;
    const extra = (length - MIN) | 0;
    const pseudo = PSEUDO_UDP + (destination >>> 16) + (check >>> 16) + lanes(address) + (source & 0xffff);
    const ports = (source >>> 16) + lanes(destination);
    const probe = lanes(udp) + lanes(flow) + lanes(said) + lanes(high) + lanes(low);
    // The pattern adds zero but for its tail, which counts as it is: what flips a bit of the header cannot also change
    // what is expected of the tail.
    const tail = tailSumOf(i32, (w + PATTERN) | 0, extra);
    if (fold((pseudo + ports + probe + tail) | 0) !== 0xffff) return CORRUPT;
    if (flow >>> 16 >= flows) return FOREIGN;
    if (headerOnly || extra === 0) return flow >>> 16;
    const key = patternKey(flow >>> 16, high, low);
    return checkPattern(i32, (w + PATTERN) | 0, extra, key) ? flow >>> 16 : CORRUPT;
  };
}
