// Proxy: what peers ask of a proxy and get, and how each node behind it does.

import { bytes, duration, number } from './format.js';
import { Card, Empty, Facts, html, Peer, Tile, Words } from './parts.js';
import { Table } from './table.js';

const ms = (t, key) => (t ? duration(t[`${key}_us`] / 1000) : '–');
const percent = (part, all) => (all > 0 ? `${(100 * part / all).toFixed(part > 0 && part < all ? 1 : 0)} %` : '–');

// stateOf says how a node stands, in a word and the class of its mark.
export function stateOf(d) {
  if (!d.connected) return ['down', 'error'];
  return d.stalled ? ['silent', 'missing'] : ['connected', 'active'];
}

const col = (name, title, width, value, cell, right = true, drop = 0) => ({ name, title, width, right, drop, sort: value, cell: cell || ((r) => number(value(r))) });
const loss = (value) => (r) => (value(r) > 0 ? html`<b class="bad">${number(value(r))}</b>` : html`<span class="muted">0</span>`);

const columns = [
  col('name', 'Node', 'minmax(90px, 1fr)', (r) => r.name, (r) => html`<${Words} max=${64}>${r.name}<//>`, false),
  col('state', 'State', '100px', (r) => stateOf(r)[0], (r) => html`<span class=${`status ${stateOf(r)[1]}`}><i aria-hidden="true"></i>${stateOf(r)[0]}</span>`, false),
  col('rtt', 'Round trip', '92px', (r) => (r.rtt ? r.rtt.p50_us : -1), (r) => ms(r.rtt, 'p50'), true, 1),
  col('slow', 'Slowest 1 %', '96px', (r) => (r.rtt ? r.rtt.p99_us : -1), (r) => ms(r.rtt, 'p99'), true, 3),
  col('share', 'Share', '76px', (r) => r.share_permille, (r) => percent(r.share_permille, 1000), true, 4),
  col('outstanding', 'Asked', '76px', (r) => r.outstanding, null, true, 6),
  col('verified', 'Verified', '76px', (r) => r.verified), col('bytes', 'Data', '92px', (r) => r.verified_bytes, (r) => bytes(r.verified_bytes), true, 2),
  col('refused', 'Refused', '70px', (r) => r.refused, loss((r) => r.refused)),
  col('dont', 'Has not', '84px', (r) => r.dont_have, null, true, 7), col('late', 'Late', '70px', (r) => r.late, null, true, 8),
  col('timeouts', 'Timed out', '88px', (r) => r.timeouts, loss((r) => r.timeouts), true, 2),
  col('connects', 'Connects', '84px', (r) => r.connects, null, true, 9),
  col('peer', 'Peer', '128px', (r) => r.peer_id, (r) => html`<${Peer} id=${r.peer_id} />`, false, 5),
];

export function ProxyView({ view }) {
  const p = view.state && view.state.subsystems && view.state.subsystems.proxy;
  if (!p) return html`<${Card}><${Empty}>${view.state ? 'This is a node, no proxy.' : 'Nothing yet.'}<//><//>`;
  const up = p.downstreams.filter((d) => d.connected).length, wants = p.want_block + p.want_have;
  return html`
    <div class="bar"><span class="note">Counted since the start; shares and times are of the last ${p.interval_ms > 0 ? duration(p.interval_ms) : 'interval'}.</span></div>
    <div class="tiles">
      <${Tile} name="Upstream peers" value=${number(p.upstream_peers)} below="connected and served" />
      <${Tile} name="Nodes behind" value=${`${number(up)} of ${number(p.downstreams.length)}`} tone=${up === 0 ? 'bad' : ''} below=${up === 0 ? 'nothing can be served' : 'connected'} />
      <${Tile} name="Outstanding" value=${number(p.outstanding)} below=${`${number(p.waiting)} wait for their turn`} />
      <${Tile} name="Merged wants" value=${number(p.merged)} below=${`${percent(p.merged + p.cached, wants)} of wants spared`} />
      <${Tile} name="Want to block" value=${ms(p.answer, 'p50')} below=${p.answer ? `slowest 1 %: ${ms(p.answer, 'p99')}` : 'none in the last interval'} />
      <${Tile} name="Blocks to peers" tone="out" value=${number(p.blocks)} below=${`${bytes(p.block_bytes)}, ${bytes(p.queued_bytes)} queued`} />
    </div>
    <div class="cards">
      <${Card} title="Nodes behind" wide note=${`${number(p.downstreams.reduce((n, d) => n + d.verified, 0))} blocks verified, ${number(p.downstreams.reduce((n, d) => n + d.refused, 0))} refused`}>
        <${Table} label="Nodes behind" columns=${columns} rows=${p.downstreams} keyOf=${(r) => r.name} height=${`${Math.min(386, 38 + 34 * p.downstreams.length)}px`} />
      <//>
      <${Card} title="Wants of peers"><${Facts} rows=${[['For a block', number(p.want_block)], ['Who has it', number(p.want_have)], ['Just fetched for another', number(p.cached)], ['Answered: have', number(p.have)], ['Answered: nobody has it', number(p.dont_have)],
    ['Put off: a full queue', number(p.deferred)], ['Over a limit', number(p.overflow), p.overflow > 0 ? 'bad' : 'good']]} /><//>
      <${Card} title="Beside Bitswap"><${Facts} rows=${[['Streams passed on', number(p.passed_streams)], ['Streams refused', number(p.blocked_streams)], ['Preloads', number(p.preload_requests)],
    ['Preloads running', number(p.preload_running)], ['Preloads refused', number(p.preload_refused), p.preload_refused > 0 ? 'bad' : 'good']]} /><//>
    </div>`;
}
