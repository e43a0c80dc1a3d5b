import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Model } from '../js/model.js';
import { parseCapture } from '../js/frame.js';
import { encode } from '../js/proto.js';

const state = (ts, peers = 1) => encode('ServerMessage', { version: { version: 1 }, state: { instant_ts: ts, peers, traffic: { traffic_in: { inst_bw: 10 }, traffic_out: { inst_bw: 20 } } } });
const event = (ts, name = 'E', content = '{"a":1}', property_types = []) => encode('ServerMessage', { event: { type: { name, property_types }, ts, content } });
const runtime = encode('ServerMessage', { runtime: { peer_id: 'p', event_types: [{ name: 'E', property_types: [{ name: 'a', type: 1 }] }] } });

// made gives a model whose frames and waits are run by hand.
function made() {
  const frames = [], waits = [];
  const m = new Model({ schedule: (f) => frames.push(f), later: (f, ms) => waits.push({ f, ms }) });
  return { m, frames, waits, run: (list) => list.splice(0).forEach((x) => (x.f || x)()) };
}

test('many changes are one frame', () => {
  const { m, frames, run } = made();
  let drawn = 0;
  m.listen(() => drawn++);
  for (let i = 0; i < 500; i++) m.take(state(1000 + i));
  assert.equal(frames.length, 1);
  run(frames);
  assert.equal(drawn, 1);
  m.take(state(9000));
  assert.equal(frames.length, 1);
});

test('events alone wait for others', () => {
  const { m, frames, waits, run } = made();
  for (let i = 0; i < 100; i++) m.take(event(1000 + i));
  assert.equal(frames.length, 0);
  assert.deepEqual(waits.map((w) => w.ms), [250]);
  run(waits);
  assert.equal(frames.length, 1);
});

test('what is older than the retention goes', () => {
  const { m } = made();
  m.setConfig(1000, 10000);
  for (let i = 0; i <= 100; i++) {
    m.take(state(i * 1000 + 1));
    m.take(event(i * 1000 + 1));
  }
  m.prune();
  assert.equal(m.states.length, 11);
  assert.equal(m.events.length, 11);
  assert.equal(m.counts.get('E'), 11);
  assert.equal(m.firstTime(), 90001);
  assert.equal(m.stateBytes, m.states.reduce((n, s) => n + s.payload.length, 0));
});

test('memory is bounded', () => {
  const { m } = made();
  const big = `{"a":"${'x'.repeat(1 << 20)}"}`;
  for (let i = 0; i < 300; i++) m.take(event(1000 + i, 'E', big));
  m.prune();
  assert.ok(m.eventBytes <= 96 << 20, `${m.eventBytes}`);
  assert.ok(m.events.length > 50);
});

test('the cursor moves all back, and what comes meanwhile does not move it', () => {
  const { m } = made();
  for (let i = 1; i <= 20; i++) {
    m.take(state(i * 1000, i));
    m.take(event(i * 1000 + 500));
  }
  assert.equal(m.view().state.peers, 20);
  m.setCursor(7200);
  let v = m.view();
  assert.equal(v.state.peers, 7);
  assert.equal(v.eventsUntil, 6);
  assert.equal(v.until, 7);
  assert.equal(v.live, false);
  m.take(state(21000, 21));
  v = m.view();
  assert.equal(v.state.peers, 7);
  m.setCursor(null);
  assert.equal(m.view().state.peers, 21);
});

test('pause holds the view where it is', () => {
  const { m } = made();
  m.take(state(1000, 1));
  m.setPaused(true);
  m.take(state(2000, 2));
  assert.equal(m.view().state.peers, 1);
  m.setPaused(false);
  assert.equal(m.view().state.peers, 2);
});

test('a cursor that falls out of the window goes with it', () => {
  const { m } = made();
  m.setConfig(1000, 5000);
  for (let i = 1; i <= 3; i++) m.take(state(i * 1000, i));
  m.setCursor(1000);
  for (let i = 4; i <= 20; i++) m.take(state(i * 1000, i));
  assert.equal(m.view().state.peers, 15);
});

test('states that come late or twice', () => {
  const { m } = made();
  for (const ts of [3000, 1000, 2000, 3000]) m.take(state(ts, ts / 1000));
  assert.deepEqual(m.states.map((s) => s.ts), [1000, 2000, 3000]);
});

test('missed events are counted', () => {
  const { m } = made();
  m.take(encode('ServerMessage', { notice: { discarded_events: 5 } }));
  m.take(encode('ServerMessage', { notice: { discarded_events: 7 } }));
  assert.equal(m.missed, 12);
});

test('content that is no object is no data', () => {
  const { m } = made();
  for (const c of ['{"a":1}', 'x', '3', 'null', '']) m.take(event(1, 'E', c));
  assert.deepEqual(m.events.map((e) => m.data(e)), [{ a: 1 }, null, null, null, null]);
});

test('what was exported is opened again', async () => {
  const a = made().m, { m: b } = made();
  a.take(runtime);
  for (let i = 1; i <= 5; i++) {
    a.take(state(i * 1000, i));
    a.take(event(i * 1000 + 1));
  }
  const buffer = await new Blob(a.exported()).arrayBuffer();
  assert.equal(parseCapture(buffer).payloads.length, 11);
  b.open('x', buffer);
  assert.equal(b.states.length, 5);
  assert.equal(b.events.length, 5);
  assert.equal(b.runtime.peer_id, 'p');
  assert.equal(b.view().state.peers, 5);
  assert.equal(b.columns.get('E')[0].name, 'a');
  assert.deepEqual(new Uint8Array(await new Blob(b.exported()).arrayBuffer()), new Uint8Array(buffer));
});

test('a file that is none leaves what is there', () => {
  const { m } = made();
  m.take(state(1000, 1));
  assert.throws(() => m.open('x', new Uint8Array([1, 2, 3, 4, 5]).buffer), /not a capture file/);
  assert.equal(m.states.length, 1);
  assert.equal(m.file, null);
});

test('a state without totals is counted', () => {
  const { m } = made();
  m.take(encode('ServerMessage', { state: { instant_ts: 1000, subsystems: { connections: [{ peer_id: 'a' }, { peer_id: 'a' }, { peer_id: 'b' }, { peer_id: 'c', status: 1 }] } } }));
  assert.equal(m.states[0].totals.peers, 2);
  assert.equal(m.states[0].totals.connections, 3);
});
