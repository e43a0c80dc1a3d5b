// Peers and connections: every connection with its streams inside, and the
// streams by themselves.

import { useMemo } from '../lib/preact-htm.js';
import { bytes, counted, date, duration, number } from './format.js';
import { Choice, html, Peer, Search, Toggle, Words } from './parts.js';
import { Table } from './table.js';
import { transportOf } from './overview.js';
import { enums } from './schema.js';

const hex = (b) => Array.from(b.subarray(0, 32), (x) => x.toString(16).padStart(2, '0')).join('');
const statusOf = (s) => (enums.Status[s] || 'unknown').toLowerCase();
const roleOf = (r) => (r === 0 ? 'outbound' : r === 1 ? 'inbound' : 'unknown');
const gauge = (c, way, key) => (c.traffic && c.traffic[way] ? c.traffic[way][key] : 0);
const streamsOf = (c) => (c.streams ? c.streams.streams : []);
const streamCount = (c) => (c.streams ? Math.max(c.streams.streams.length, c.streams.stream_ids.length) : 0);
const remoteOf = (c) => (!c.endpoints ? '' : c.role === 1 ? c.endpoints.src_multiaddr : c.endpoints.dst_multiaddr);
const opened = (c) => (c.timeline ? c.timeline.open_ts : 0);
const closed = (c) => (c.timeline ? c.timeline.close_ts : 0);

// Several connections may share figures that libp2p counts by peer alone.
const shared = (of, text) => (of > 1 ? html`<span title=${`of ${of} together`}>${text}*</span>` : text);
const amount = (c, way) => (c.traffic_of === 0 && gauge(c, way, 'cum_bytes') === 0 ? html`<span class="muted">–</span>` : shared(c.traffic_of, bytes(gauge(c, way, 'cum_bytes'))));

function Rate({ n, most, way }) {
  if (!(n > 0)) return html`<span class="muted">–</span>`;
  const size = 5 + 9 * Math.sqrt(n / Math.max(most, 1));
  return html`<i class=${`bubble ${way}`} aria-hidden="true" style=${{ width: `${size}px`, height: `${size}px` }}></i>${bytes(n)}/s`;
}

function Status({ s }) {
  const name = statusOf(s);
  return html`<span class=${`status ${name}`}><i aria-hidden="true"></i>${name}</span>`;
}

function Way({ role }) {
  return role === 0 ? html`<span class="way out">→ out</span>` : role === 1 ? html`<span class="way in">← in</span>` : html`<span class="muted">–</span>`;
}

// matches looks for text in what a connection tells of itself and its streams.
export function matches(c, text) {
  return [c.peer_id, c.agent_version, c.country, remoteOf(c), transportOf(c), statusOf(c.status), roleOf(c.role)].some((s) => s.toLowerCase().includes(text)) ||
    (c.gateway && text === 'gateway') || c.user_provided_tags.some((t) => t.toLowerCase().includes(text)) ||
    streamsOf(c).some((s) => s.protocol.toLowerCase().includes(text));
}

function connectionColumns(now, most) {
  return [
    { name: 'peer', title: 'Peer', width: '112px', sort: (c) => c.peer_id, cell: (c) => html`${c.status === 1 && html`<i class="gone" title="closed" aria-label="closed">×</i>`}<${Peer} id=${c.peer_id} />` },
    { name: 'status', title: 'Status', width: '74px', drop: 4, sort: (c) => c.status, cell: (c) => html`<${Status} s=${c.status} />` },
    { name: 'agent', title: 'Agent', width: 'minmax(110px, 1.6fr)', sort: (c) => c.agent_version, cell: (c) => html`<${Words}>${c.agent_version}<//>` },
    { name: 'way', title: 'Way', width: '50px', drop: 5, sort: (c) => c.role, cell: (c) => html`<${Way} role=${c.role} />` },
    { name: 'transport', title: 'Transport', width: 'minmax(110px, .8fr)', drop: 7, sort: transportOf, cell: (c) => html`<${Words} max=${60}>${transportOf(c)}<//>` },
    { name: 'country', title: 'Country', width: '58px', drop: 8, sort: (c) => c.country, cell: (c) => html`<${Words} max=${10}>${c.country}<//>` },
    { name: 'age', title: 'Open for', width: '96px', right: true, drop: 2, sort: (c) => (closed(c) || now) - opened(c), cell: (c) => (opened(c) > 0 ? duration((closed(c) || now) - opened(c)) : '–') },
    { name: 'latency', title: 'Latency', width: '66px', right: true, drop: 9, sort: (c) => c.latency_ns, cell: (c) => (c.latency_ns > 0 ? duration(c.latency_ns / 1e6) : '–') },
    { name: 'in', title: 'Data in', width: '78px', right: true, sort: (c) => gauge(c, 'traffic_in', 'cum_bytes'), cell: (c) => amount(c, 'traffic_in') },
    { name: 'out', title: 'Data out', width: '78px', right: true, drop: 1, sort: (c) => gauge(c, 'traffic_out', 'cum_bytes'), cell: (c) => amount(c, 'traffic_out') },
    { name: 'bwin', title: 'Now in', width: '92px', right: true, drop: 6, sort: (c) => gauge(c, 'traffic_in', 'inst_bw'), cell: (c) => html`<${Rate} n=${gauge(c, 'traffic_in', 'inst_bw')} most=${most} way="in" />` },
    { name: 'bwout', title: 'Now out', width: '92px', right: true, drop: 6, sort: (c) => gauge(c, 'traffic_out', 'inst_bw'), cell: (c) => html`<${Rate} n=${gauge(c, 'traffic_out', 'inst_bw')} most=${most} way="out" />` },
    { name: 'streams', title: 'Streams', width: '62px', right: true, drop: 3, sort: streamCount, cell: (c) => number(streamCount(c)) },
  ];
}

function insideConnection(now) {
  return (c) => {
    const facts = [['', roleOf(c.role)], ['address', remoteOf(c)], ['transport', transportOf(c)], ['country', c.country], ['latency', c.latency_ns > 0 && duration(c.latency_ns / 1e6)],
      ['security', c.attribs && c.attribs.encryption], ['muxer', c.attribs && c.attribs.multiplexer],
      ['opened', opened(c) > 0 && date(opened(c))], ['closed', closed(c) > 0 && date(closed(c))]].filter(([, v]) => v);
    const marks = [c.gateway && 'gateway', c.limited && 'through a relay', ...c.user_provided_tags].filter(Boolean);
    const lines = [html`<span class="facts">${facts.map(([k, v]) => html`<span key=${k}><span class="muted">${k}</span> <${Words} max=${600}>${v}<//></span>`)}${marks.map((m) => html`<span class="tag" key=${m}><${Words} max=${60}>${m}<//></span>`)}</span>`];
    for (const s of streamsOf(c)) {
      lines.push(html`<span class="facts stream"><${Words} max=${200}>${s.protocol || 'protocol not agreed on'}<//><span class="muted">${roleOf(s.role)}, ${statusOf(s.status)}${s.timeline && s.timeline.open_ts > 0 ? `, ${duration((s.timeline.close_ts || now) - s.timeline.open_ts)}` : ''}</span>
        <span>${amount(s, 'traffic_in')} in</span><span>${amount(s, 'traffic_out')} out</span></span>`);
    }
    return lines;
  };
}

function streamColumns(now) {
  const age = ({ s }) => (s.timeline && s.timeline.open_ts > 0 ? (s.timeline.close_ts || now) - s.timeline.open_ts : -1);
  return [
    { name: 'protocol', title: 'Protocol', width: 'minmax(180px, 2fr)', sort: ({ s }) => s.protocol, cell: ({ s }) => html`<${Words}>${s.protocol || 'not agreed on'}<//>` },
    { name: 'peer', title: 'Peer', width: '124px', sort: ({ c }) => c.peer_id, cell: ({ c }) => html`<${Peer} id=${c.peer_id} />` },
    { name: 'status', title: 'Status', width: '92px', drop: 1, sort: ({ s }) => s.status, cell: ({ s }) => html`<${Status} s=${s.status} />` },
    { name: 'role', title: 'Way', width: '62px', drop: 2, sort: ({ s }) => s.role, cell: ({ s }) => html`<${Way} role=${s.role} />` },
    { name: 'age', title: 'Open for', width: '96px', right: true, sort: age, cell: (r) => (age(r) >= 0 ? duration(age(r)) : '–') },
    { name: 'in', title: 'Data in', width: '92px', right: true, sort: ({ s }) => gauge(s, 'traffic_in', 'cum_bytes'), cell: ({ s }) => amount(s, 'traffic_in') },
    { name: 'out', title: 'Data out', width: '92px', right: true, sort: ({ s }) => gauge(s, 'traffic_out', 'cum_bytes'), cell: ({ s }) => amount(s, 'traffic_out') },
    { name: 'agent', title: 'Agent', width: 'minmax(90px, 1fr)', drop: 1, sort: ({ c }) => c.agent_version, cell: ({ c }) => html`<${Words} max=${80}>${c.agent_version}<//>` },
  ];
}

export function Peers({ view, params, setParams }) {
  const { state } = view;
  const all = state && state.subsystems ? state.subsystems.connections : [];
  const now = state ? state.instant_ts : 0, streams = params.show === 'streams', past = params.closed === 'yes';
  const text = (params.q || '').toLowerCase();
  const found = useMemo(() => all.filter((c) => (past || c.status !== 1) && (!text || matches(c, text))), [all, text, past]);
  const most = useMemo(() => all.reduce((n, c) => Math.max(n, gauge(c, 'traffic_in', 'inst_bw'), gauge(c, 'traffic_out', 'inst_bw')), 0), [all]);
  const rows = useMemo(() => (streams ? found.flatMap((c) => streamsOf(c).map((s) => ({ c, s }))) : found), [found, streams]);
  const open = useMemo(() => found.filter((c) => c.status !== 1).length, [found]);
  const peers = useMemo(() => new Set(found.map((c) => c.peer_id)).size, [found]);
  return html`
    <div class="bar">
      <${Choice} label="What is listed" value=${streams ? 'streams' : ''} onChange=${(show) => setParams({ show })} options=${[['', 'Connections'], ['streams', 'Streams']]} />
      <${Search} label="Peer, agent, address, protocol" value=${params.q || ''} onChange=${(q) => setParams({ q })} />
      <${Toggle} on=${past} onChange=${(on) => setParams({ closed: on ? 'yes' : '' })}>closed ones too<//>
      <span class="note">${streams ? counted(rows.length, 'stream') : counted(open, 'open connection')}${!streams && past ? `, ${number(found.length - open)} closed` : ''}, ${counted(peers, 'peer')}${text ? `, of ${counted(all.length, 'connection')} here` : ''}</span>
    </div>
    ${streams ? html`<${Table} key="streams" label="Streams" columns=${streamColumns(now)} rows=${rows} keyOf=${({ c, s }) => hex(c.id) + hex(s.id)} start=${{ by: 'in', down: true }} empty="No stream." />`
    : html`<${Table} key="connections" label="Connections" columns=${connectionColumns(now, most)} rows=${rows} keyOf=${(c) => hex(c.id)} inside=${insideConnection(now)}
        start=${{ by: 'in', down: true }} empty=${all.length > 0 ? 'No connection has that.' : 'No connection.'} />`}`;
}

