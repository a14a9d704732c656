/** The chart: packets per second over burst size, one panel per pipeline. */
import type { TopLevelSpec } from 'vega-lite';
import { machineLine } from './machine.ts';
import type { Report } from './report.ts';

/** One point of the chart. */
interface Point {
  readonly pipeline: string;
  readonly burst: number;
  readonly series: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Returns the points of all series that were measured. */
export function pointsOf(report: Pick<Report, 'trials'>): Point[] {
  return report.trials.flatMap((t) =>
    Object.entries(t.series)
      .filter(([, s]) => s.samples.length > 0)
      .map(([series, { mpps }]) => ({
        pipeline: t.kind,
        burst: t.burst,
        series,
        median: mpps.median,
        min: mpps.min,
        max: mpps.max,
      })),
  );
}

/** Returns the chart's specification (Vega-Lite 6). */
export function chartSpec(report: Report): TopLevelSpec {
  const x = { field: 'burst', type: 'ordinal' as const, title: 'burst (frames)', axis: { labelAngle: 0 } };
  const color = { field: 'series', type: 'nominal' as const, title: null };
  const points = pointsOf(report);
  const order = [...new Set(points.map((p) => p.pipeline))];
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    title: { text: 'l2fwd with MAC updating on one cpu', subtitle: machineLine(report.machine), anchor: 'start' },
    data: { values: points as unknown as Record<string, unknown>[] },
    facet: { column: { field: 'pipeline', type: 'nominal', title: null, sort: order } },
    spec: {
      width: 280,
      height: 240,
      layer: [
        {
          mark: { type: 'rule', opacity: 0.5 },
          encoding: { x, y: { field: 'min', type: 'quantitative' }, y2: { field: 'max' }, color },
        },
        {
          mark: { type: 'line', point: true },
          encoding: { x, y: { field: 'median', type: 'quantitative', title: 'Mpps (median, min to max)' }, color },
        },
      ],
    },
    // Through the kernel it is a thousandth of what it is in memory.
    resolve: { scale: { y: 'independent' } },
    config: { background: 'white' },
  };
}

/** Draws the chart as SVG. Loads Vega, which nothing else needs. */
export async function drawChart(report: Report): Promise<string> {
  const [vega, { compile }] = await Promise.all([import('vega'), import('vega-lite')]);
  const view = new vega.View(vega.parse(compile(chartSpec(report)).spec), { renderer: 'none' });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}
