// Who answered: where the blocks that the node wanted came from, what its
// searches found, and what it asked over HTTP.

import { bytes, clock, counted, duration, number, numeric, shown } from './format.js';
import { Card, Cid, Empty, html, Peer, Words } from './parts.js';
import { Table } from './table.js';

// Without a prototype: they are asked with a node's words.
const sources = { __proto__: null, connected: 'connected', routing: 'found for it', session: 'found before', http: 'HTTP', unknown: 'not known' };
const word = (v) => (typeof v === 'string' ? v : '');
const outcome = (v) => word(v).replace('dont_', "don't ").replace('_', ' ');
const time = (name, title, drop = 0) => ({ name, title, width: '66px', right: true, drop, sort: (r) => r[name], cell: (r) => duration(r[name] / 1000) });

const sourceColumns = [
  { name: 'source', title: 'Source', width: 'minmax(90px, 1fr)', sort: (r) => r.source, cell: (r) => sources[r.source] || shown(r.source, 20) },
  { name: 'blocks', title: 'Blocks', width: '62px', right: true, sort: (r) => r.blocks, cell: (r) => number(r.blocks) },
  { name: 'bytes', title: 'Bytes', width: '80px', right: true, drop: 1, sort: (r) => r.bytes, cell: (r) => bytes(r.bytes) },
  time('provider_p50_us', 'Found'), time('block_p50_us', 'Block'), time('block_p90_us', '90 %', 1), time('block_max_us', 'Slowest', 2),
];

const requestColumns = [
  { name: 'method', title: 'Method', width: '62px', sort: (r) => r.method, cell: (r) => html`<${Words} max=${20}>${r.method}<//>` },
  { name: 'outcome', title: 'Outcome', width: 'minmax(90px, 1fr)', sort: (r) => r.outcome, cell: (r) => html`<${Words} max=${20}>${outcome(r.outcome)}<//>` },
  { name: 'requests', title: 'Count', width: '62px', right: true, sort: (r) => r.requests, cell: (r) => number(r.requests) },
  { name: 'bytes', title: 'Bytes', width: '80px', right: true, drop: 1, sort: (r) => r.bytes, cell: (r) => (r.bytes > 0 ? bytes(r.bytes) : '') },
  time('p50_us', 'Median'), time('max_us', 'Slowest', 1),
];

const tall = (rows) => `${Math.min(Math.max(rows.length, 1), 8) * 34 + 38}px`;

// wantedText sums the wants and searches of an interval up in words.
export function wantedText(w) {
  const parts = [`began to want ${counted(w.blocks, 'block')}`, w.given_up > 0 && `gave up ${number(w.given_up)}`, w.unanswered > 0 && `stopped asking for ${number(w.unanswered)}`,
    `waits for ${number(w.waiting)}`, w.surplus > 0 && `got ${counted(w.surplus, 'block')} twice or unasked`].filter(Boolean).join(', ');
  const searches = w.searches > 0 ? ` Of ${counted(w.searches, 'search', 'searches')} for providers, which found ${number(w.providers)}, ${number(w.not_found)} found none; half took less than ${duration(w.search_p50_us / 1000)}.` : '';
  return `The node ${parts}.${searches}`;
}

// latest are the newest events of the three kinds, newest first.
function latest(view, max) {
  const found = [];
  for (let i = view.eventsUntil - 1; i >= 0 && found.length < max; i--) {
    const e = view.events[i];
    if (e.name !== 'BlockRetrieved' && e.name !== 'HTTPRequest' && e.name !== 'ProviderSearch') continue;
    const data = view.model.data(e);
    if (data) found.push({ e, data });
  }
  return found;
}

// happened says in words what an event was.
export function happened(name, d) {
  if (name === 'BlockRetrieved') return `block, provider ${sources[word(d.source)] || shown(d.source, 20)}`;
  if (name === 'HTTPRequest') return `${shown(d.method, 10)}: ${shown(outcome(d.outcome), 20)}`;
  if (d.state === 'found') return `search found a provider${d.http === true ? ' over HTTP' : ''}${d.connected === true ? ', connected already' : ''}`;
  if (d.state === 'ended') return `search ended with ${counted(numeric(d.providers), 'provider')}`;
  return `search ${shown(d.state, 20)}`;
}

const eventColumns = [
  { name: 'time', title: 'Time', width: '96px', drop: 1, cell: ({ e }) => html`<span class="mono">${clock(e.ts, true)}</span>` },
  { name: 'what', title: 'What', width: 'minmax(120px, 2fr)', cell: ({ e, data }) => html`<${Words} max=${100}>${happened(e.name, data)}<//>` },
  { name: 'cid', title: 'CID', width: 'minmax(90px, 1fr)', cell: ({ data }) => html`<${Cid} cid=${word(data.cid)} />` },
  { name: 'peer', title: 'Peer', width: '116px', drop: 2, cell: ({ data }) => html`<${Peer} id=${word(data.peer)} />` },
  { name: 'took', title: 'After', width: '66px', right: true, cell: ({ data }) => { const ms = numeric(data.to_block_ms) || numeric(data.duration_ms); return ms > 0 ? duration(ms) : ''; } },
];

// Answered are the cards of a page.
export function Answered({ view, content }) {
  const { retrievals, wanted, http_requests: requests } = content;
  const events = latest(view, 200);
  if (retrievals.length === 0 && !wanted && requests.length === 0 && events.length === 0) {
    return html`<${Card} title="Who answered"><${Empty}>The node wanted nothing in this interval.<//><//>`;
  }
  return html`
    <${Card} title="Who answered" note="blocks that the node wanted, medians of the times">
      <${Table} label="Blocks by source" columns=${sourceColumns} rows=${retrievals} keyOf=${(r) => r.source} start=${{ by: 'blocks', down: true }} height=${tall(retrievals)} empty="No wanted block came." />
      ${wanted && html`<p class="note below">${wantedText(wanted)}</p>`}
    <//>
    ${requests.length > 0 && html`<${Card} title="Asked over HTTP" note="GET of a block, HEAD: who has it">
      <${Table} label="HTTP requests" columns=${requestColumns} rows=${requests} keyOf=${(r) => r.method + r.outcome} start=${{ by: 'requests', down: true }} height=${tall(requests)} /><//>`}
    ${events.length > 0 && html`<${Card} title="Searches, requests and blocks" note="newest first">
      <${Table} label="Searches, requests and blocks" columns=${eventColumns} rows=${events} fixedOrder keyOf=${({ e }) => e.order} height="310px" /><//>`}`;
}
