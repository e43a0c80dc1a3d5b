// Bitswap live: every message that the node saw, newest first.

import { useMemo, useState } from '../lib/preact-htm.js';
import { bytes, clock, counted, duration, number, numeric, shown } from './format.js';
import { Cid, Choice, html, Peer, Search, Toggle, Words } from './parts.js';
import { Table } from './table.js';
import { typeColors, typeNames } from './overview.js';

const eventName = 'BitswapMessage';
const most = 2000; // messages looked through and shown
const countKeys = { want_block: 'want_blocks', want_have: 'want_haves', cancel: 'cancels', have: 'haves', dont_have: 'dont_haves', blocks: 'blocks' };
const types = Object.keys(countKeys);

const list = (v) => (Array.isArray(v) ? v.filter((e) => e !== null && typeof e === 'object') : []);
const word = (v) => (typeof v === 'string' ? v : '');
const count = (m, t) => numeric(m[countKeys[t]]);

// entriesOf gives the entries that a message's event names, each with its type.
export function entriesOf(m) {
  return [...list(m.wants).map((w) => ({ cid: word(w.cid), type: word(w.type), priority: w.priority })),
    ...list(m.presences).map((p) => ({ cid: word(p.cid), type: word(p.type) })),
    ...list(m.block_list).map((b) => ({ cid: word(b.cid), type: 'blocks', size: numeric(b.size) }))];
}

// passes tells whether a message is asked for. text is found in its peer, in
// its agent, and in the CIDs that it names.
export function passes(m, { direction, off, text }) {
  if (direction && m.direction !== direction) return false;
  if (off.size > 0 && !types.some((t) => count(m, t) > 0 && !off.has(t))) return false;
  if (!text) return true;
  return [m.peer, m.agent, m.country].some((s) => typeof s === 'string' && s.toLowerCase().includes(text)) ||
    entriesOf(m).some((e) => e.cid.toLowerCase().includes(text));
}

// Nothing says why no message is listed, and where there may be more.
function Nothing({ looked, view, q, clear }) {
  if (looked === 0) return 'No Bitswap message was seen in this window.';
  const past = /^[A-Za-z0-9]{40,100}$/.test(q) ? `ipfsmon query "SELECT peer, type FROM wants WHERE cid = '${q}'"` : '';
  return html`None of the ${counted(looked, 'message')} of the last ${duration(view.model.retention)} passes the filter.
    <button type="button" class="link" onClick=${clear}>Clear it</button>${past && html`<br />The history may have more: <code>${past}</code>`}`;
}

function Entry({ e }) {
  return html`<span class="entry"><span class=${`tag ${typeColors[e.type] || ''}`}>${typeNames[e.type] || shown(e.type, 20)}</span> <${Cid} cid=${e.cid} whole />
    ${e.size !== undefined && html`<span class="muted">${bytes(e.size)}</span>`}${e.priority !== undefined && e.type !== 'cancel' && html`<span class="muted">priority ${shown(e.priority, 20)}</span>`}</span>`;
}

const columns = [
  { name: 'time', title: 'Time', width: '96px', drop: 1, cell: ({ e }) => html`<span class="mono">${clock(e.ts, true)}</span>` },
  { name: 'direction', title: 'Way', width: '56px', cell: ({ m }) => html`<span class=${m.direction === 'sent' ? 'way out' : 'way in'}>${m.direction === 'sent' ? '→ out' : '← in'}</span>` },
  { name: 'peer', title: 'Peer', width: '108px', cell: ({ m }) => html`<${Peer} id=${word(m.peer)} />` },
  { name: 'what', title: 'Entries', width: 'minmax(136px, 2fr)', cell: ({ m }) => types.filter((t) => count(m, t) > 0).map((t) => html`<span key=${t} class=${`tag ${typeColors[t]}`}>${typeNames[t]}${count(m, t) > 1 ? ` ×${number(count(m, t))}` : ''}</span> `) },
  { name: 'cid', title: 'First CID', width: '104px', drop: 2, cell: ({ m }) => { const e = entriesOf(m)[0]; return e ? html`<${Cid} cid=${e.cid} />` : html`<span class="muted">${m.full ? 'full list' : '–'}</span>`; } },
  { name: 'bytes', title: 'Blocks', width: '82px', right: true, drop: 3, cell: ({ m }) => (numeric(m.block_bytes) > 0 ? bytes(m.block_bytes) : '') },
  { name: 'agent', title: 'Agent', width: 'minmax(110px, 1fr)', drop: 4, cell: ({ m }) => html`<${Words} max=${80}>${m.agent}<//>` },
];

function inside({ e, m }) {
  const entries = entriesOf(m);
  const total = types.reduce((n, t) => n + count(m, t), 0);
  const lines = entries.map((e) => html`<${Entry} e=${e} />`);
  const rest = [clock(e.ts, true), total > entries.length && `${number(total - entries.length)} more entries`, numeric(m.truncated) > 0 && `${number(m.truncated)} left out at capture`, m.full && 'a full wantlist', m.side && `${shown(m.side, 20)}${m.downstream ? ` ${shown(m.downstream, 64)}` : ''}`,
    m.transport === 'http' && 'over HTTP', numeric(m.wire_size) > 0 && `${bytes(m.wire_size)} on the wire`, numeric(m.pending_bytes) > 0 && `${bytes(m.pending_bytes)} held back`].filter(Boolean);
  lines.push(html`<span class="muted">${rest.join(', ')}${m.agent ? html`, agent <${Words} max=${300}>${m.agent}<//>` : ''}</span>`);
  return lines;
}

export function Bitswap({ view, params, setParams }) {
  const { model } = view;
  const [held, setHeld] = useState(null); // only events before this one are shown while the feed is held
  const off = useMemo(() => new Set((params.off || '').split(',').filter((t) => types.includes(t))), [params.off]);
  const filter = { direction: params.way || '', off, text: (params.q || '').toLowerCase() };
  const rows = [];
  let looked = 0;
  for (let i = view.eventsUntil - 1; i >= 0 && rows.length < most; i--) {
    const e = view.events[i];
    if (e.name !== eventName || (held !== null && e.order >= held)) continue;
    looked++;
    const m = model.data(e);
    if (m && passes(m, filter)) rows.push({ e, m });
  }
  const flip = (t) => (on) => {
    const next = new Set(off);
    if (on) next.delete(t);
    else next.add(t);
    setParams({ off: [...next].join() });
  };
  return html`
    <div class="bar">
      <${Choice} label="Direction" value=${filter.direction} onChange=${(way) => setParams({ way })} options=${[['', 'Both ways'], ['received', 'In'], ['sent', 'Out']]} />
      <div class="chips" role="group" aria-label="Types">${types.map((t) => html`<${Toggle} key=${t} on=${!off.has(t)} onChange=${flip(t)}><i class=${`swatch ${typeColors[t]}`} aria-hidden="true"></i>${typeNames[t]}<//>`)}</div>
      <${Search} label="Peer, CID or agent" value=${params.q || ''} onChange=${(q) => setParams({ q })} />
      <button type="button" class="button" aria-pressed=${held !== null ? 'true' : 'false'} onClick=${() => setHeld(held === null ? model.order : null)}>${held === null ? 'Hold the feed' : 'Let it run'}</button>
      <span class="note">${rows.length === most ? `the newest ${number(most)}` : number(rows.length)}${rows.length < looked ? ` of ${number(looked)}` : ''} ${rows.length === 1 && looked === 1 ? 'message' : 'messages'}</span>
    </div>
    <${Table} label="Bitswap messages" columns=${columns} rows=${rows} fixedOrder keyOf=${({ e }) => e.order} inside=${inside}
      empty=${html`<${Nothing} looked=${looked} view=${view} q=${params.q || ''} clear=${() => setParams({ q: '', off: '', way: '' })} />`} />`;
}
