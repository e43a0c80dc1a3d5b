// A table of any length: only the rows that can be seen are in the page.
//
// In: columns, rows, what is inside a row. Out: a grid that is scrolled, sorted
// by its headings, and walked with the arrow keys; Enter opens a row. All rows
// are of one height, so that 10,000 cost what 40 cost.

import { html, useLayoutEffect, useMemo, useRef, useState } from '../lib/preact-htm.js';
import { Empty } from './parts.js';

const rowHeight = 34, spare = 6, gap = 10; // px, as in pages.css
let tables = 0;

// compare orders numbers as numbers and the rest as text, the empty ones last.
function compare(a, b) {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  const s = String(a), t = String(b);
  if (s === '' || t === '') return s === t ? 0 : s === '' ? 1 : -1;
  return s < t ? -1 : s > t ? 1 : 0;
}

// sorted gives the rows in the order of a column; equal ones keep theirs.
export function sorted(rows, columns, { by, down }) {
  const column = columns.find((c) => c.name === by);
  if (!column || !column.sort) return rows;
  const values = rows.map((row, i) => ({ row, i, v: column.sort(row) }));
  values.sort((a, b) => (down ? -compare(a.v, b.v) : compare(a.v, b.v)) || a.i - b.i);
  return values.map((v) => v.row);
}

const leastOf = (c) => Number(/(\d+)px/.exec(c.width)[1]);

// fitting leaves out columns until the rest has room: those with the highest
// drop first. Columns without one stay, and the table is scrolled.
export function fitting(columns, width) {
  let sum = columns.reduce((n, c) => n + leastOf(c) + gap, 0);
  const gone = new Set();
  for (const c of columns.filter((c) => c.drop).sort((a, b) => b.drop - a.drop)) {
    if (sum <= width || width <= 0) break;
    gone.add(c);
    sum -= leastOf(c) + gap;
  }
  return columns.filter((c) => !gone.has(c));
}

// Table: a column is {name, title, width (of a grid column), cell(row),
// sort(row)?, right?, drop? (left out where there is no room)}. inside(row) gives what is below
// an open row, as a list of what is in each line.
export function Table({ label, columns: all, rows, keyOf, start = {}, inside, empty = 'Nothing yet.', height, fixedOrder }) {
  const [order, setOrder] = useState(start);
  const [open, setOpen] = useState(() => new Set());
  const [chosen, setChosen] = useState(null); // name of the item that the keys are at
  const [top, setTop] = useState(0);
  const [room, setRoom] = useState({ width: 0, height: 600 });
  const box = useRef(null), anchor = useRef(null); // anchor: the item at the top edge, and how far it is over it
  const id = useMemo(() => `table${++tables}`, []);

  const ordered = fixedOrder ? rows : sorted(rows, all, order);
  const items = []; // a row, or a line inside one
  if (open.size === 0) for (const row of ordered) items.push(row);
  else {
    for (const row of ordered) {
      items.push(row);
      const key = keyOf(row);
      if (open.has(key)) inside(row).forEach((line, i) => items.push({ insideOf: key, i, line }));
    }
  }

  useLayoutEffect(() => {
    const observer = new ResizeObserver(() => setRoom({ width: box.current.clientWidth, height: box.current.clientHeight }));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  const nameOf = (item) => (item.insideOf === undefined ? String(keyOf(item)) : `${item.insideOf}/${item.i}`);
  const active = chosen === null ? -1 : items.findIndex((item) => nameOf(item) === chosen);
  const hold = () => {
    const y = box.current.scrollTop, i = Math.floor(y / rowHeight);
    anchor.current = i < items.length ? { name: nameOf(items[i]), rest: y - i * rowHeight } : null;
  };
  // What comes in above must not push away what is being read.
  useLayoutEffect(() => {
    if (!fixedOrder) return;
    const el = box.current;
    if (anchor.current && (el.scrollTop > 0 || open.size > 0)) {
      const i = items.findIndex((item) => nameOf(item) === anchor.current.name), y = i * rowHeight + anchor.current.rest;
      if (i >= 0 && Math.abs(y - el.scrollTop) >= 1) {
        el.scrollTop = y;
        setTop(y);
      }
    }
    hold();
  });

  const toggle = (row) => {
    const next = new Set(open), key = keyOf(row);
    if (!next.delete(key)) next.add(key);
    setOpen(next);
  };
  const move = (to) => {
    to = Math.max(0, Math.min(items.length - 1, to));
    if (items[to]) setChosen(nameOf(items[to]));
    const y = to * rowHeight, el = box.current, head = rowHeight;
    if (y < el.scrollTop) el.scrollTop = y;
    else if (y + rowHeight + head > el.scrollTop + el.clientHeight) el.scrollTop = y + rowHeight + head - el.clientHeight;
    hold();
  };
  // A click on a row opens it, unless it was on a link or a button in it, or
  // ended the selection of a text.
  const press = (e, row) => {
    setChosen(nameOf(row));
    if (inside && !e.target.closest('a, button') && String(getSelection()) === '') toggle(row);
  };
  const keys = (e) => {
    if (e.target !== e.currentTarget) return;
    const page = Math.max(1, Math.floor(room.height / rowHeight) - 2);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }; // from -1, none, to the first
    const item = items[active];
    if (e.key in steps) move(active + steps[e.key]);
    else if (item && item.insideOf === undefined && inside && (e.key === 'Enter' || (e.key === 'ArrowRight') !== (e.key === 'ArrowLeft'))) {
      if (e.key === 'Enter' || (e.key === 'ArrowRight') !== open.has(keyOf(item))) toggle(item);
    } else return;
    e.preventDefault();
  };
  const sortBy = (c) => setOrder({ by: c.name, down: order.by === c.name ? !order.down : !!c.right });

  const from = Math.max(0, Math.floor(top / rowHeight) - spare);
  const to = Math.min(items.length, Math.ceil((top + room.height) / rowHeight) + spare);
  const columns = fitting(all, room.width - (inside ? 28 + gap : 0) - 14);
  const template = `${inside ? '28px ' : ''}${columns.map((c) => c.width).join(' ')}`;
  const least = columns.reduce((sum, c) => sum + leastOf(c) + gap, inside ? 28 + gap : 0);

  return html`<div class="grid" role=${inside ? 'treegrid' : 'grid'} aria-label=${label} aria-rowcount=${items.length + 1} tabindex="0" ref=${box} onKeyDown=${keys}
      onScroll=${(e) => { setTop(e.currentTarget.scrollTop); hold(); }} style=${height ? { height } : {}}
      aria-activedescendant=${active >= from && active < to ? `${id}-${active}` : undefined}>
    <div class="head" role="rowgroup" style=${{ minWidth: `${least}px` }}>
      <div class="row" role="row" aria-rowindex="1" style=${{ gridTemplateColumns: template }}>
        ${inside && html`<span role="columnheader" aria-label="Open"></span>`}
        ${columns.map((c) => html`<span role="columnheader" key=${c.name} class=${c.right ? 'right' : ''}
          aria-sort=${!c.sort || fixedOrder ? undefined : order.by !== c.name ? 'none' : order.down ? 'descending' : 'ascending'}>
          ${c.sort && !fixedOrder ? html`<button type="button" onClick=${() => sortBy(c)}>${c.title}${order.by === c.name && html`<i aria-hidden="true">${order.down ? '↓' : '↑'}</i>`}</button>` : c.title}
        </span>`)}
      </div>
    </div>
    <div class="body" role="rowgroup" style=${{ height: `${items.length * rowHeight}px`, minWidth: `${least}px` }}>
      ${items.slice(from, to).map((item, n) => {
    const i = from + n, y = { transform: `translateY(${i * rowHeight}px)` };
    const mark = `row${i === active ? ' active' : ''}`;
    if (item.insideOf !== undefined) {
      return html`<div class=${`${mark} inside`} role="row" id=${`${id}-${i}`} aria-level="2" aria-rowindex=${i + 2} key=${`${item.insideOf}/${item.i}`} style=${y}>
        <span role="gridcell" aria-colspan=${columns.length + 1}>${item.line}</span></div>`;
    }
    const key = keyOf(item), isOpen = open.has(key);
    return html`<div class=${mark} role="row" id=${`${id}-${i}`} aria-rowindex=${i + 2} key=${key} style=${{ ...y, gridTemplateColumns: template }}
        aria-expanded=${inside ? String(isOpen) : undefined} aria-level=${inside ? 1 : undefined} onClick=${(e) => press(e, item)}>
      ${inside && html`<span role="gridcell"><button type="button" class="opener" tabindex="-1" aria-label=${isOpen ? 'Close the row' : 'Open the row'}
        onClick=${() => toggle(item)}>${isOpen ? '▾' : '▸'}</button></span>`}
      ${columns.map((c) => html`<span role="gridcell" key=${c.name} class=${c.right ? 'right' : ''}>${c.cell(item)}</span>`)}
    </div>`;
  })}
    </div>
    ${items.length === 0 && html`<${Empty}>${empty}<//>`}
  </div>`;
}
