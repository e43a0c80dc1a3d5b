// A chart over time, by uPlot: data[0] is times in seconds, then one list for
// each series, null where nothing is known. A band fills what is between two
// series, by their numbers from 1.

import { html, useEffect, useRef } from '../lib/preact-htm.js';
import { bytes, clock } from './format.js';
import { darkness, ink, useMedia } from './parts.js';

// Steps of an axis of bytes.
const powers = Array.from({ length: 50 }, (_, i) => 2 ** i);

const written = (v, format) => (v === null || v === undefined ? '–' : format(v));

// newest gives the last value that is known: what the legend shows while
// nothing is pointed at.
function newest(values) {
  for (let i = values.length - 1; i >= 0; i--) if (values[i] !== null && values[i] !== undefined) return values[i];
  return null;
}

function options({ series, format, fill, from, bands }, width, height) {
  const muted = ink('muted'), line = ink('line'), font = '11px system-ui, sans-serif';
  const axis = { stroke: muted, font, ticks: { stroke: line, size: 4, width: 1 }, grid: { stroke: line, width: 1 } };
  return {
    bands: bands && bands.map((b) => ({ ...b, fill: `${ink(series[b.series[0] - 1].color)}2b` })),
    width, height, ms: 1e-3, legend: { live: true },
    padding: [8, 18, 0, 0],
    cursor: { y: false, sync: { key: 'all' }, points: { size: 6 }, drag: { x: false, y: false } },
    scales: {
      // Of one moment alone uPlot would show days.
      x: { time: true, range: (_, min, max) => (max - min < 60 ? [max - 60, max] : [min, max]) },
      y: { range: (_, min, max) => [from === undefined ? Math.min(0, min ?? 0) : from, Math.max(max ?? 0, 1e-9) * 1.08 || 1] },
    },
    axes: [
      { ...axis, size: 28, grid: { show: false }, space: 70, values: (_, ticks) => ticks.map((t) => clock(t * 1000).slice(0, ticks.length > 1 && ticks[1] - ticks[0] < 60 ? 8 : 5)) },
      { ...axis, size: 58, incrs: format === bytes ? powers : undefined, values: (_, ticks) => ticks.map((v) => format(v)) },
    ],
    series: [
      { label: 'time', value: (_, v) => (v === null || v === undefined ? '' : clock(v * 1000)) },
      ...series.map((s) => ({
        label: s.name, stroke: ink(s.color), width: 1.6, points: { show: false }, spanGaps: false,
        fill: fill ? `${ink(s.color)}22` : undefined,
        value: (u, v, i, at) => written(at === null || at === undefined ? newest(u.data[i]) : v, format),
      })),
    ],
  };
}

export function Chart({ label, series, data, format, fill, bands, height = 190 }) {
  const box = useRef(null), plot = useRef(null);
  const dark = useMedia(darkness);
  const names = series.map((s) => s.name).join();
  useEffect(() => {
    const el = box.current;
    const make = () => new globalThis.uPlot(options({ series, format, fill, bands }, Math.max(el.clientWidth, 120), height), data, el);
    plot.current = make();
    const observer = new ResizeObserver(() => {
      const width = Math.max(el.clientWidth, 120);
      if (plot.current.width !== width) plot.current.setSize({ width, height });
    });
    observer.observe(el);
    return () => {
      observer.disconnect();
      plot.current.destroy();
      plot.current = null;
    };
  }, [dark, names, height]);
  useEffect(() => {
    const u = plot.current;
    if (!u || u.data === data) return;
    u.setData(data);
    if (u.cursor.idx === null || u.cursor.idx === undefined) u.setLegend({ idx: null }, false);
  });
  return html`<div class="chart" role="img" aria-label=${label} ref=${box}></div>`;
}
