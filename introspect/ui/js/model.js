// What is known of a node: its states and events of the retention window, the
// moment that is looked at, and what was missed.
//
// In: payloads of ServerMessages, from a session or a capture file. Out: view(),
// all that a page draws. Promised: memory is bounded in bytes, whatever comes;
// the window's oldest part goes first. Listeners are called once per frame
// however much came, and events alone at most four times a second. States are
// kept as bytes and read when they are looked at; only their totals are read
// when they come.

import { decode } from './proto.js';
import { captureParts, parseCapture } from './frame.js';

const limits = { stateBytes: 192 << 20, eventBytes: 96 << 20, events: 200000 };
const eventWait = 250; // ms
const eventOverhead = 400; // bytes of memory beside the payload, about

// What the totals of a state do without: these are read when the state is looked at.
const heavy = new Set(['Subsystems.connections', 'Subsystems.dht', 'Subsystems.dhts', 'Subsystems.resources', 'Subsystems.agents',
  'Subsystems.pubsub', 'Bitswap.ledgers', 'Bitswap.wantlist', 'Content.top_cids', 'Content.top_cids_by_peers', 'Content.top_peers',
  'Content.lines', 'Content.coverage', 'Content.floods',
  'Pipeline.stream']);

// connected counts the open connections of a state and their peers, where its
// own totals say none: captures of the original protocol have no totals.
function connected(state, payload) {
  if (state.peers > 0 || state.connections > 0) return { peers: state.peers, connections: state.connections };
  const sub = decode('ServerMessage', payload).state.subsystems;
  const open = sub ? sub.connections.filter((c) => c.status !== 1) : [];
  return { peers: new Set(open.map((c) => c.peer_id)).size, connections: open.length };
}

// totalsOf returns what the charts are made of: a few numbers for each state.
function totalsOf(state, payload) {
  const sub = state.subsystems || {}, traffic = state.traffic || {}, bitswap = sub.bitswap || {};
  const rates = (r) => (r ? { ...r } : null);
  const t = {
    ts: state.instant_ts, ...connected(state, payload),
    in: traffic.traffic_in ? traffic.traffic_in.inst_bw : 0, out: traffic.traffic_out ? traffic.traffic_out.inst_bw : 0,
    received: rates(bitswap.received_rate), sent: rates(bitswap.sent_rate), latency: null,
  };
  for (const l of sub.content ? sub.content.latency : []) {
    if (l.direction === 'sent' && l.answer === 'block' && l.count > 0) t.latency = { p50: l.p50_us / 1000, p99: l.p99_us / 1000 };
  }
  return t;
}

export class Model {
  constructor({ schedule = (f) => requestAnimationFrame(f), later = (f, ms) => setTimeout(f, ms) } = {}) {
    this.schedule = schedule;
    this.later = later;
    this.listeners = new Set();
    this.interval = 1000;
    this.retention = 120000;
    this.link = 'connecting'; // open, lost, file
    this.linkReason = '';
    this.messages = [];
    this.clear();
  }

  clear() {
    this.runtime = null;
    this.runtimePayload = null;
    this.states = []; // {ts, payload, totals, order}
    this.events = []; // {ts, name, payload, order, text, data}
    this.stateBytes = this.eventBytes = this.order = 0;
    this.columns = new Map(); // event type -> property types
    this.counts = new Map(); // event type -> events held
    this.missed = 0;
    this.eventsSeen = 0;
    this.cursor = null; // the moment looked at; null: the newest
    this.paused = false;
    this.read = new Map(); // states read lately: item -> state
    this.history = null;
    this.file = null;
  }

  // take keeps one payload and gives a CommandResponse back, if it is one.
  take(payload) {
    const message = decode('ServerMessage', payload, heavy);
    if (message.state) this.takeState(message.state, payload);
    else if (message.event) this.takeEvent(message.event, payload);
    else if (message.runtime) this.takeRuntime(message.runtime, payload);
    else if (message.notice) this.takeNotice(message.notice);
    return message.response;
  }

  takeState(state, payload) {
    const item = { ts: state.instant_ts, payload, totals: totalsOf(state, payload), order: this.order++ };
    const last = this.states[this.states.length - 1];
    if (last && last.ts === item.ts) return; // asked for and pushed
    if (last && last.ts > item.ts) this.states.splice(this.place(this.states, item.ts), 0, item);
    else this.states.push(item);
    this.stateBytes += payload.length;
    this.prune();
    this.changed();
  }

  takeEvent(event, payload) {
    const type = event.type || { name: '', property_types: [] };
    const item = { ts: event.ts, name: type.name, payload, order: this.order++, text: event.content, data: undefined, properties: type.property_types };
    if (type.property_types.length > 0) this.columns.set(type.name, type.property_types);
    const last = this.events[this.events.length - 1];
    if (last && last.ts > item.ts) item.ts = last.ts; // one order for searching; the content has the exact time
    this.events.push(item);
    this.counts.set(item.name, (this.counts.get(item.name) || 0) + 1);
    this.eventsSeen++;
    this.eventBytes += payload.length + eventOverhead;
    if (this.events.length % 64 === 0) this.prune();
    this.changed(eventWait);
  }

  takeRuntime(runtime, payload) {
    this.runtime = runtime;
    this.runtimePayload = payload;
    for (const t of runtime.event_types) this.columns.set(t.name, t.property_types);
    this.changed();
  }

  takeNotice(notice) {
    this.missed += notice.discarded_events;
    this.changed();
  }

  // prune forgets what is older than the retention, and the oldest above the limits.
  prune() {
    const newest = Math.max(this.lastTime(), 0);
    const oldest = this.file ? -Infinity : newest - this.retention;
    let n = 0;
    while (n < this.states.length - 1 && (this.states[n].ts < oldest || this.stateBytes > limits.stateBytes)) {
      this.stateBytes -= this.states[n].payload.length;
      this.read.delete(this.states[n]);
      n++;
    }
    if (n > 0) this.states.splice(0, n);
    n = 0;
    while (n < this.events.length && (this.events[n].ts < oldest || this.eventBytes > limits.eventBytes || this.events.length - n > limits.events)) {
      const e = this.events[n++];
      this.eventBytes -= e.payload.length + eventOverhead;
      this.counts.set(e.name, this.counts.get(e.name) - 1);
    }
    if (n > 0) this.events.splice(0, n);
    const first = this.firstTime();
    if (this.cursor !== null && this.cursor < first) this.cursor = first;
  }

  firstTime() {
    const s = this.states[0], e = this.events[0];
    return s ? s.ts : e ? e.ts : 0;
  }

  lastTime() {
    const s = this.states[this.states.length - 1], e = this.events[this.events.length - 1];
    return Math.max(s ? s.ts : 0, e ? e.ts : 0);
  }

  // place gives the index after the last item that is not later than ts.
  place(list, ts) {
    let low = 0, high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list[middle].ts <= ts) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // stateOf reads a whole state; the last few are kept.
  stateOf(item) {
    let state = this.read.get(item);
    if (!state) {
      state = decode('ServerMessage', item.payload).state;
      if (this.read.size >= 3) this.read.delete(this.read.keys().next().value);
      this.read.set(item, state);
    }
    return state;
  }

  // view gives what is to be drawn: the state at the cursor, the events up to
  // it, and the totals of the states up to it.
  view() {
    const live = this.cursor === null;
    const at = live ? this.lastTime() : this.cursor;
    const n = live ? this.states.length : this.place(this.states, at);
    const item = this.states[Math.max(n - 1, 0)] || null;
    return {
      model: this, live, at, item,
      state: item ? this.stateOf(item) : null,
      totals: item ? item.totals : null,
      states: this.states, until: n,
      events: this.events, eventsUntil: live ? this.events.length : this.place(this.events, at),
      runtime: this.runtime,
    };
  }

  // data gives an event's content, null if it is no JSON object.
  data(event) {
    if (event.data === undefined) {
      try {
        const v = JSON.parse(event.text);
        event.data = v !== null && typeof v === 'object' ? v : null;
      } catch {
        event.data = null;
      }
    }
    return event.data;
  }

  setCursor(ts) {
    this.cursor = ts;
    this.changed();
  }

  setPaused(paused) {
    this.paused = paused;
    this.cursor = paused ? this.cursor ?? this.lastTime() : null;
    this.changed();
  }

  setConfig(interval, retention) {
    this.interval = interval;
    this.retention = retention;
    this.prune();
    this.changed();
  }

  setLink(link, reason = '') {
    this.link = link;
    this.linkReason = reason;
    this.changed();
  }

  setHistory(history) {
    this.history = history;
    this.changed();
  }

  // say shows the user a sentence for a while.
  say(text) {
    const message = { text };
    this.messages.push(message);
    if (this.messages.length > 4) this.messages.shift();
    this.changed();
    this.later(() => {
      this.messages = this.messages.filter((m) => m !== message);
      this.changed();
    }, 8000);
  }

  // exported gives the parts of a capture file of all that is held, in the
  // order in which it came. The first event of a type keeps its columns as the
  // server sent them; those of types whose first is gone are in the runtime.
  exported() {
    const all = [...this.states, ...this.events].sort((a, b) => a.order - b.order).map((i) => i.payload);
    return captureParts(this.runtimePayload ? [this.runtimePayload, ...all] : all);
  }

  // open shows a capture file instead of a node.
  open(name, buffer) {
    const { payloads, fault } = parseCapture(buffer);
    this.clear();
    this.file = name;
    this.setLink('file');
    let unread = 0;
    for (const p of payloads) {
      try {
        this.take(p);
      } catch {
        unread++;
      }
    }
    if (fault) this.say(`Only a part of ${name} could be read: ${fault}.`);
    if (unread > 0) this.say(`${unread} messages of ${name} could not be read.`);
    this.changed();
  }

  listen(f) {
    this.listeners.add(f);
    return () => this.listeners.delete(f);
  }

  // changed has the listeners called at the next frame, or after a wait.
  changed(wait = 0) {
    if (this.scheduled || (wait > 0 && this.waiting)) return;
    const frame = () => {
      this.scheduled = true;
      this.schedule(() => {
        this.scheduled = false;
        for (const f of this.listeners) f();
      });
    };
    if (wait === 0) return frame();
    this.waiting = true;
    this.later(() => {
      this.waiting = false;
      if (!this.scheduled) frame();
    }, wait);
  }
}
