// Events: everything that the node reported, by type, with the columns that
// the type has and the JSON as it came.

import { useMemo } from '../lib/preact-htm.js';
import { clock, duration, number, shown } from './format.js';
import { html, Peer, Search, Toggle, Words } from './parts.js';
import { Table } from './table.js';
import { enums } from './schema.js';

const most = 2000;
const propertyType = enums['EventType.EventProperty.PropertyType'];

// valueOf finds a property in an event's content: under its name, or under the
// name with a small first letter, as the old visualizer looked for it.
export function valueOf(data, name) {
  if (data === null || typeof data !== 'object') return undefined;
  if (Object.hasOwn(data, name)) return data[name];
  const small = name.charAt(0).toLowerCase() + name.slice(1);
  return Object.hasOwn(data, small) ? data[small] : undefined;
}

function Value({ v, type }) {
  if (v === undefined || v === null) return '';
  if (Array.isArray(v) && type !== 'JSON') {
    return html`${v.slice(0, 3).map((x, i) => html`${i > 0 ? ', ' : ''}<${Value} v=${x} type=${type} />`)}${v.length > 3 ? html` <span class="muted">+${v.length - 3}</span>` : ''}`;
  }
  if (type === 'PEERID' && typeof v === 'string') return html`<${Peer} id=${v} />`;
  if (type === 'TIME') return shown(v, 40);
  if (typeof v === 'number') return number(v);
  return html`<${Words} max=${160}>${typeof v === 'string' ? v : JSON.stringify(v)}<//>`;
}

// columnsOf gives the columns of the types that are shown: those that they
// have in common by name, in the order in which they come, at most eight.
export function columnsOf(names, columns) {
  const found = new Map();
  for (const n of names) for (const p of columns.get(n) || []) if (!found.has(p.name)) found.set(p.name, p);
  return [...found.values()].slice(0, 8);
}

function inside({ e, data }) {
  const text = data ? JSON.stringify(data, null, 2) : e.text;
  return linesOf(text).map((line) => html`<code class="json">${line}</code>`);
}

// linesOf gives JSON in lines that fit a row; a long one goes on in the next.
function linesOf(text) {
  const lines = [];
  for (const line of text.slice(0, 20000).split('\n')) for (let i = 0; i < Math.max(line.length, 1); i += 400) lines.push(shown(line.slice(i, i + 400), 400));
  return lines.slice(0, 400);
}

export function Events({ view, params, setParams }) {
  const { model } = view;
  const off = useMemo(() => new Set((params.off || '').split(',').filter(Boolean)), [params.off]);
  const names = [...new Set([...model.columns.keys(), ...model.counts.keys()])].sort();
  const on = names.filter((n) => !off.has(n));
  const text = (params.q || '').toLowerCase();
  const rows = [];
  for (let i = view.eventsUntil - 1; i >= 0 && rows.length < most; i--) {
    const e = view.events[i];
    if (off.has(e.name) || (text && !e.text.toLowerCase().includes(text))) continue;
    rows.push({ e, data: model.data(e) });
  }
  const properties = columnsOf(on.length <= 3 ? on : [], model.columns);
  const columns = [
    { name: 'time', title: 'Time', width: '96px', cell: ({ e }) => html`<span class="mono">${clock(e.ts, true)}</span>` },
    { name: 'ago', title: 'Ago', width: '86px', right: true, drop: 1, cell: ({ e }) => duration(Math.max(0, view.at - e.ts)) },
    { name: 'type', title: 'Type', width: 'minmax(150px, 1fr)', cell: ({ e }) => html`<${Words} max=${80}>${e.name}<//>` },
    ...(properties.length > 0 ? properties.map((p) => ({
      name: `p-${p.name}`, title: shown(p.name, 40), width: 'minmax(104px, 1fr)', cell: ({ data }) => html`<${Value} v=${valueOf(data, p.name)} type=${propertyType[p.type]} />`,
    })) : [{ name: 'content', title: 'Content', width: 'minmax(200px, 3fr)', cell: ({ e }) => html`<span class="mono muted"><${Words} max=${240}>${e.text}<//></span>` }]),
  ];
  const flip = (n) => (is) => {
    const next = new Set(off);
    if (is) next.delete(n);
    else next.add(n);
    setParams({ off: [...next].join() });
  };
  return html`
    <div class="bar">
      <div class="chips" role="group" aria-label="Types">${names.map((n) => html`<${Toggle} key=${n} on=${!off.has(n)} onChange=${flip(n)}><${Words} max=${60}>${n}<//><b>${number(model.counts.get(n) || 0)}</b><//>`)}</div>
      <button type="button" class="button" onClick=${() => setParams({ off: on.length === 0 ? '' : names.join() })}>${on.length === 0 ? 'All' : 'None'}</button>
      <${Search} label="Text in the content" value=${params.q || ''} onChange=${(q) => setParams({ q })} />
      <span class="note">${rows.length === most ? `the newest ${number(most)}` : number(rows.length)} events</span>
    </div>
    <${Table} label="Events" columns=${columns} rows=${rows} fixedOrder keyOf=${({ e }) => e.order} inside=${inside} empty="No event in this window." />`;
}
