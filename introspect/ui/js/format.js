// How figures, times and strangers' strings are written on the page.

// Characters that have no shape of their own or turn the text around them:
// control characters, marks of direction, zero-width ones, line separators,
// lone halves of pairs, tags.
const unseen = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\p{Cs}\u{e0000}-\u{e0fff}]/gu;
// More than this many marks above one letter would draw over other lines.
const piled = /(\p{M}{4})\p{M}+/gu;
const maxShown = 8192;

// shown makes any string safe to look at: what cannot be seen is spelled out
// as ‹202E›, and it has at most max characters. It is still only ever put into
// the page as text.
export function shown(s, max = maxShown) {
  // An event's content may have anything in it: also objects that do not let
  // themselves be made into text.
  if (typeof s !== 'string') s = s === null || s === undefined ? '' : JSON.stringify(s) ?? '';
  const cut = s.length > max;
  if (cut) s = s.slice(0, max);
  s = s.replace(piled, '$1').replace(unseen, (c) => `‹${c.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}›`);
  return cut ? `${s}…` : s;
}

// short gives the end of a peer ID or CID: all IDs begin alike.
export function short(id) {
  const s = shown(id, 256);
  return s.length <= 12 ? s : `…${s.slice(-8)}`;
}

// numeric gives a number of an event's content, 0 for anything else.
export const numeric = (v) => (typeof v === 'number' && Number.isFinite(v) ? v : 0);

const thousands = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
export function number(n) {
  if (!Number.isFinite(n)) return '–';
  return Math.abs(n) < 1e6 ? thousands.format(Math.round(n)) : scaled(n, 1000, ['', ' k', ' M', ' G', ' T', ' P', ' E']);
}

// counted writes a number with its word, in the singular for one.
export const counted = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

// rate writes a number per second, with a digit behind the point while small.
export function rate(n) {
  if (!Number.isFinite(n)) return '–';
  return n !== 0 && Math.abs(n) < 10 ? n.toFixed(1) : number(n);
}

function scaled(n, base, units) {
  let i = 0;
  while (Math.abs(n) >= base && i < units.length - 1) { n /= base; i++; }
  return (i === 0 || Math.abs(n) >= 100 ? n.toFixed(0) : n.toFixed(1)) + units[i];
}

export function bytes(n) {
  return Number.isFinite(n) ? scaled(n, 1024, [' B', ' KiB', ' MiB', ' GiB', ' TiB', ' PiB', ' EiB']) : '–';
}

// duration writes milliseconds in the two largest units that fit.
export function duration(ms) {
  if (!Number.isFinite(ms) || ms < 0) return '–';
  if (ms === 0) return '0 s';
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  const s = Math.floor(ms / 1000);
  if (s < 60) return ms < 10000 ? `${(ms / 1000).toFixed(1)} s` : `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min${s % 60 > 0 ? ` ${s % 60} s` : ''}`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
}

const two = (n) => String(n).padStart(2, '0');

// clock writes a time of day, local, with milliseconds if asked for.
export function clock(ms, fine) {
  if (!(ms > 0)) return '–';
  const d = new Date(ms);
  if (Number.isNaN(d.getTime())) return '–';
  const s = `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  return fine ? `${s}.${String(d.getMilliseconds()).padStart(3, '0')}` : s;
}

export function date(ms) {
  const d = new Date(ms);
  return ms > 0 && !Number.isNaN(d.getTime()) ? `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${clock(ms)}` : '–';
}

// hue gives a string's own colour angle, the same on every page.
export function hue(s) {
  let h = 0;
  for (let i = Math.max(0, s.length - 16); i < s.length; i++) h = (Math.imul(h, 31) + s.charCodeAt(i)) | 0;
  return ((h % 360) + 360) % 360;
}

// agentName gives an agent without version: "kubo/0.43.0/x" is "kubo".
export function agentName(agent) {
  const name = agent.split(/[/@ ]/, 1)[0];
  return name || 'unknown';
}
