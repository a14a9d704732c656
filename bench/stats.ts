/** Order statistics over samples. Pure. */

/** What a report says about a series of samples, in the samples' own unit. */
export interface Summary {
  readonly n: number;
  readonly min: number;
  readonly median: number;
  readonly max: number;
  /** Distance between the quartiles as a part of the median: 0.1 means that half of the samples lie within 10 %. */
  readonly spread: number;
}

/** Two series compared. */
export interface Ratio {
  /** Median of the first over median of the second. */
  readonly ofMedians: number;
  /** Lowest and highest ratio of samples that were taken side by side. */
  readonly low: number;
  readonly high: number;
}

/** Returns the quantile `q` (0 to 1) of `values`, interpolated between neighbours; NaN when there are none. */
export function quantile(values: readonly number[], q: number): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const below = Math.floor(at);
  const low = sorted[below]!;
  const high = sorted[Math.min(below + 1, sorted.length - 1)]!;
  return low + (high - low) * (at - below);
}

/** Returns the middle of `values`; NaN when there are none. */
export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** Returns the summary of `values`; all NaN and n = 0 when there are none. */
export function summarize(values: readonly number[]): Summary {
  const middle = median(values);
  return {
    n: values.length,
    min: quantile(values, 0),
    median: middle,
    max: quantile(values, 1),
    spread: (quantile(values, 0.75) - quantile(values, 0.25)) / middle,
  };
}

/** Compares two series whose samples with the same index were taken side by side. Undefined when either is empty. */
export function compare(ours: readonly number[], theirs: readonly number[]): Ratio | undefined {
  const pairs = Math.min(ours.length, theirs.length);
  if (pairs === 0) return undefined;
  const ratios = Array.from({ length: pairs }, (_, i) => ours[i]! / theirs[i]!);
  return { ofMedians: median(ours) / median(theirs), low: Math.min(...ratios), high: Math.max(...ratios) };
}
