// The strip at the foot of every page: bytes in and out over the retention
// window, stacked, under a slider that moves all pages back in time.

import { html, useEffect, useRef, useState } from '../lib/preact-htm.js';
import { bytes, clock, duration } from './format.js';
import { darkness, ink, useMedia } from './parts.js';

// area draws a stacked area: low and high give its edges, in bytes per second.
function area(ctx, points, x, y, low, high, color) {
  ctx.beginPath();
  points.forEach((p, i) => (i === 0 ? ctx.moveTo(x(p.ts), y(high(p))) : ctx.lineTo(x(p.ts), y(high(p)))));
  for (let i = points.length - 1; i >= 0; i--) ctx.lineTo(x(points[i].ts), y(low(points[i])));
  ctx.closePath();
  ctx.globalAlpha = 0.3;
  ctx.fillStyle = color;
  ctx.fill();
  ctx.globalAlpha = 1;
  ctx.beginPath();
  points.forEach((p, i) => (i === 0 ? ctx.moveTo(x(p.ts), y(high(p))) : ctx.lineTo(x(p.ts), y(high(p)))));
  ctx.strokeStyle = color;
  ctx.lineWidth = 1.3;
  ctx.stroke();
}

function draw(canvas, width, height, points, from, to, at) {
  const scale = globalThis.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const ctx = canvas.getContext('2d');
  ctx.setTransform(scale, 0, 0, scale, 0, 0);
  ctx.clearRect(0, 0, width, height);
  const most = Math.max(1, ...points.map((p) => p.in + p.out));
  const x = (ts) => (to > from ? (ts - from) / (to - from) : 1) * (width - 4) + 2;
  const y = (v) => height - 1 - v / most * (height - 6);
  if (points.length > 0) {
    area(ctx, points, x, y, () => 0, (p) => p.in, ink('in'));
    area(ctx, points, x, y, (p) => p.in, (p) => p.in + p.out, ink('out'));
  }
  if (at < to) { // what is later than the moment looked at
    ctx.globalAlpha = 0.72;
    ctx.fillStyle = ink('card');
    ctx.fillRect(x(at), 0, width - x(at), height);
    ctx.globalAlpha = 1;
  }
}

export function Timeline({ view }) {
  const { model } = view;
  const box = useRef(null);
  const [width, setWidth] = useState(0);
  const dark = useMedia(darkness);
  const height = 44;
  const last = model.lastTime(), first = model.firstTime();
  const from = model.file ? first : Math.max(last - model.retention, Math.min(first, last - 10000));
  useEffect(() => {
    const observer = new ResizeObserver(() => setWidth(box.current.clientWidth));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    if (width === 0) return;
    const points = view.states.map((s) => s.totals);
    if (points.length > 0) points.push({ ...points[points.length - 1], ts: last }); // events may be later than the last state
    draw(box.current, width, height, points, from, last, view.at);
  }, [width, view.states.length, from, last, view.at, dark]);
  const step = 500, most = from + Math.max(1, Math.ceil((last - from) / step)) * step; // the slider's end must be on a step
  const ago = last - view.at;
  const slide = (e) => {
    const ts = Number(e.currentTarget.value);
    if (ts >= last && !model.paused) model.setCursor(null);
    else model.setCursor(Math.max(ts, first));
  };
  const where = last === 0 ? 'nothing yet' : view.live ? 'live' : `${duration(ago)} before the newest, ${clock(view.at)}`;
  return html`<footer class="timeline">
    <div class="legend" aria-hidden="true">
      <span class="in">${bytes(view.totals ? view.totals.in : NaN)}/s in</span>
      <span class="out">${bytes(view.totals ? view.totals.out : NaN)}/s out</span>
    </div>
    <div class="track">
      <canvas ref=${box} aria-hidden="true"></canvas>
      <input type="range" aria-label="Moment looked at" aria-valuetext=${where} min=${from} max=${most} step=${step} value=${view.live ? most : view.at}
        onInput=${slide} />
    </div>
    <div class="when">
      <span class="moment">${last === 0 ? '–' : clock(view.at)}</span>
      ${view.live || model.paused ? html`<span class="muted">${view.live ? (model.file ? 'end' : 'now') : ago > 0 ? `−${duration(ago)}` : 'paused'}</span>`
    : html`<button type="button" class="link" onClick=${() => model.setCursor(null)}>−${duration(ago)}, back to ${model.file ? 'the end' : 'now'}</button>`}
    </div>
  </footer>`;
}
