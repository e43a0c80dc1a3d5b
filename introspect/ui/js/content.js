// Content: what is wanted of this node, and how fast wants are answered.

import { clock, duration, number } from './format.js';
import { Answered } from './answered.js';
import { Alarm, Coverage, Floods, Lines, Seen } from './line.js';
import { Bars, Card, Cid, Empty, html, Peer, Tile, Words } from './parts.js';
import { Table } from './table.js';

// about writes a count whose error is known.
const about = (r) => html`<span title=${r.error > 0 ? `too high by ${number(r.error)} at most` : undefined}>${number(r.wants)}${r.error > 0 ? ' ≈' : ''}</span>`;

const cidColumns = [
  { name: 'cid', title: 'CID', width: 'minmax(110px, 1fr)', sort: (r) => r.cid, cell: (r) => html`<${Cid} cid=${r.cid} whole />` },
  { name: 'wants', title: 'Wants', width: '76px', right: true, sort: (r) => r.wants, cell: about },
  { name: 'peers', title: 'Peers', width: '60px', right: true, sort: (r) => r.peers, cell: (r) => number(r.peers) },
];

const peerColumns = [
  { name: 'peer', title: 'Peer', width: '116px', sort: (r) => r.peer_id, cell: (r) => html`<${Peer} id=${r.peer_id} />` },
  { name: 'agent', title: 'Agent', drop: 1, width: 'minmax(90px, 1fr)', sort: (r) => r.agent_version, cell: (r) => html`<${Words} max=${100}>${r.agent_version}<//>` },
  { name: 'wants', title: 'Wants', width: '84px', right: true, sort: (r) => r.wants, cell: about },
];

const wantColumns = [
  { name: 'cid', title: 'CID', width: 'minmax(110px, 1fr)', sort: (r) => r.cid, cell: (r) => html`<${Cid} cid=${r.cid} whole />` },
  { name: 'what', title: 'Asked for', width: '110px', sort: (r) => Number(r.have), cell: (r) => (r.have ? 'who has it' : 'the block') },
];

const latencyColumns = [
  { name: 'way', title: 'Wants', width: 'minmax(76px, 1fr)', sort: (r) => r.direction, cell: (r) => (r.direction === 'sent' ? 'of this node' : 'of others') },
  { name: 'answer', title: 'Answer', width: '76px', sort: (r) => r.answer, cell: (r) => html`<${Words} max=${20}>${r.answer.replace('_', ' ')}<//>` },
  { name: 'count', title: 'Count', width: '60px', right: true, drop: 2, sort: (r) => r.count, cell: (r) => number(r.count) },
  ...[['p50', 'Median'], ['p90', '90 %'], ['p99', '99 %'], ['max', 'Slowest']].map(([k, title]) => ({
    name: k, title, width: '66px', right: true, drop: k === 'p90' || k === 'max' ? 1 : 0, sort: (r) => r[`${k}_us`], cell: (r) => (r.count > 0 ? duration(r[`${k}_us`] / 1000) : '–'),
  })),
];

const shares = (list) => list.map((s) => ({ name: s.name, n: s.wants }));
const tall = (rows) => `${Math.min(Math.max(rows.length, 1), 12) * 34 + 38}px`;

export function Content({ view }) {
  const sub = view.state && view.state.subsystems;
  const c = sub && sub.content;
  if (!c) return html`<${Card}><${Empty}>This node shows nothing of its content${view.state ? '' : ' yet'}.<//><//>`;
  const u = c.unique || { cids_received: NaN, cids_sent: NaN, peers_received: NaN, peers_sent: NaN };
  const b = sub.bitswap;
  const when = c.until_ts > 0 ? `${clock(c.since_ts)} to ${clock(c.until_ts)}` : 'the first minute is not over';
  const list = (label, columns, rows, keyOf, by) => html`<${Table} label=${label} columns=${columns} rows=${rows} keyOf=${keyOf} start=${{ by, down: true }} height=${tall(rows)} />`;
  return html`
    <${Alarm} state=${view.state} />
    <div class="bar"><span class="note">Figures of one interval: ${when}</span></div>
    <${Seen} content=${c} />
    <div class="tiles">
      <${Tile} name="CIDs others want" tone="in" value=${number(u.cids_received)} below="distinct" />
      <${Tile} name="CIDs this node wants" tone="out" value=${number(u.cids_sent)} below="distinct" />
      <${Tile} name="Peers heard" tone="in" value=${number(u.peers_received)} below="distinct" />
      <${Tile} name="Peers asked" tone="out" value=${number(u.peers_sent)} below="distinct" />
      <${Tile} name="Wants repeated" value=${number(c.duplicates)} below=${`${number(c.rebroadcasts)} after a while again`} />
      <${Tile} name="Wantlist" value=${b ? number(b.wantlist_total) : '–'} below="this node waits for" />
    </div>
    <div class="cards halves">
      <${Card} title="Most wanted" note="by wants received">${list('Most wanted CIDs', cidColumns, c.top_cids, (r) => r.cid, 'wants')}<//>
      <${Card} title="Wanted by most peers">${list('CIDs wanted by most peers', cidColumns, c.top_cids_by_peers, (r) => r.cid, 'peers')}<//>
      <${Card} title="Who wants most">${list('Peers that want most', peerColumns, c.top_peers, (r) => r.peer_id, 'wants')}<//>
      <${Coverage} content=${c} />
      <${Lines} content=${c} />
      <${Floods} content=${c} />
      <${Answered} view=${view} content=${c} />
      <${Card} title="From want to answer">${list('Latencies', latencyColumns, c.latency, (r) => r.direction + r.answer, 'count')}<//>
      <${Card} title="Codecs" note="wants received"><${Bars} label="Codecs" rows=${shares(c.codecs)} /><//>
      <${Card} title="CID versions" note="wants received"><${Bars} label="CID versions" rows=${shares(c.versions).map((r) => ({ ...r, name: `version ${r.name}` }))} /><//>
      <${Card} title="Hashes" note="wants received"><${Bars} label="Hashes" rows=${shares(c.hashes)} /><//>
      ${b && b.wantlist.length > 0 && html`<${Card} title="This node waits for">${list('Wantlist', wantColumns, b.wantlist, (r) => r.cid + r.have, 'cid')}<//>`}
    </div>`;
}
