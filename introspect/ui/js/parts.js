// The small parts that pages are made of. Everything from the network that
// they are given ends in a text node or an attribute, through shown.

import { html, useEffect, useRef, useState } from '../lib/preact-htm.js';
import { hue, number, short, shown } from './format.js';

export { html };

// to gives the link to a page with its parameters.
export function to(page, params = {}) {
  const q = new URLSearchParams(Object.entries(params).filter(([, v]) => v !== '' && v !== undefined && v !== null)).toString();
  return `#/${page}${q ? `?${q}` : ''}`;
}

export function Card({ title, note, children, wide, id }) {
  return html`<section class=${`card${wide ? ' wide' : ''}`} id=${id}>
    ${title && html`<header><h2>${title}</h2>${note && html`<span class="note">${note}</span>`}</header>`}
    ${children}
  </section>`;
}

// Tile is a figure with its name, and what it is made of below.
export function Tile({ name, value, unit, below, tone }) {
  return html`<div class=${`tile ${tone || ''}`}>
    <div class="name">${name}</div>
    <div class="value">${value}${unit && html`<span class="unit"> ${unit}</span>`}</div>
    <div class="below">${below || '\u00a0'}</div>
  </div>`;
}

// Facts is a list of names and values; a third item marks how it stands.
export function Facts({ rows }) {
  return html`<dl class="figures">${rows.filter(Boolean).map(([k, v, tone]) => html`<div key=${k} class=${tone || ''}><dt>${k}</dt><dd>${v}</dd></div>`)}</dl>`;
}

export function Empty({ children }) {
  return html`<p class="empty">${children}</p>`;
}

export function Dot({ of }) {
  const h = hue(of);
  return html`<i class="dot" aria-hidden="true" style=${{ background: `linear-gradient(135deg, hsl(${h} 55% 52%) 50%, hsl(${(h * 7 + 120) % 360} 50% 42%) 50%)` }}></i>`;
}

// Peer and Cid are links to where more is known of them.
export function Peer({ id }) {
  if (!id) return html`<span class="muted">–</span>`;
  return html`<a class="id" href=${to('peers', { q: id })} title=${shown(id, 256)}><${Dot} of=${id} /><span>${short(id)}</span></a>`;
}

export function Cid({ cid, whole }) {
  if (!cid) return html`<span class="muted">–</span>`;
  return html`<a class="id" href=${to('bitswap', { q: cid })} title=${shown(cid, 400)}><span>${whole ? shown(cid, 400) : short(cid)}</span></a>`;
}

// Words is text of a stranger's, kept from turning the text around it.
export function Words({ children, max = 200 }) {
  const s = shown(children, max);
  return html`<bdi title=${s.length > 24 ? s : undefined}>${s}</bdi>`;
}

// Bars is a list of names with their shares, most first.
export function Bars({ rows, format = number, label, color, link }) {
  const most = Math.max(1, ...rows.map((r) => r.n));
  if (rows.length === 0) return html`<${Empty}>Nothing yet.<//>`;
  return html`<ol class="bars" aria-label=${label}>${rows.map((r) => html`<li key=${r.name}>
    <span class="bar" aria-hidden="true" style=${{ width: `${100 * r.n / most}%`, background: r.color || color }}></span>
    <span class="what">${link ? html`<a href=${link(r)}><${Words}>${r.name}<//></a>` : html`<${Words}>${r.name}<//>`}</span>
    <span class="n">${format(r.n)}</span>
  </li>`)}</ol>`;
}

// Choice is a row of buttons of which one is pressed.
export function Choice({ label, options, value, onChange }) {
  return html`<div class="choice" role="group" aria-label=${label}>${options.map(([v, name]) => html`
    <button type="button" key=${v} aria-pressed=${v === value ? 'true' : 'false'} onClick=${() => onChange(v)}>${name}</button>`)}</div>`;
}

// Toggle is one button that is pressed or not.
export function Toggle({ on, onChange, children }) {
  return html`<button type="button" class="chip" aria-pressed=${on ? 'true' : 'false'} onClick=${() => onChange(!on)}>${children}</button>`;
}

// Search is a field whose text is handed on after a short rest.
export function Search({ value, onChange, label }) {
  const [text, setText] = useState(value);
  const timer = useRef(0);
  useEffect(() => setText(value), [value]);
  const input = (e) => {
    const v = e.currentTarget.value;
    setText(v);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => onChange(v.trim()), 150);
  };
  return html`<input class="search" type="search" placeholder=${label} aria-label=${label} value=${text} onInput=${input}
    maxlength="500" autocomplete="off" spellcheck=${false} />`;
}

// useMedia tells whether a media query holds, now and when that changes.
export function useMedia(query) {
  const [on, setOn] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const m = matchMedia(query);
    const f = () => setOn(m.matches);
    m.addEventListener('change', f);
    return () => m.removeEventListener('change', f);
  }, [query]);
  return on;
}

export const phone = '(max-width: 720px)';
export const darkness = '(prefers-color-scheme: dark)';

// ink gives a colour of the style sheet, for canvases.
export function ink(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// download hands a file to the browser.
export function download(name, parts) {
  const url = URL.createObjectURL(new Blob(parts, { type: 'application/octet-stream' }));
  const a = document.createElement('a');
  a.href = url;
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
