// Overview: how the node does now, and the last hour out of the store, so that
// a reload does not start empty.

import { useMemo } from '../lib/preact-htm.js';
import { Chart } from './chart.js';
import { agentName, bytes, counted, duration, number, rate } from './format.js';
import { Alarm, Seen } from './line.js';
import { Bars, Card, Choice, Empty, html, Tile, to } from './parts.js';

// Without a prototype: they are asked with strangers' words.
export const typeColors = { __proto__: null, want_block: 't1', want_have: 't2', cancel: 't3', have: 't4', dont_have: 't5', blocks: 't6' };
export const typeNames = { __proto__: null, want_block: 'want block', want_have: 'want have', cancel: 'cancel', have: 'have', dont_have: "don't have", blocks: 'block' };
const types = Object.keys(typeColors);

// charts are the lines of the page: where each is found in the totals of a
// state and in the store's answer.
const line = (name, color, live, stored) => ({ name, color, live, stored });
const messages = (direction) => types.map((t) => line(typeNames[t], typeColors[t], (s) => (s[direction] ? s[direction][t] : null), (h) => h.name === t && h.direction === direction));
const us = (h) => h.unit === 'us' ? 1e-3 : 1;
const latency = (p) => (h) => h.name === `latency_${p}_us` && h.direction === 'sent' && h.answer === 'block';
const lines = {
  received: messages('received'),
  sent: messages('sent'),
  bytes: [line('in', 'in', (s) => s.received && s.received.block_bytes, (h) => h.name === 'block_bytes' && h.direction === 'received'),
    line('out', 'out', (s) => s.sent && s.sent.block_bytes, (h) => h.name === 'block_bytes' && h.direction === 'sent')],
  peers: [line('peers', 't2', (s) => s.peers, (h) => h.name === 'peers')],
  latency: [line('median', 't1', (s) => s.latency && s.latency.p50, latency('p50')), line('slowest 1 %', 't3', (s) => s.latency && s.latency.p99, latency('p99'))],
};

// merged gives a chart's data: the store's steps as long as the page has no
// states of that time, then the states, a mean for each step of seconds.
export function merged(chart, history, states, until, step) {
  const data = [[], ...chart.map(() => [])];
  const add = (time, values) => {
    data[0].push(time);
    values.forEach((v, i) => data[i + 1].push(v ?? null));
  };
  const first = until > 0 ? states[0].ts : Infinity, last = until > 0 ? states[until - 1].ts : Infinity;
  if (history) {
    const found = chart.map((c) => history.series.find(c.stored));
    history.times.forEach((ts, i) => {
      if (ts + history.step_seconds * 1000 > first || ts > last) return;
      const values = found.map((f) => (f && f.values[i] !== null ? f.values[i] * us(f) : null));
      if (data[0].length > 0 || values.some((v) => v !== null)) add(ts / 1000, values); // it begins where there is something
    });
  }
  for (let i = 0; i < until;) {
    const end = step > 0 ? Math.floor(states[i].ts / step / 1000 + 1) * step * 1000 : states[i].ts + 1;
    const sums = chart.map(() => [0, 0]), at = states[i].ts;
    for (; i < until && states[i].ts < end; i++) {
      chart.forEach((c, k) => {
        const v = c.live(states[i].totals);
        if (v !== null && v !== undefined) { sums[k][0] += v; sums[k][1]++; }
      });
    }
    add(at / 1000, sums.map(([sum, n]) => (n > 0 ? sum / n : null)));
  }
  return data;
}

// groups counts what name gives for open connections, each peer once.
export function groups(connections, name) {
  const seen = new Set(), counts = new Map();
  for (const c of connections) {
    if (c.status === 1 || seen.has(c.peer_id)) continue;
    seen.add(c.peer_id);
    const n = name(c);
    counts.set(n, (counts.get(n) || 0) + 1);
  }
  return Array.from(counts, ([name, n]) => ({ name, n })).sort((a, b) => b.n - a.n || (a.name < b.name ? -1 : 1));
}

const text = new TextDecoder();

// transportOf turns the protocol's ip4+udp+quic-v1 around: what differs first.
export function transportOf(c) {
  const parts = text.decode(c.transport_id).split('+');
  if (parts.length === 1) return parts[0] || 'unknown';
  return `${parts[parts.length - 1]} ${parts[0]}`;
}

function summed(r) {
  return r ? `${rate(types.reduce((n, t) => n + r[t], 0))} entries/s` : '';
}

function Line({ name, title, view, hour, format, fill, note }) {
  const history = hour ? view.model.history : null;
  const newest = view.until > 0 ? view.states[view.until - 1].ts : 0;
  const data = useMemo(() => merged(lines[name], history, view.states, view.until, !hour ? 0 : history ? history.step_seconds : 5), [history, newest, view.until, view.states.length, hour]);
  return html`<${Card} title=${title} note=${note}>
    ${data[0].length > 0 ? html`<${Chart} label=${title} series=${lines[name]} data=${data} format=${format} fill=${fill} />` : html`<${Empty}>Nothing yet.<//>`}
  <//>`;
}

// reaches tells whether the store's history begins before the states of the page.
export function reaches(history, states, until) {
  if (!history || until === 0) return !!history;
  const first = history.times.findIndex((_, i) => history.series.some((s) => s.values[i] !== null));
  return first >= 0 && history.times[first] + 2 * history.step_seconds * 1000 < states[0].ts;
}

export function Overview({ view, source, params, setParams }) {
  // Until there is more to see, what the page itself has seen.
  const more = useMemo(() => reaches(view.model.history, view.states, view.until), [view.model.history, view.until]);
  const hour = params.range === 'hour' || (params.range !== 'window' && more);
  const t = view.totals, s = view.state;
  const sub = (s && s.subsystems) || { connections: [], agents: [] };
  const received = t && t.received, sent = t && t.sent;
  const connections = sub.connections;
  const latencies = t && t.latency;
  const agents = sub.agents.length > 0 ? sub.agents.map((a) => ({ name: a.agent || 'unknown', n: a.peers })) : groups(connections, (c) => agentName(c.agent_version));
  const countries = groups(connections, (c) => c.country).filter((g) => g.name);
  return html`
    <${Alarm} state=${s} />
    <div class="bar"><${Choice} label="Time shown" value=${hour ? 'hour' : 'window'} onChange=${(range) => setParams({ range })}
      options=${[['hour', 'Last hour'], ['window', `Last ${duration(view.model.retention)}`]]} />
      ${hour && !view.model.file && source.historyFault && html`<span class="note">The last hour cannot be shown: ${source.historyFault}.</span>`}</div>
    <${Seen} content=${sub.content} />
    <div class="tiles">
      <${Tile} name="Peers" value=${t ? number(t.peers) : '–'} below=${t && `${counted(t.connections, 'connection')}${s.connections_left_out > 0 ? `, ${number(s.connections_left_out)} not listed` : ''}`} />
      <${Tile} name="Messages in" tone="in" value=${received ? rate(received.messages) : '–'} unit="/s" below=${summed(received)} />
      <${Tile} name="Messages out" tone="out" value=${sent ? rate(sent.messages) : '–'} unit="/s" below=${summed(sent)} />
      <${Tile} name="Blocks in" tone="in" value=${received ? rate(received.blocks) : '–'} unit="/s" below=${received && `${bytes(received.block_bytes)}/s`} />
      <${Tile} name="Blocks out" tone="out" value=${sent ? rate(sent.blocks) : '–'} unit="/s" below=${sent && `${bytes(sent.block_bytes)}/s`} />
      <${Tile} name="Want to block" value=${latencies ? duration(latencies.p50) : '–'} below=${latencies ? `slowest 1 %: ${duration(latencies.p99)}` : 'median of the last minute'} />
    </div>
    <div class="cards">
      <${Line} name="received" title="Bitswap received" note="entries per second" view=${view} hour=${hour} format=${rate} />
      <${Line} name="sent" title="Bitswap sent" note="entries per second" view=${view} hour=${hour} format=${rate} />
      <${Line} name="bytes" title="Blocks" note="bytes per second" view=${view} hour=${hour} format=${bytes} fill />
      <${Line} name="peers" title="Peers" note="connected" view=${view} hour=${hour} format=${number} fill />
      <${Line} name="latency" title="From want to block" note="as others serve this node" view=${view} hour=${hour} format=${duration} />
      <${Card} title="Agents" note="connected peers"><${Bars} label="Agents" rows=${agents.slice(0, 10)} link=${(r) => to('peers', { q: r.name })} /><//>
      <${Card} title="Transports" note="connected peers"><${Bars} label="Transports" rows=${groups(connections, transportOf)} link=${(r) => to('peers', { q: r.name })} /><//>
      ${countries.length > 0 && html`<${Card} title="Countries" note="connected peers"><${Bars} label="Countries" rows=${countries.slice(0, 10)} link=${(r) => to('peers', { q: r.name })} /><//>`}
    </div>`;
}
