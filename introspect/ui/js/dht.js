// DHT: the buckets of a routing table, a square for each place in them, and
// the queries that come and go.

import { useMemo } from '../lib/preact-htm.js';
import { clock, counted, date, duration, number, numeric, shown } from './format.js';
import { Bars, Card, Choice, Cid, Empty, html, Peer, Search, Tile, to, Words } from './parts.js';
import { Table } from './table.js';
import { enums } from './schema.js';

const flash = 4000; // ms that a query is seen in its squares
const mostPlaces = 100; // drawn in a bucket, whatever the table says
const oldest = 3600000; // ms of age from which a square is at its brightest
const statusOf = (s) => (enums['DHT.PeerInDHT.Status'][s] || 'unknown').toLowerCase();

// queriesOf gives the DHT queries among the events up to the moment looked at,
// newest first, at most max.
function queriesOf(view, max, since = 0) {
  const found = [];
  for (let i = view.eventsUntil - 1; i >= 0 && found.length < max; i--) {
    const e = view.events[i];
    if (e.ts < since) break;
    if (e.name !== 'InboundDHTQuery' && e.name !== 'OutboundDHTQuery') continue;
    const data = view.model.data(e);
    if (data) found.push({ e, out: e.name === 'OutboundDHTQuery', peers: (Array.isArray(data.peerIds) ? data.peerIds : []).filter((p) => typeof p === 'string'), data });
  }
  return found;
}

// brightness of a peer by its age in the bucket: from 0.35 when new to 1, by
// the logarithm, so that minutes can be told apart as well as hours.
export function brightness(age) {
  return 0.35 + 0.65 * Math.min(1, Math.log1p(age / 1000) / Math.log1p(oldest / 1000));
}

function Slot({ peer, glow }) {
  if (!peer) return html`<i class="slot none"></i>`;
  const state = statusOf(peer.status);
  return html`<a class=${`slot ${state} ${glow || ''}`} href=${to('peers', { q: peer.peer_id })} tabindex="-1" aria-hidden="true" style=${{ '--bright': brightness(peer.age_in_bucket).toFixed(2) }}
    title=${`${shown(peer.peer_id, 100)}, ${state}, for ${duration(peer.age_in_bucket)}`}></a>`;
}

function Bucket({ bucket, k, glowing }) {
  const slots = bucket.peers.slice(0, mostPlaces);
  const missing = bucket.peers.filter((p) => p.status === 1).length;
  return html`<div class="bucket" role="group" aria-label=${`Bucket ${bucket.cpl}: ${bucket.peers.length} of ${k} places, ${missing} missing`}>
    <h3>${bucket.cpl}<span class="muted"> ${bucket.peers.length}/${k}</span></h3>
    <div class="slots">${Array.from({ length: Math.max(k, slots.length) }, (_, i) => html`<${Slot} key=${slots[i] ? slots[i].peer_id : i} peer=${slots[i]} glow=${slots[i] && glowing.get(slots[i].peer_id)} />`)}</div>
  </div>`;
}

const peerColumns = (now) => [
  { name: 'bucket', title: 'Bucket', width: '70px', right: true, sort: (r) => r.cpl, cell: (r) => r.cpl },
  { name: 'peer', title: 'Peer', width: '128px', sort: (r) => r.p.peer_id, cell: (r) => html`<${Peer} id=${r.p.peer_id} />` },
  { name: 'status', title: 'Status', width: '92px', sort: (r) => r.p.status, cell: (r) => html`<span class=${`status ${statusOf(r.p.status)}`}><i aria-hidden="true"></i>${statusOf(r.p.status)}</span>` },
  { name: 'age', title: 'In it for', width: '96px', right: true, sort: (r) => r.p.age_in_bucket, cell: (r) => duration(r.p.age_in_bucket) },
  { name: 'useful', title: 'Useful', width: '104px', right: true, drop: 1, sort: (r) => r.p.last_useful_ts, cell: (r) => (r.p.last_useful_ts > 0 ? `${duration(Math.max(0, now - r.p.last_useful_ts))} ago` : '–') },
  { name: 'agent', title: 'Agent', width: 'minmax(100px, 1fr)', drop: 1, sort: (r) => r.p.agent_version, cell: (r) => html`<${Words} max=${100}>${r.p.agent_version}<//>` },
];

// took is how long a query took, in ms; captures of ipfsmon 0.1 have the second name.
const took = (data) => numeric(data.totalTimeMs) || numeric(data.duration_ms);

const queryColumns = [
  { name: 'time', title: 'Time', width: '96px', cell: ({ e }) => html`<span class="mono">${clock(e.ts, true)}</span>` },
  { name: 'way', title: 'Way', width: '62px', cell: ({ out }) => html`<span class=${`way ${out ? 'out' : 'in'}`}>${out ? '→ out' : '← in'}</span>` },
  { name: 'type', title: 'Query', width: 'minmax(120px, 1fr)', cell: ({ data }) => html`<${Words} max=${40}>${data.type}<//>` },
  { name: 'key', title: 'Key', width: 'minmax(100px, 1fr)', drop: 2, cell: ({ data }) => html`<${Words} max=${100}>${typeof data.key === 'string' ? data.key : ''}<//>` },
  { name: 'peer', title: 'Peers', width: '150px', cell: ({ peers }) => html`<${Peer} id=${peers[0]} />${peers.length > 1 && html` <span class="muted">+${peers.length - 1}</span>`}` },
  { name: 'result', title: 'Result', width: '76px', drop: 1, cell: ({ data }) => html`<${Words} max=${20}>${typeof data.result === 'string' ? data.result.toLowerCase() : data.result}<//>` },
  { name: 'took', title: 'Took', width: '76px', right: true, drop: 1, cell: ({ data }) => (took(data) > 0 ? duration(took(data)) : '') },
];

const answered = (r) => r.requests - r.failed - r.timeouts - r.canceled;
const totalColumns = [
  { name: 'way', title: 'Way', width: '70px', sort: (r) => r.direction, cell: (r) => html`<span class=${`way ${r.direction === 'sent' ? 'out' : 'in'}`}>${r.direction === 'sent' ? '→ out' : '← in'}</span>` },
  { name: 'type', title: 'Request', width: 'minmax(96px, 1fr)', sort: (r) => r.type, cell: (r) => html`<${Words} max=${20}>${r.type.replace('_', ' ')}<//>` },
  { name: 'requests', title: 'Count', width: '70px', right: true, sort: (r) => r.requests, cell: (r) => number(r.requests) },
  { name: 'peers', title: 'Peers', width: '64px', right: true, sort: (r) => r.peers, cell: (r) => number(r.peers) },
  { name: 'lost', title: 'Unanswered', width: '92px', right: true, drop: 1, sort: (r) => r.failed + r.timeouts, cell: (r) => html`<span title=${`${number(r.failed)} failed, ${number(r.timeouts)} late, ${number(r.canceled)} not waited for`}>${number(r.failed + r.timeouts)}</span>` },
  { name: 'p50', title: 'Median', width: '76px', right: true, drop: 1, sort: (r) => r.p50_us, cell: (r) => (answered(r) > 0 && r.p50_us > 0 ? duration(r.p50_us / 1000) : '–') },
];

const keyColumns = [
  { name: 'cid', title: 'Key as a CID', width: 'minmax(110px, 1fr)', sort: (r) => r.cid, cell: (r) => html`<${Cid} cid=${r.cid} whole />` },
  { name: 'requests', title: 'Count', width: '76px', right: true, sort: (r) => r.requests, cell: (r) => html`<span title=${r.error > 0 ? `too high by ${number(r.error)} at most` : undefined}>${number(r.requests)}${r.error > 0 ? ' ≈' : ''}</span>` },
  { name: 'peers', title: 'Peers', width: '64px', right: true, sort: (r) => r.peers, cell: (r) => number(r.peers) },
];

// Totals shows what was asked in the last complete interval.
function Totals({ content }) {
  if (!content || content.dht_requests.length === 0) return null;
  const keys = content.dht_keys.filter((k) => k.direction === 'received');
  return html`
    <${Card} title="Requests" note=${content.until_ts > 0 ? `of the minute until ${clock(content.until_ts)}` : ''}>
      <${Table} label="Requests of the DHT by type" columns=${totalColumns} rows=${content.dht_requests} keyOf=${(r) => `${r.direction}/${r.type}`} start=${{ by: 'requests', down: true }} height="300px" />
    <//>
    <${Card} title="Who asks" note="requests of others by software">
      <${Bars} rows=${content.dht_agents.map((s) => ({ name: s.name, n: s.wants }))} />
    <//>
    <${Card} title="Providers looked for most" wide note="by others">
      <${Table} label="Keys whose providers are looked for" columns=${keyColumns} rows=${keys} keyOf=${(r) => r.cid} start=${{ by: 'requests', down: true }} height="300px" empty="Nobody asked for providers, or keys may not be shown." />
    <//>`;
}

function Queries({ name, gauge, tone }) {
  const g = gauge || { success: 0, error: 0, timeout: 0 };
  return html`<${Tile} name=${name} tone=${tone} value=${number(g.success + g.error + g.timeout)} below=${`${number(g.success)} ok, ${number(g.error)} failed, ${number(g.timeout)} late`} />`;
}

export function Dht({ view, params, setParams }) {
  const sub = view.state && view.state.subsystems;
  const tables = sub ? (sub.dhts.length > 0 ? sub.dhts : sub.dht ? [sub.dht] : []) : [];
  const dht = tables.find((t) => t.name === params.table) || tables.find((t) => sub.dht && t.name === sub.dht.name) || tables[0];
  const text = (params.q || '').toLowerCase();
  const peers = useMemo(() => (dht ? dht.buckets.flatMap((b) => b.peers.map((p) => ({ cpl: b.cpl, p }))) : [])
    .filter((r) => !text || r.p.peer_id.toLowerCase().includes(text) || r.p.agent_version.toLowerCase().includes(text)), [dht, text]);
  if (!dht) return html`<${Card}><${Empty}>${view.state ? 'This node shows no DHT.' : 'Nothing yet.'}<//><//>`;
  const k = Math.min((dht.params && dht.params.k) || 20, mostPlaces);
  const glowing = new Map();
  for (const q of queriesOf(view, 2000, view.at - flash)) for (const p of q.peers) if (!glowing.has(p)) glowing.set(p, q.out ? 'asked' : 'asks');
  const queries = queriesOf(view, 300);
  const buckets = [...dht.buckets].sort((a, b) => a.cpl - b.cpl);
  return html`
    <div class="bar">
      ${tables.length > 1 && html`<${Choice} label="Table" value=${dht.name} onChange=${(table) => setParams({ table })} options=${tables.map((t) => [t.name, `${shown(t.name, 20).toUpperCase()} (${number(t.size)})`])} />`}
      <span class="note">${shown(dht.protocol, 60)}${dht.mode ? `, as a ${shown(dht.mode, 20)}` : ''}${dht.start_ts > 0 ? `, since ${date(dht.start_ts)}` : ''}</span>
    </div>
    <div class="tiles">
      <${Tile} name="Peers in the table" value=${number(dht.size || peers.length)} below=${`${counted(buckets.length, 'bucket')} of ${number(k)}`} />
      <${Queries} name="Queries of others" tone="in" gauge=${dht.incoming_queries} />
      <${Queries} name="Queries of this node" tone="out" gauge=${dht.outgoing_queries} />
    </div>
    <div class="cards halves">
    <${Card} title="Buckets" wide note="bits that the keys have in common with this node's">
      ${buckets.length === 0 ? html`<${Empty}>The table is empty.<//>` : html`<div class="buckets">${buckets.map((b) => html`<${Bucket} key=${b.cpl} bucket=${b} k=${k} glowing=${glowing} />`)}</div>`}
      <p class="key" aria-hidden="true"><i class="slot active young"></i> new <i class="slot active"></i> long there <i class="slot missing"></i> missing <i class="slot none"></i> free <i class="slot active asks"></i> asks us <i class="slot active asked"></i> asked by us</p>
    <//>
    <${Card} title="Peers in the table">
      <div class="bar"><${Search} label="Peer or agent" value=${params.q || ''} onChange=${(q) => setParams({ q })} /></div>
      <${Table} label="Peers in the routing table" columns=${peerColumns(view.state.instant_ts)} rows=${peers} keyOf=${(r) => `${r.cpl}/${r.p.peer_id}`} start=${{ by: 'bucket', down: true }} height="340px" />
    <//>
    <${Totals} content=${sub.content} />
    <${Card} title="Queries" note="newest first">
      <${Table} label="DHT queries" columns=${queryColumns} rows=${queries} fixedOrder keyOf=${({ e }) => e.order} height="386px" empty="No query in this window." />
    <//></div>`;
}
