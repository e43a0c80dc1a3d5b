import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fnv1a } from '../js/frame.js';
import { Model } from '../js/model.js';
import { decode, encode } from '../js/proto.js';
import { Session } from '../js/session.js';

class Socket {
  static all = [];
  constructor(url) {
    this.url = url;
    this.readyState = 0;
    this.sent = [];
    Socket.all.push(this);
  }

  open() {
    this.readyState = 1;
    this.onopen();
  }

  send(b) { this.sent.push(decode('ClientCommand', b)); }

  close() { this.readyState = 3; }

  say(message) {
    const payload = encode('ServerMessage', message), b = new DataView(new ArrayBuffer(12 + payload.length));
    b.setUint32(0, 1, true);
    b.setUint32(4, fnv1a(payload), true);
    b.setUint32(8, payload.length, true);
    new Uint8Array(b.buffer).set(payload, 12);
    this.onmessage({ data: b.buffer });
  }
}

function made() {
  Socket.all = [];
  const timers = [];
  const model = new Model({ schedule: () => {}, later: () => {} });
  const session = new Session('ws://x/introspect', model, { Socket, setTimer: (f, ms) => timers.push({ f, ms }) });
  return { model, session, timers, socket: () => Socket.all[Socket.all.length - 1] };
}

test('greets before all else, then asks for all', () => {
  const { socket, model } = made();
  socket().open();
  const said = socket().sent;
  assert.deepEqual(said.map((c) => [c.command, c.source]), [[0, 0], [1, 1], [2, 2], [2, 0], [1, 0]]);
  assert.deepEqual(said[0].config, { retention_period_ms: 120000, state_snapshot_interval_ms: 1000 });
  assert.deepEqual(said.map((c) => c.id), [1, 2, 3, 4, 5]);
  assert.equal(model.link, 'open');
});

test('interval and retention are changed each alone', () => {
  const { socket, session, model } = made();
  socket().open();
  socket().say({ response: { id: 1, effective_config: { retention_period_ms: 60000, state_snapshot_interval_ms: 2000 } } });
  assert.deepEqual([model.interval, model.retention], [2000, 60000]);
  const told = [];
  session.configure({ state_snapshot_interval_ms: 500 }, (fault) => told.push(fault));
  let c = socket().sent.at(-1);
  assert.equal(c.command, 7);
  assert.deepEqual(c.config, { retention_period_ms: 60000, state_snapshot_interval_ms: 500 });
  socket().say({ response: { id: c.id, effective_config: c.config } });
  session.configure({ retention_period_ms: 30000 }, (fault) => told.push(fault));
  c = socket().sent.at(-1);
  assert.deepEqual(c.config, { retention_period_ms: 30000, state_snapshot_interval_ms: 500 });
  socket().say({ response: { id: c.id, result: 1, error: 'no' } });
  assert.deepEqual(told, [null, 'no']);
  assert.deepEqual([model.interval, model.retention], [500, 60000]);
});

test('pause and resume are told, also to a connection that came later', () => {
  const { socket, session, timers } = made();
  socket().open();
  session.pause();
  assert.equal(socket().sent.at(-1).command, 4);
  socket().onclose({ reason: '' });
  timers.pop().f();
  socket().open();
  assert.equal(socket().sent.at(-1).command, 4);
  session.resume();
  assert.equal(socket().sent.at(-1).command, 5);
});

test('comes back after a loss, ever more slowly', () => {
  const { socket, timers, model, session } = made();
  const waits = [];
  for (let i = 0; i < 6; i++) {
    socket().onclose({ reason: 'gone' });
    assert.equal(model.link, 'lost');
    const t = timers.pop();
    waits.push(t.ms);
    t.f();
  }
  assert.deepEqual(waits, [1000, 2000, 4000, 8000, 15000, 15000]);
  socket().open();
  socket().onclose({ reason: '' });
  assert.equal(timers.pop().ms, 1000);
  session.close();
  assert.equal(timers.length, 0);
});

test('a frame that cannot be read ends the connection', () => {
  const { socket, model, timers } = made();
  socket().open();
  const s = socket();
  s.onmessage({ data: new ArrayBuffer(20) });
  assert.equal(s.readyState, 3);
  assert.equal(model.link, 'lost');
  assert.match(model.linkReason, /could not be read/);
  assert.equal(timers.length, 1);
});

test('a command that waits when the connection is lost is answered', () => {
  const { socket, session } = made();
  const told = [];
  session.configure({}, (f) => told.push(f));
  socket().open();
  session.configure({}, (f) => told.push(f));
  socket().onclose({ reason: '' });
  assert.deepEqual(told, ['not connected', 'the connection was lost']);
});
