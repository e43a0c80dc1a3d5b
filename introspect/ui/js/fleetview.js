// What a fleet's page shows: the monitors, what they have in common, how large the
// network is by that, and what is wanted of all of them.

import { useMemo, useState } from '../lib/preact-htm.js';
import { Chart } from './chart.js';
import { date, duration, number, rate, shown } from './format.js';
import { Bars, Card, Choice, Empty, Facts, html, Tile, Words } from './parts.js';
import { Table } from './table.js';

export const percent = (share) => (!Number.isFinite(share) ? '–' : share > 0 && share < 0.01 ? '< 1 %' : share < 1 && share > 0.99 ? '> 99 %' : `${Math.round(share * 100)} %`);

// signed writes seconds with their sign: how much a clock is ahead.
export const signed = (seconds) => (Math.abs(seconds) < 5e-7 ? '0 s' : `${seconds < 0 ? '−' : '+'}${duration(Math.abs(seconds) * 1000)}`);

// pageOf gives the address of a monitor's own page, if it is one that a browser may follow.
export const pageOf = (m) => (/^https?:\/\//.test(m.page) ? m.page : '');

function Monitor({ m }) {
  const page = pageOf(m);
  if (!page) return html`<${Words} max=${128}>${m.name}<//>`;
  return html`<a href=${page} target="_blank" rel="noreferrer" title="To its own page"><${Words} max=${128}>${m.name}<//></a>`;
}

// since1970: a time that never was is the year 1.
const time = (text) => (text.startsWith('0001') ? '–' : date(Date.parse(text)));

const bad = (n, text = number(n)) => (n > 0 ? html`<b class="bad">${text}</b>` : html`<span class="muted">${text}</span>`);
const col = (name, title, width, sort, cell, right = true, drop = 0) => ({ name, title, width, right, drop, sort, cell: cell || ((r) => number(sort(r))) });

const monitorColumns = [
  col('name', 'Monitor', 'minmax(110px, 1.4fr)', (m) => m.name, (m) => html`<${Monitor} m=${m} />`, false),
  col('state', 'State', '92px', (m) => (m.up ? 0 : 1), (m) => (m.up ? html`<span class="status active"><i></i>read</span>` : html`<span class="status error"><i></i>away</span>`), false),
  col('coverage', 'Coverage', '76px', (m) => m.share ?? -1, (m) => percent(m.share), true, 2),
  col('peers', 'Peers', '68px', (m) => m.peers, null, true, 4),
  col('wants', 'Wants', '84px', (m) => m.wants, null, true, 5),
  col('lag', 'Lag', '76px', (m) => m.lag_seconds, (m) => (m.last.startsWith('0001') ? '–' : duration(Math.max(0, m.lag_seconds) * 1000)), true, 3),
  col('gaps', 'Gaps', '60px', (m) => m.gaps, (m) => bad(m.gaps), true, 1),
  col('missed', 'Missed', '80px', (m) => m.missed, (m) => bad(m.missed, `${number(m.missed)}${m.unbounded > 0 ? ' +' : ''}`), true, 2),
  col('clock', 'Clock', '92px', (m) => (m.clock.known ? m.clock.offset_seconds : 0), (m) => (m.clock.known ? signed(m.clock.offset_seconds) : '–'), true, 3),
  col('error', '±', '72px', (m) => (m.clock.known ? m.clock.error_seconds : Infinity), (m) => (m.clock.known ? duration(m.clock.error_seconds * 1000) : '–'), true, 6),
  col('drift', 'Drift', '84px', (m) => (m.clock.drift_known ? m.clock.drift_ppm : 0), (m) => (m.clock.drift_known ? `${m.clock.drift_ppm.toFixed(1)} ppm` : '–'), true, 7),
];

// inside gives the lines below an open row.
const inside = (m) => [
  m.error && !m.up && html`<span class="bad"><${Words} max=${400}>${m.error}<//></span>`,
  m.peers_error && html`<span class="bad">Its connected peers: <${Words} max=${400}>${m.peers_error}<//></span>`,
  html`<span class="facts"><span>stream <${Words} max=${100}>${m.address}<//></span><span>calls itself <${Words} max=${100}>${m.calls || '–'}<//></span><span>protocol ${m.version || '–'}</span></span>`,
  html`<span class="facts"><span>${m.up ? 'read since' : 'last read from'} ${time(m.since)}</span><span>${number(m.connects)} connections</span><span>${number(m.events)} events</span><span>${number(m.cancels)} cancels</span></span>`,
  html`<span class="facts"><span>${number(m.unbounded)} gaps without a bound</span><span>${number(m.untimely)} events with an impossible time</span><span>${number(m.bad)} lines that are no events</span><span>refused ${number(m.refused)} times</span></span>`,
  html`<span class="facts"><span>round trip ${duration(m.clock.round_trip_seconds * 1000)}</span><span>clock set ${number(m.clock.steps)} times</span><span>${m.apart === null ? 'nothing in common with others yet' : `the same entry ${signed(m.apart)} after another monitor`}</span></span>`,
].filter(Boolean);

function Monitors({ fleet }) {
  const shares = new Map(((fleet.totals || {}).coverage || []).map((c) => [c.monitor, c]));
  const closed = fleet.totals && fleet.totals.closed > 0;
  const rows = fleet.monitors.map((m) => {
    const c = shares.get(m.name);
    return { ...m, share: c && closed ? c.share : null, apart: c && c.pairs > 0 ? c.apart_seconds : null };
  });
  return html`<${Card} title="Monitors" note="of each the clock, gaps, lag and coverage" wide>
    <${Table} label="Monitors" columns=${monitorColumns} rows=${rows} keyOf=${(m) => m.address} inside=${inside} start=${{ by: 'name', down: false }} height=${`${Math.min(rows.length, 12) * 34 + 76}px`} />
    <p class="note below">Coverage: its share of the fleet's requests that ended in the last interval. A + at Missed: and more, of which nothing bounds how many.</p>
  <//>`;
}

// matrix gives for each pair of monitors what of the first the second has too: {n, of}.
export function matrix(names, totals, what) {
  const at = new Map(names.map((n, i) => [n, i]));
  const cells = names.map(() => names.map(() => null));
  const seen = new Map(totals.coverage.map((c) => [c.monitor, c.seen]));
  for (const o of totals.overlaps) {
    const a = at.get(o.a), b = at.get(o.b);
    if (a === undefined || b === undefined) continue;
    if (what === 'peers') {
      cells[a][b] = { n: o.common, of: o.common + o.only_a };
      cells[b][a] = { n: o.common, of: o.common + o.only_b };
    } else {
      cells[a][b] = { n: o.requests, of: seen.get(o.a) || 0 };
      cells[b][a] = { n: o.requests, of: seen.get(o.b) || 0 };
    }
  }
  return cells;
}

function Overlaps({ fleet }) {
  const [what, setWhat] = useState('peers');
  const t = fleet.totals, names = fleet.monitors.map((m) => m.name);
  const word = what === 'peers' ? 'connected peers' : 'requests of the last interval';
  let body = html`<${Empty}>${names.length < 2 ? 'One monitor has nothing in common with another.' : 'Nothing yet.'}<//>`;
  if (t && t.overlaps.length > 0) {
    const cells = matrix(names, t, what);
    const own = (i) => (what === 'peers' ? fleet.monitors[i].peers : (t.coverage.find((c) => c.monitor === names[i]) || { seen: 0 }).seen);
    body = html`<div class="matrix" tabindex="0" role="region" aria-label="Overlaps"><table>
      <thead><tr><th scope="col"><span class="away">Of the monitor</span></th>${names.map((n) => html`<th scope="col" key=${n}><${Words} max=${60}>${n}<//></th>`)}</tr></thead>
      <tbody>${names.map((n, i) => html`<tr key=${n}><th scope="row"><${Words} max=${60}>${n}<//></th>${names.map((other, k) => {
    if (i === k) return html`<td class="self" key=${other}>${number(own(i))}</td>`;
    const c = cells[i][k];
    if (!c || c.of === 0) return html`<td class="self" key=${other}>–</td>`;
    return html`<td key=${other} style=${{ '--share': String(c.n / c.of) }} title=${`${number(c.n)} of ${number(c.of)} ${word} of ${shown(n, 60)} are at ${shown(other, 60)} too`}>${percent(c.n / c.of)}</td>`;
  })}</tr>`)}</tbody></table></div>
      <p class="note below">What of the row's monitor the column's has too; its own number where both are the same.</p>`;
  }
  return html`<${Card} title="Overlap" note=${word}>
    <div class="bar"><${Choice} label="Of what" value=${what} onChange=${setWhat} options=${[['peers', 'Peers'], ['requests', 'Requests']]} /></div>${body}
  <//>`;
}

const sizeLines = [{ name: 'estimate', color: 't1' }, { name: 'low', color: 't6' }, { name: 'high', color: 't6' }, { name: 'connected to a monitor', color: 't2' }];
const requestLines = [{ name: 'entries', color: 't3' }, { name: 'requests', color: 't1' }, { name: 'seen before', color: 't4' }];

// lines gives a chart's data: times in seconds, then what each of f gives.
export function lines(moments, ...f) {
  return [moments.map((m) => Date.parse(m.time) / 1000), ...f.map((one) => moments.map(one))];
}

const known = (key) => (m) => (m.size.known ? m.size[key] : null);
const perSecond = (key) => (m) => (m.interval_seconds > 0 ? m[key] / m.interval_seconds : null);

const estimate = (e) => (e.known ? number(e.n) : '–');
const interval = (e) => (e.known ? `${number(e.low)} to ${number(e.high)}` : '–');
const warned = (e) => (e.known && e.dependent ? html`<span class="chip warn" title="A test says that the monitors do not see peers independently of each other: the true number is most likely larger.">too low</span>` : '');

const groupColumns = [
  col('of', 'Of', 'minmax(120px, 1.4fr)', (s) => s.of, (s) => html`<${Words} max=${128}>${s.of}<//>`, false),
  col('seen', 'Connected', '88px', (s) => s.seen),
  col('n', 'Estimate', '84px', (s) => (s.coupon.known ? s.coupon.n : -1), (s) => estimate(s.coupon)),
  col('between', '95 % between', '150px', (s) => (s.coupon.known ? s.coupon.high : -1), (s) => interval(s.coupon), true, 1),
  col('pair', 'Best two', '84px', (s) => (s.pair.known ? s.pair.n : -1), (s) => estimate(s.pair), true, 2),
  col('sign', '', '70px', (s) => Number(s.coupon.dependent), (s) => warned(s.coupon), false, 3),
];

function Sizes({ fleet, moments }) {
  const data = useMemo(() => lines(moments, known('n'), known('low'), known('high'), (m) => m.peers), [moments]);
  const some = data[1].some((v) => v !== null);
  return html`<${Card} title="Size of the network" note="estimated, with its interval of 95 %">
      ${some ? html`<${Chart} label="Size of the network" series=${sizeLines} data=${data} format=${number} bands=${[{ series: [3, 2] }]} height=${230} />`
    : html`<${Empty}>${fleet.monitors.length < 2 ? 'One monitor alone does not tell the size.' : 'Too little is in common yet to tell the size.'}<//>`}<//>
    <${Card} title="Sizes by software and protocol">${fleet.totals && fleet.totals.sizes.length > 0
    ? html`<${Table} label="Sizes" columns=${groupColumns} rows=${fleet.totals.sizes} keyOf=${(s) => s.of} start=${{ by: 'seen', down: true }} height="300px" />` : html`<${Empty}>Nothing yet.<//>`}<//>`;
}

const wantedColumns = [
  col('cid', 'CID', 'minmax(84px, 1.6fr)', (c) => c.cid, (c) => html`<span class="mono" title=${shown(c.cid, 400)}>${shown(c.cid, 400)}</span>`, false),
  col('requests', 'Requests', '74px', (c) => c.requests),
  col('peers', 'Peers', '48px', (c) => c.peers),
  col('seen', 'Seen at', 'minmax(64px, 1fr)', (c) => c.seen.length, (c) => html`<span title=${c.seen.map((n) => shown(n, 60)).join(', ')}>${c.seen.map((n, i) => html`${i > 0 ? ', ' : ''}<${Words} key=${n} max=${60}>${n}<//>`)}</span>`, false),
];

function Wanted({ totals }) {
  const [by, setBy] = useState('requests');
  const rows = totals ? (by === 'peers' ? totals.top_by_peers : totals.top) : [];
  return html`<${Card} title="Wanted now" note=${totals && totals.interval_seconds > 0 ? `in the last ${duration(totals.interval_seconds * 1000)}, of all monitors` : ''} wide>
    <div class="bar"><${Choice} label="In the order of" value=${by} onChange=${setBy} options=${[['requests', 'By requests'], ['peers', 'By different peers']]} /></div>
    ${rows.length > 0 ? html`<${Table} label="Wanted now" columns=${wantedColumns} rows=${rows} keyOf=${(c) => c.cid} start=${{ by, down: true }} key=${by} height=${`${Math.min(rows.length, 10) * 34 + 38}px`} />`
    : html`<${Empty}>Nothing was requested in the last interval, or the collector's privacy setting hides what.<//>`}
  <//>`;
}

export function Fleet({ fleet, moments }) {
  const requests = useMemo(() => lines(moments, perSecond('entries'), perSecond('requests'), perSecond('matched')), [moments]);
  if (!fleet) return html`<${Card}><${Empty}>Nothing yet.<//><//>`;
  const t = fleet.totals, away = fleet.monitors.filter((m) => !m.up);
  const missed = fleet.monitors.reduce((n, m) => n + m.missed, 0), unbounded = fleet.monitors.reduce((n, m) => n + m.unbounded, 0);
  const all = t && t.sizes.find((s) => s.of === 'all'), size = all && all.coupon;
  const each = (n) => (t && t.interval_seconds > 0 ? rate(n / t.interval_seconds) : '–');
  return html`
    <div class="tiles">
      <${Tile} name="Monitors read" tone=${away.length > 0 ? 'bad' : ''} value=${`${fleet.monitors.length - away.length} of ${fleet.monitors.length}`} below=${away.length > 0 ? html`away: <${Words} max=${100}>${away.map((m) => m.name).join(', ')}<//>` : 'all'} />
      <${Tile} name="Size of the network" value=${size ? estimate(size) : '–'} below=${size && size.known ? `${interval(size)}${size.dependent ? ', most likely too low' : ''}` : 'too little in common'} />
      <${Tile} name="Connected peers" value=${t ? number(t.peers) : '–'} below="different ones, of all monitors" />
      <${Tile} name="Requests" value=${t ? each(t.requests) : '–'} unit="/s" below=${t && `of ${each(t.entries)} entries/s`} />
      <${Tile} name="Seen by several" value=${t && t.entries > 0 ? percent(t.matched / t.entries) : '–'} below="of the entries" />
      <${Tile} name="Missed events" tone=${missed + unbounded > 0 ? 'bad' : ''} value=${number(missed)} below=${unbounded > 0 ? `and ${number(unbounded)} gaps without a bound` : 'at most, since the start'} />
    </div>
    <${Monitors} fleet=${fleet} />
    <div class="cards">
      <${Overlaps} fleet=${fleet} />
      <${Sizes} fleet=${fleet} moments=${moments} />
      <${Card} title="Requests of all" note="per second">${moments.length > 0 ? html`<${Chart} label="Requests of all" series=${requestLines} data=${requests} format=${rate} height=${230} />` : html`<${Empty}>Nothing yet.<//>`}<//>
      ${t && t.countries.length > 0 && html`<${Card} title="Countries" note="received wants of the last interval"><${Bars} label="Countries" rows=${t.countries.slice(0, 12).map((c) => ({ name: c.country, n: c.wants }))} /><//>`}
      ${t && html`<${Card} title="Not joined" note="in the last interval"><${Facts} rows=${[['Came too late', number(t.late), t.late > 0 ? 'bad' : ''], ['No room', number(t.dropped), t.dropped > 0 ? 'bad' : '']]} /><//>`}
      <${Wanted} totals=${t} />
    </div>`;
}
