// The conversation with a node: greets, asks for what the node is, has states
// and events pushed, and comes back when the connection breaks.
//
// In: the WebSocket's URL and a model. Out: payloads go to model.take, states
// of the connection to model.setLink. Promised: interval and retention are
// always sent together, the one not changed at the value that is in force; a
// frame that cannot be read ends the connection, not the page.

import { parseFrame } from './frame.js';
import { encode } from './proto.js';

const Command = { HELLO: 0, REQUEST: 1, PUSH_ENABLE: 2, PUSH_PAUSE: 4, PUSH_RESUME: 5, UPDATE_CONFIG: 7 };
const Source = { STATE: 0, RUNTIME: 1, EVENTS: 2 };
const firstWait = 1000, longestWait = 15000;

export class Session {
  constructor(url, model, { Socket = globalThis.WebSocket, setTimer = (f, ms) => setTimeout(f, ms) } = {}) {
    this.url = url;
    this.model = model;
    this.Socket = Socket;
    this.setTimer = setTimer;
    this.wait = firstWait;
    this.nextID = 1;
    this.waiting = new Map(); // command's id -> function of its response
    this.config = { retention_period_ms: model.retention, state_snapshot_interval_ms: model.interval };
    this.paused = false;
    this.ended = false;
    this.open();
  }

  open() {
    if (this.ended) return;
    this.model.setLink('connecting');
    const ws = new this.Socket(this.url);
    this.ws = ws;
    ws.binaryType = 'arraybuffer';
    ws.onopen = () => this.greet();
    ws.onmessage = (m) => this.receive(m.data);
    ws.onclose = (e) => this.lost(e.reason);
  }

  greet() {
    this.send(Command.HELLO, 0, this.config);
    this.send(Command.REQUEST, Source.RUNTIME);
    this.send(Command.PUSH_ENABLE, Source.EVENTS);
    this.send(Command.PUSH_ENABLE, Source.STATE);
    this.send(Command.REQUEST, Source.STATE); // the first push comes an interval later
    if (this.paused) this.send(Command.PUSH_PAUSE, 0);
    this.model.setLink('open');
    this.wait = firstWait;
  }

  send(command, source, config, answered) {
    if (!this.ws || this.ws.readyState !== 1) return false;
    const id = this.nextID++;
    if (answered) this.waiting.set(id, answered);
    this.ws.send(encode('ClientCommand', { version: { version: 1 }, id, command, source, config }));
    return true;
  }

  receive(data) {
    try {
      const payload = parseFrame(data);
      const response = this.model.take(payload);
      if (response) this.answered(response);
    } catch (err) {
      this.ws.close();
      this.lost(`a message could not be read: ${err.message}`);
    }
  }

  answered({ id, result, error, effective_config: config }) {
    if (config) {
      this.config = { ...config };
      this.model.setConfig(config.state_snapshot_interval_ms, config.retention_period_ms);
    }
    const done = this.waiting.get(id);
    this.waiting.delete(id);
    if (done) done(result === 1 ? error || 'refused' : null);
    else if (result === 1) this.model.say(`The node refused a command: ${error}`);
  }

  // configure changes one of the two settings, in ms, and keeps the other.
  configure(change, done) {
    const config = { ...this.config, ...change };
    if (!this.send(Command.UPDATE_CONFIG, 0, config, done)) done('not connected');
  }

  pause() {
    this.paused = true;
    this.send(Command.PUSH_PAUSE, 0);
  }

  resume() {
    this.paused = false;
    this.send(Command.PUSH_RESUME, 0);
  }

  lost(reason) {
    if (!this.ws) return;
    this.ws.onclose = this.ws.onmessage = this.ws.onopen = null;
    this.ws = null;
    for (const done of this.waiting.values()) done('the connection was lost');
    this.waiting.clear();
    if (this.ended) return;
    this.model.setLink('lost', reason);
    this.setTimer(() => this.open(), this.wait);
    this.wait = Math.min(this.wait * 2, longestWait);
  }

  close() {
    this.ended = true;
    if (this.ws) this.ws.close();
    this.lost('');
  }
}

