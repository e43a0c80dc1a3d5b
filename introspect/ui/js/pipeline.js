// Pipeline: how the monitor itself does. Whatever is lost on the way from the
// node to a store or a subscriber is counted here.

import { bytes, date, duration, number } from './format.js';
import { Card, Empty, Facts, html, Tile, Words } from './parts.js';
import { Table } from './table.js';

const col = (name, title, width, value, cell, right = true, drop = 0) => ({ name, title, width, right, drop, sort: value, cell: cell || ((r) => number(value(r))) });
const words = (value) => (r) => html`<${Words} max=${120}>${value(r)}<//>`;

// bad marks a count that should be nothing.
const bad = (n) => (n > 0 ? 'bad' : 'good');
const loss = (value) => (r) => (value(r) > 0 ? html`<b class="bad">${number(value(r))}</b>` : html`<span class="muted">0</span>`);

const readerColumns = [
  col('name', 'Sink', 'minmax(110px, 1fr)', (r) => r.name, words((r) => r.name), false),
  col('read', 'Read', '92px', (r) => r.read), col('behind', 'Waiting', '84px', (r) => r.behind), col('missed', 'Missed', '84px', (r) => r.missed, loss((r) => r.missed)),
];
const subscriberColumns = [
  col('id', 'Subscriber', 'minmax(120px, 1fr)', (r) => r.id, words((r) => r.id), false),
  col('since', 'Since', '150px', (r) => r.since_ts, (r) => date(r.since_ts), false, 1),
  col('version', 'Version', '72px', (r) => r.version, null, true, 2),
  col('encoding', 'Form', '64px', (r) => r.encoding, words((r) => r.encoding), false, 1),
  col('queued', 'Queued', '84px', (r) => r.queued_bytes, (r) => bytes(r.queued_bytes)), col('sent', 'Sent', '84px', (r) => r.sent_events),
  col('dropped', 'Dropped', '84px', (r) => r.dropped_events, loss((r) => r.dropped_events)),
];
const usage = (key) => (r) => (r.usage ? r.usage[key] : 0);
const of = (key, format) => (r) => html`${format(usage(key)(r))}${r.limit && r.limit[key] > 0 && r.limit[key] < 2 ** 52 ? html`<span class="muted"> / ${format(r.limit[key])}</span>` : ''}`;
const scopeColumns = [
  col('name', 'Scope', 'minmax(160px, 1fr)', (r) => r.name, words((r) => r.name), false),
  col('memory', 'Memory', '150px', usage('memory'), of('memory', bytes)), col('in', 'Streams in', '116px', usage('streams_in'), of('streams_in', number)),
  col('out', 'Streams out', '116px', usage('streams_out'), of('streams_out', number)), col('cin', 'Conns in', '104px', usage('conns_in'), of('conns_in', number), true, 1),
  col('cout', 'Conns out', '104px', usage('conns_out'), of('conns_out', number), true, 1), col('fd', 'Files', '96px', usage('fd'), of('fd', number), true, 1),
];
const ledgerColumns = [
  col('peer', 'Peer', 'minmax(130px, 1fr)', (r) => r.peer_id, (r) => html`<${Words} max=${80}>${r.peer_id}<//>`, false),
  col('sent', 'Bytes to it', '100px', (r) => r.bytes_sent, (r) => bytes(r.bytes_sent)), col('received', 'Bytes of it', '100px', (r) => r.bytes_received, (r) => bytes(r.bytes_received)),
  col('exchanged', 'Blocks', '84px', (r) => r.exchanged), col('wants', 'It wants', '84px', (r) => r.wants),
];
const topicColumns = [col('name', 'Topic', 'minmax(150px, 1fr)', (r) => r.name, words((r) => r.name), false), col('peers', 'Peers', '80px', (r) => r.peers)];

const tall = (rows) => `${Math.min(Math.max(rows.length, 1), 10) * 34 + 38}px`;
const list = (label, columns, rows, keyOf, by) => html`<${Table} label=${label} columns=${columns} rows=${rows} keyOf=${keyOf} start=${{ by, down: by !== 'name' }} height=${tall(rows)} />`;

function Influx({ p }) {
  const i = p.influx, s = p.spool;
  if (!i) return html`<${Card} title="InfluxDB"><${Empty}>It is off.<//><//>`;
  return html`<${Card} title="InfluxDB" note=${i.failing ? 'the last request failed and is tried again' : 'points are stored'}>
    <${Facts} rows=${[['Events read', number(i.events)], ['Points made', number(i.accepted)], ['Stored', number(i.stored)], ['Waiting', `${number(i.queued)}, ${bytes(i.queue_bytes)}`],
    ['Oldest waits', duration(i.lag_seconds * 1000)], ['Dropped', number(i.dropped), bad(i.dropped)], ['Rejected', number(i.rejected), bad(i.rejected)],
    s && ['On disk', `${bytes(s.bytes)}${s.limit_bytes > 0 ? ` of ${bytes(s.limit_bytes)}` : ''}`, s.full > 0.8 ? 'bad' : '']]} />
    ${i.last_error && html`<p class="notice bad"><${Words} max=${600}>${i.last_error}<//></p>`}<//>`;
}

const exchangeColumns = [
  col('name', 'Exchange', 'minmax(130px, 1fr)', (x) => x.exchange, words((x) => x.exchange), false),
  col('state', 'State', '96px', (x) => stateOf(x)[0], (x) => { const [text, mark] = stateOf(x); return html`<span class=${`status ${mark}`}><i></i>${text}</span>`; }, false),
  col('delivered', 'Confirmed', '88px', (x) => x.delivered), col('queued', 'Waiting', '80px', (x) => x.queued),
  col('disk', 'On disk', '84px', (x) => x.spool_bytes, (x) => bytes(x.spool_bytes), true, 2), col('lag', 'Oldest waits', '96px', (x) => x.lag_seconds, (x) => duration(x.lag_seconds * 1000), true, 1),
  col('lost', 'Lost', '70px', (x) => x.dropped + x.rejected, loss((x) => x.dropped + x.rejected)),
];

// stateOf gives how sending to an exchange stands, and its mark.
export function stateOf(x) {
  if (x.blocked) return ['blocked', 'missing'];
  if (x.failing) return ['failing', 'error'];
  return x.connected ? ['connected', 'active'] : ['idle', 'closed'];
}

function Broker({ all }) {
  const error = all.find((x) => x.last_error);
  return html`<${Card} title="Broker" note=${all.length > 0 && html`<${Words} max=${120}>${all[0].broker}<//>`}>
    ${all.length > 0 ? list('Exchanges', exchangeColumns, all, (x) => x.name, 'delivered') : html`<${Empty}>It is off.<//>`}
    ${error && html`<p class="notice bad"><${Words} max=${600}>${error.last_error}<//></p>`}<//>`;
}

export function Pipeline({ view }) {
  const { state } = view, sub = state && state.subsystems;
  if (!sub || !sub.pipeline) return html`<${Card}><${Empty}>This node tells nothing of its monitor${state ? '' : ' yet'}.<//><//>`;
  const p = sub.pipeline, c = p.capture, bus = p.bus, st = p.stream, ins = p.introspection, proc = sub.process, b = sub.bitswap, rs = sub.resources;
  const truncated = b ? (b.received ? b.received.truncated : 0) + (b.sent ? b.sent.truncated : 0) : 0;
  const missed = bus ? bus.readers.reduce((n, r) => n + r.missed, 0) : 0;
  const lost = missed + (p.influx ? p.influx.dropped + p.influx.rejected : 0) + (st ? st.dropped_events : 0)
    + p.exchanges.reduce((n, x) => n + x.dropped + x.rejected, 0);
  return html`
    <div class="tiles">
      <${Tile} name="Lost on the way" tone=${bad(lost)} value=${number(lost)} below=${lost > 0 ? 'see below where' : 'nothing'} />
      <${Tile} name="Events on the bus" value=${bus ? number(bus.published) : '–'} below=${bus && `${number(bus.held)} held, ${bytes(bus.held_bytes)}`} />
      <${Tile} name="Points stored" value=${p.influx ? number(p.influx.stored) : '–'} below=${p.influx ? `${number(p.influx.queued)} waiting` : 'InfluxDB is off'} />
      <${Tile} name="Subscribers" value=${st ? number(st.subscribers.length) : '–'} below=${st ? `${number(st.sent_events)} events sent` : 'the stream is off'} />
      <${Tile} name="Memory" value=${proc ? bytes(proc.resident_bytes) : '–'} below=${proc && `${bytes(proc.heap_bytes)} in use by objects`} />
      <${Tile} name="Snapshot took" value=${duration(state.snapshot_cost_us / 1000)} below=${`${number(state.sequence)} taken`} />
    </div>
    ${state.failed.length > 0 && html`<p class="notice bad">No answer for this state from: <${Words} max=${200}>${state.failed.join(', ')}<//></p>`}
    <div class="cards halves">
      <${Card} title="Capture"><${Facts} rows=${c && [['Over a peer\u2019s rate', number(c.limited)], ['Entries over a limit', number(truncated)], ['Messages not sent', number(c.send_errors), bad(c.send_errors)], ['Panics caught', number(c.panics), bad(c.panics)]] || []} /><//>
      <${Influx} p=${p} />
      <${Broker} all=${p.exchanges} />
      <${Card} title="Sinks" note="how far each has read">${bus ? list('Sinks', readerColumns, bus.readers, (r) => r.name, 'read') : html`<${Empty}>Nothing yet.<//>`}<//>
      <${Card} title="Subscribers of the stream">${st && st.subscribers.length > 0 ? list('Subscribers', subscriberColumns, st.subscribers, (r) => r.id, 'sent') : html`<${Empty}>${st ? 'There is none.' : 'The stream is off.'}<//>`}<//>
      <${Card} title="Server"><${Facts} rows=${[p.http && ['HTTP requests', number(p.http.requests)], p.http && ['HTTP connections', number(p.http.connections)], p.http && ['Panics caught', number(p.http.panics + (ins ? ins.panics : 0)), bad(p.http.panics + (ins ? ins.panics : 0))],
    ins && ['Pages like this one', number(ins.sessions)], ins && ['Sent to them', `${number(ins.sent_messages)} messages, ${bytes(ins.sent_bytes)}`], ins && ['Dropped: too slow', `${number(ins.discarded_events)} events, ${number(ins.discarded_states)} states`, bad(ins.discarded_events + ins.discarded_states)]]} /><//>
      <${Card} title="Process"><${Facts} rows=${proc ? [['CPU time', duration(proc.cpu_seconds * 1000)], ['Processors', number(proc.processors)], ['Goroutines', number(proc.goroutines)], proc.open_files >= 0 && ['Open files', number(proc.open_files)],
    ['Collections', number(proc.gc_cycles)], ['Stopped for them', duration(proc.gc_pause_ns / 1e6)], proc.repo_bytes >= 0 && ['Repository', bytes(proc.repo_bytes)], sub.peerstore && ['Peers known', number(sub.peerstore.peers)]] : []} /><//>
      ${b && html`<${Card} title="Bitswap ledgers" note=${`${number(b.ledgers_total)} peers`}>${list('Ledgers', ledgerColumns, b.ledgers, (r) => r.peer_id, 'sent')}<//>`}
      ${sub.pubsub && html`<${Card} title="Pubsub">${sub.pubsub.topics.length > 0 ? list('Topics', topicColumns, sub.pubsub.topics, (r) => r.name, 'name') : html`<${Empty}>${sub.pubsub.enabled ? 'No topic.' : 'It is off.'}<//>`}<//>`}
      ${rs && html`<${Card} title="Resources" wide note="use and limit">${list('Resources', scopeColumns, rs.scopes, (r) => r.name, 'name')}<//>`}
    </div>`;
}
