// Graph: the node in the middle, its peers around it in groups, as a force
// graph on a canvas. At most 2,000 peers are drawn; the rest is said.

import { useEffect, useMemo, useRef, useState } from '../lib/preact-htm.js';
import { agentName, bytes, counted, number, short, shown } from './format.js';
import { Bars, Card, Choice, darkness, Empty, html, ink, to, useMedia } from './parts.js';
import { groups, transportOf } from './overview.js';

const most = 2000;
const names = {
  agent: (c) => agentName(c.agent_version),
  country: (c) => c.country || 'unknown',
  transport: transportOf,
};

// The libraries of the graph are needed by no other page.
let loading = null;
function loadForce() {
  const load = (name) => new Promise((done, fail) => {
    const s = document.createElement('script');
    s.src = new URL(`../lib/${name}.min.js`, import.meta.url).href;
    s.onload = done;
    s.onerror = () => fail(new Error(`${name} could not be loaded`));
    document.head.append(s);
  });
  loading ??= Promise.all(['d3-dispatch', 'd3-quadtree', 'd3-timer'].map(load)).then(() => load('d3-force'));
  return loading;
}

// sampled gives one open connection of each peer, evenly taken if there are
// more than max: the same ones again from the same list.
export function sampled(connections, max = most) {
  const byPeer = new Map();
  for (const c of connections) if (c.status !== 1 && c.peer_id && !byPeer.has(c.peer_id)) byPeer.set(c.peer_id, c);
  const all = [...byPeer.values()].sort((a, b) => (a.peer_id < b.peer_id ? -1 : 1));
  return { total: all.length, list: all.length <= max ? all : Array.from({ length: max }, (_, i) => all[Math.floor(i * all.length / max)]) };
}

// groupColor gives each group the next colour when it is first seen; it keeps
// it while the page is open, whatever its rank.
const light = ['#2f7fd0', '#14918a', '#c9722a', '#8558cf', '#4c9a3f', '#c8487f', '#a08a0c', '#5a78b4', '#b35a3c', '#3f8fa8'];
const bright = ['#62a8f0', '#45c2b8', '#eb9a54', '#b296f2', '#7bcb74', '#ee86b2', '#d6c14a', '#93afe0', '#e08a6c', '#7cc6dc'];
const given = new Map();
export function groupColor(name, dark) {
  if (name === 'unknown' || name === 'others') return dark ? '#8793a2' : '#8592a0';
  if (!given.has(name)) given.set(name, given.size);
  return (dark ? bright : light)[given.get(name) % light.length];
}

// build renews the nodes and links of a simulation; peers that stay keep their
// places.
function build(old, list, name) {
  const known = new Map(old.map((n) => [n.id, n]));
  const keep = (id, more) => Object.assign(known.get(id) || { id }, more);
  const nodes = [keep('self', { kind: 'self', r: 11, fx: 0, fy: 0 })], links = [];
  const hubs = new Map();
  for (const c of list) {
    const g = name(c);
    let hub = hubs.get(g);
    if (!hub) {
      hub = keep(`group ${g}`, { kind: 'group', group: g, r: 4, count: 0 });
      hub.count = 0;
      hubs.set(g, hub);
      nodes.push(hub);
      links.push({ source: nodes[0], target: hub, length: 90 });
    }
    hub.count++;
    const t = c.traffic;
    const sum = t ? (t.traffic_in ? t.traffic_in.cum_bytes : 0) + (t.traffic_out ? t.traffic_out.cum_bytes : 0) : 0;
    const node = keep(`peer ${c.peer_id}`, { kind: 'peer', group: g, peer: c.peer_id, agent: c.agent_version, sum, r: 2.5 + Math.min(4.5, Math.log10(1 + sum) * 0.6) });
    if (node.x === undefined && hub.x !== undefined) { node.x = hub.x + Math.random() * 20 - 10; node.y = hub.y + Math.random() * 20 - 10; }
    nodes.push(node);
    links.push({ source: hub, target: node, length: 26 });
  }
  return { nodes, links };
}

function paint(canvas, sim, look, dark) {
  const scale = globalThis.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  if (canvas.width !== Math.round(w * scale) || canvas.height !== Math.round(h * scale)) { canvas.width = Math.round(w * scale); canvas.height = Math.round(h * scale); }
  const ctx = canvas.getContext('2d');
  ctx.setTransform(scale, 0, 0, scale, 0, 0);
  ctx.clearRect(0, 0, w, h);
  ctx.translate(w / 2 + look.x, h / 2 + look.y);
  ctx.scale(look.zoom, look.zoom);
  ctx.strokeStyle = ink('line');
  ctx.lineWidth = 1 / look.zoom;
  ctx.beginPath();
  for (const l of sim.links) { ctx.moveTo(l.source.x, l.source.y); ctx.lineTo(l.target.x, l.target.y); }
  ctx.stroke();
  for (const n of sim.nodes) {
    ctx.beginPath();
    ctx.arc(n.x, n.y, n.r, 0, 2 * Math.PI);
    ctx.fillStyle = n.kind === 'self' ? ink('accent') : groupColor(n.group, dark);
    ctx.globalAlpha = n.kind === 'peer' ? 0.85 : 1;
    ctx.fill();
    ctx.globalAlpha = 1;
    if (n === look.over) { ctx.strokeStyle = ink('text'); ctx.lineWidth = 2 / look.zoom; ctx.stroke(); }
  }
  ctx.font = `600 ${12 / look.zoom}px system-ui, sans-serif`;
  ctx.textAlign = 'center';
  ctx.lineWidth = 3 / look.zoom;
  ctx.strokeStyle = ink('card');
  ctx.fillStyle = ink('text');
  const written = []; // the largest groups are named first, and no name is written over another
  for (const n of sim.nodes.filter((n) => n.kind === 'group').sort((a, b) => b.count - a.count)) {
    const label = `${shown(n.group, 24)} ${n.count}`, half = ctx.measureText(label).width / 2 + 4 / look.zoom, tall = 15 / look.zoom;
    // A name near an edge is moved inside.
    const side = ctx.canvas.clientWidth / 2, left = (-side - look.x) / look.zoom + half, right = (side - look.x) / look.zoom - half;
    const x = left < right && n.x > left - 2 * half && n.x < right + 2 * half ? Math.max(left, Math.min(right, n.x)) : n.x;
    if (written.some((w) => Math.abs(w.x - x) < w.half + half && Math.abs(w.y - n.y) < tall)) continue;
    written.push({ x, y: n.y, half });
    ctx.strokeText(label, x, n.y - 9 / look.zoom);
    ctx.fillText(label, x, n.y - 9 / look.zoom);
  }
}

// Canvas runs the simulation until it has come to rest, and again when the
// peers change.
function Canvas({ list, by, label }) {
  const box = useRef(null), run = useRef(null);
  const dark = useMedia(darkness);
  const [over, setOver] = useState(null), [fault, setFault] = useState('');
  const ids = useMemo(() => list.map((c) => c.peer_id + names[by](c)).join(), [list, by]);
  const look = useRef({ x: 0, y: 0, zoom: 1, over: null, moved: false }).current;
  const draw = () => { if (run.current && box.current) paint(box.current, run.current, look, dark); };
  const drawRef = useRef(draw);
  drawRef.current = draw;

  useEffect(() => {
    let gone = false;
    loadForce().then(() => {
      if (gone) return;
      const { d3 } = globalThis, old = run.current ? run.current.nodes : [];
      const { nodes, links } = build(old, list, names[by]);
      if (run.current) run.current.force.stop();
      const spread = Math.min(1, 300 / nodes.length + 0.35), wide = Math.sqrt(nodes.length);
      const force = d3.forceSimulation(nodes)
        .force('link', d3.forceLink(links).distance((l) => (l.target.kind === 'group' ? l.length + Math.sqrt(l.target.count) * 9 + wide * 4 : l.length)).strength(0.6))
        .force('charge', d3.forceManyBody().strength((n) => (n.kind === 'peer' ? -26 * spread : -160 - 8 * (n.count || 0))).distanceMax(320 + wide * 12))
        .force('collide', d3.forceCollide((n) => n.r + 1.5))
        .force('x', d3.forceX().strength(0.03)).force('y', d3.forceY().strength(0.045))
        .alphaDecay(0.04)
        .on('tick', () => {
          if (!look.moved && box.current) { // the whole graph stays in sight until the user moves it
            let far = 60;
            for (const n of nodes) far = Math.max(far, Math.abs(n.x) * box.current.clientHeight / box.current.clientWidth, Math.abs(n.y));
            look.zoom = Math.min(1.8, (box.current.clientHeight / 2 - 16) / far);
          }
          drawRef.current();
        });
      if (old.length > 0) force.alpha(0.35);
      run.current = { force, nodes, links };
    }, (err) => setFault(err.message));
    return () => { gone = true; };
  }, [ids, by]);
  useEffect(() => () => { if (run.current) run.current.force.stop(); }, []);
  useEffect(draw, [dark]);

  const at = (e) => {
    const r = box.current.getBoundingClientRect();
    return [(e.clientX - r.left - r.width / 2 - look.x) / look.zoom, (e.clientY - r.top - r.height / 2 - look.y) / look.zoom];
  };
  const zoom = (factor) => {
    look.zoom = Math.max(0.1, Math.min(8, look.zoom * factor));
    look.moved = true;
    draw();
  };
  const drag = useRef(null);
  const move = (e) => {
    if (drag.current) {
      look.x += e.clientX - drag.current.x;
      look.y += e.clientY - drag.current.y;
      drag.current = { x: e.clientX, y: e.clientY, far: drag.current.far + 1 };
      look.moved = true;
      return draw();
    }
    if (!run.current) return;
    const [x, y] = at(e);
    let found = null, best = 12 / look.zoom;
    for (const n of run.current.nodes) {
      const d = Math.hypot(n.x - x, n.y - y) - n.r;
      if (d < best && n.kind === 'peer') { best = d; found = n; }
    }
    if (found !== look.over) { look.over = found; setOver(found); draw(); }
  };
  const up = () => {
    const still = drag.current && drag.current.far < 3;
    drag.current = null;
    if (still && look.over) location.hash = to('peers', { q: look.over.peer }).slice(1);
  };
  return html`<div class="graph">
    <canvas ref=${box} role="img" aria-label=${label} onPointerMove=${move} onPointerLeave=${() => { look.over = null; setOver(null); }}
      onPointerDown=${(e) => { drag.current = { x: e.clientX, y: e.clientY, far: 0 }; e.currentTarget.setPointerCapture(e.pointerId); }} onPointerUp=${up} onPointerCancel=${() => { drag.current = null; }}
      onWheel=${(e) => { e.preventDefault(); zoom(e.deltaY < 0 ? 1.15 : 1 / 1.15); }}></canvas>
    <div class="zoom"><button type="button" class="button" aria-label="Nearer" onClick=${() => zoom(1.3)}>+</button><button type="button" class="button" aria-label="Farther" onClick=${() => zoom(1 / 1.3)}>−</button>
      <button type="button" class="button" onClick=${() => { Object.assign(look, { x: 0, y: 0, moved: false }); if (run.current) run.current.force.alpha(0.1).restart(); }}>Fit</button></div>
    <p class="over" aria-hidden="true">${fault || (over ? `${short(over.peer)} · ${shown(over.agent, 60) || 'unknown'} · ${bytes(over.sum)}` : '')}</p>
  </div>`;
}

export function Graph({ view, params, setParams }) {
  const by = Object.hasOwn(names, params.by || '') ? params.by : 'agent';
  const dark = useMedia(darkness);
  const all = view.state && view.state.subsystems ? view.state.subsystems.connections : [];
  const { list, total } = useMemo(() => sampled(all), [all]);
  const rows = useMemo(() => groups(all, names[by]).map((g) => ({ ...g, color: groupColor(g.name, dark) })), [all, by, dark]);
  return html`
    <div class="bar">
      <${Choice} label="Grouped" value=${by} onChange=${(v) => setParams({ by: v === 'agent' ? '' : v })} options=${[['agent', 'By agent'], ['country', 'By country'], ['transport', 'By transport']]} />
      <span class="note">${counted(total, 'peer')}${list.length < total ? `, ${number(list.length)} of them drawn` : ''}</span>
    </div>
    <div class="beside">
      <${Card}>${total === 0 ? html`<${Empty}>No peer is connected.<//>` : html`<${Canvas} list=${list} by=${by} label=${`${counted(total, 'peer')} around this node, in ${rows.length} groups`} />`}<//>
      <${Card} title="Groups" note="connected peers"><${Bars} label="Groups" rows=${rows.slice(0, 40)} link=${(r) => to('peers', { q: r.name === 'unknown' ? '' : r.name })} /><//>
    </div>`;
}
