// What uses the line, who floods the node, and how much of the network the node sees.

import { bytes, clock, number, shown } from './format.js';
import { Bars, Card, Cid, Empty, html, Peer, to, Words } from './parts.js';
import { Table } from './table.js';

const percent = (permille) => `${Math.round(permille / 10)} %`;

// running are the floods of a state that go on.
export const running = (state) => {
  const content = state && state.subsystems && state.subsystems.content;
  return content ? content.floods.filter((f) => f.until_ts === 0) : [];
};

// Alarm names the peers that flood the node now; nothing if there are none.
export function Alarm({ state }) {
  const floods = running(state);
  if (floods.length === 0) return null;
  return html`<div class="notice bad" role="alert">${floods.slice(0, 3).map((f) => html`<${Flood} key=${f.peer_id} f=${f} />`)}
    ${floods.length > 3 && html`<p><a href=${to('content')}>${number(floods.length - 3)} more</a></p>`}</div>`;
}

function Flood({ f }) {
  return html`<p class="flood">${f.until_ts > 0 ? '' : html`<strong>Flood: </strong>`}<${Peer} id=${f.peer_id} /> <${Words} max=${100}>${f.agent_version || 'unknown agent'}<//>
    ${' '}${f.until_ts > 0 ? 'sent' : 'sends'} ${number(f.wants_per_second)} wants and ${number(f.messages_per_second)} messages a second,
    ${' '}${percent(f.share_permille)} of all, ${percent(f.repeats_permille)} repeated; ${f.until_ts > 0 ? `${clock(f.since_ts)} to ${clock(f.until_ts)}` : `since ${clock(f.since_ts)}`}
    ${f.address && html`, from <${Words} max=${120}>${f.address}<//>`}.
    ${f.block ? html` <span>To block it: <code>${shown(f.block, 2000)}</code></span>` : ' It comes through a relay, so there is no address to block.'}</p>`;
}

// Floods lists those that go on and the last ones that ended.
export function Floods({ content }) {
  if (content.floods.length === 0) return null;
  return html`<${Card} title="Floods" note="peers that send too much" wide>${content.floods.map((f) => html`<${Flood} key=${f.peer_id + f.since_ts} f=${f} />`)}<//>`;
}

const about = (r) => html`<span title=${r.error > 0 ? `too high by ${bytes(r.error)} at most` : undefined}>${bytes(r.bytes)}${r.error > 0 ? ' ≈' : ''}</span>`;
const amount = { name: 'bytes', title: 'Bytes', width: '84px', right: true, sort: (r) => r.bytes, cell: about };
const cidColumns = [{ name: 'name', title: 'CID', width: 'minmax(110px, 1fr)', sort: (r) => r.name, cell: (r) => html`<${Cid} cid=${r.name} whole />` }, amount];
const peerColumns = [
  { name: 'name', title: 'Peer', width: '116px', sort: (r) => r.name, cell: (r) => html`<${Peer} id=${r.name} />` },
  { name: 'agent', title: 'Agent', drop: 1, width: 'minmax(90px, 1fr)', sort: (r) => r.agent_version, cell: (r) => html`<${Words} max=${100}>${r.agent_version}<//>` },
  amount,
];
const ways = { __proto__: null, received: 'in', sent: 'out' };
const tall = (rows) => `${Math.min(Math.max(rows.length, 1), 8) * 34 + 38}px`;

// Lines are the cards of both directions.
export function Lines({ content }) {
  const list = (label, columns, rows) => html`<${Table} label=${label} columns=${columns} rows=${rows} keyOf=${(r) => r.name} start=${{ by: 'bytes', down: true }} height=${tall(rows)} />`;
  return content.lines.filter((l) => l.direction in ways).map((l) => {
    const way = ways[l.direction];
    return html`
      <${Card} key=${`c${way}`} title=${`Line ${way}: data`} note=${`${bytes(l.block_bytes)} of blocks`}>${list(`Bytes ${way} by CID`, cidColumns, l.cids)}<//>
      <${Card} key=${`p${way}`} title=${`Line ${way}: peers`} note=${`${bytes(l.bytes)} of messages`}>${list(`Bytes ${way} by peer`, peerColumns, l.peers)}<//>
      <${Card} key=${`a${way}`} title=${`Line ${way}: agents`} note="messages"><${Bars} label=${`Bytes ${way} by agent`} rows=${l.agents.map((a) => ({ name: a.name, n: a.bytes }))} format=${bytes} /><//>`;
  });
}

// sums adds the coverage of all families up.
export const sums = (coverage) => coverage.reduce((s, c) => ({ connected: s.connected + c.connected, asked: s.asked + c.asked, broadcast: s.broadcast + c.broadcast }), { connected: 0, asked: 0, broadcast: 0 });

const coverageColumns = [
  { name: 'family', title: 'Agent', width: 'minmax(90px, 1fr)', sort: (r) => r.family, cell: (r) => html`<${Words} max=${40}>${r.family}<//>` },
  ...[['connected', 'Connected'], ['asked', 'Asked'], ['broadcast', 'Asked all']].map(([k, title]) => ({ name: k, title, width: '84px', right: true, sort: (r) => r[k], cell: (r) => number(r[k]) })),
];

// Seen says how much of what the connected peers want the figures beside it can be of.
export function Seen({ content }) {
  if (!content || content.coverage.length === 0) return null;
  const s = sums(content.coverage);
  return html`<p class="note">These figures are of this node, not of the network: of ${number(s.connected)} connected peers, ${number(s.asked)} ever asked it, ${number(s.broadcast)} in a way that looks like a question to all their peers.</p>`;
}

export function Coverage({ content }) {
  return html`<${Card} title="Coverage" note="connected peers that ever asked this node; asked all: like a broadcast">
    ${content.coverage.length > 0 ? html`<${Table} label="Coverage by agent" columns=${coverageColumns} rows=${content.coverage} keyOf=${(r) => r.family} start=${{ by: 'connected', down: true }} height=${tall(content.coverage)} />` : html`<${Empty}>Nothing yet.<//>`}
  <//>`;
}
