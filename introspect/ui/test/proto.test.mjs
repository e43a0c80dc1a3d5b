import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { decode, encode, WireError } from '../js/proto.js';
import { enums, messages } from '../js/schema.js';

const folder = new URL('../../testdata/messages/', import.meta.url);
const types = new Map(Object.entries(messages).map(([name, fields]) => [name, new Map(fields.map(([, field, type, repeated]) => [field, { type, repeated }]))]));
// A field's enum by message and field; the .proto names it, the table does not need to.
const enumOf = { 'Event.kind': '', 'ServerNotice.kind': 'ServerNotice.Kind', 'CommandResponse.result': 'CommandResponse.Result', 'ClientCommand.command': 'ClientCommand.Command',
  'ClientCommand.source': 'ClientCommand.Source', 'Connection.status': 'Status', 'Stream.status': 'Status', 'Connection.role': 'Role', 'Stream.role': 'Role',
  'DHT.PeerInDHT.status': 'DHT.PeerInDHT.Status', 'EventType.EventProperty.type': 'EventType.EventProperty.PropertyType' };

// same holds what was read against protojson of the same message, field by field.
function same(name, got, want, path) {
  for (const [field, { type, repeated }] of types.get(name)) {
    const here = `${path}.${field}`;
    const one = (g, w) => {
      if (types.has(type)) return same(type, g, w, here);
      if (type === 'bytes') return assert.equal(Buffer.from(g).toString('base64'), w, here);
      if (type === 'enum') return assert.equal(enums[enumOf[`${name}.${field}`]][g] ?? g, w, here);
      return assert.equal(typeof g === 'number' ? g : g, typeof g === 'number' ? Number(w) : w, here);
    };
    const g = got[field], w = want[field];
    if (repeated) {
      assert.equal(g.length, (w || []).length, `${here}: length`);
      g.forEach((x, i) => one(x, w[i]));
    } else if (w === undefined || w === null) {
      assert.ok(g === null || g === 0 || g === '' || g === false || g.length === 0, `${here} should be absent`);
    } else one(g, w);
  }
  for (const field of Object.keys(want)) assert.ok(types.get(name).has(field), `${path}.${field} is not in the table`);
}

const vectors = readdirSync(folder).filter((f) => f.endsWith('.bin'));
test('there are vectors that Go made', () => assert.ok(vectors.length >= 5, String(vectors)));
for (const file of vectors) {
  test(`Go's ${file} reads as its JSON`, () => {
    const bytes = new Uint8Array(readFileSync(new URL(file, folder)));
    const name = file.startsWith('command') ? 'ClientCommand' : 'ServerMessage';
    same(name, decode(name, bytes), JSON.parse(readFileSync(new URL(file.replace(/bin$/, 'json'), folder), 'utf8')), name);
  });
}

test('a command that was written reads as it was', () => {
  const command = { version: { version: 1 }, id: 300, command: 7, source: 2, config: { retention_period_ms: 120000, state_snapshot_interval_ms: 1000 } };
  assert.deepEqual(decode('ClientCommand', encode('ClientCommand', command)), command);
  assert.deepEqual(Array.from(encode('ClientCommand', { version: { version: 1 }, id: 1, command: 0, source: 0 })), [10, 2, 8, 1, 16, 1]);
});

test('numbers of all sizes', () => {
  const read = (...b) => decode('Version', new Uint8Array([8, ...b])).version;
  assert.equal(read(0), 0);
  assert.equal(read(0xac, 0x02), 300);
  assert.equal(read(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), 2 ** 64);
  const signed = (...b) => decode('ResourceManager.Usage', new Uint8Array([8, ...b])).memory;
  assert.equal(signed(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), -1);
  assert.equal(signed(0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), -128);
  assert.equal(signed(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1), -(2 ** 63));
  assert.equal(signed(5), 5);
});

test('fields that are not known are passed over', () => {
  assert.deepEqual(decode('Version', new Uint8Array([0xf8, 0x3f, 5, 0xf9, 0x3f, 1, 2, 3, 4, 5, 6, 7, 8, 0xfa, 0x3f, 2, 9, 9, 0xfd, 0x3f, 1, 2, 3, 4, 8, 7])), { version: 7 });
});

test('what is skipped is not read', () => {
  const bytes = encode('State', { peers: 3, subsystems: { connections: [{ peer_id: 'x' }], agents: [{ agent: 'y', peers: 1 }] } });
  const s = decode('State', bytes, new Set(['Subsystems.connections']));
  assert.equal(s.peers, 3);
  assert.equal(s.subsystems.connections.length, 0);
  assert.equal(s.subsystems.agents[0].agent, 'y');
});

test('text that is no UTF-8 is replaced', () => {
  assert.equal(decode('AgentCount', new Uint8Array([10, 3, 0x61, 0xff, 0x62])).agent, 'a\ufffdb');
  const long = new Uint8Array(103).fill(0x61);
  long.set([10, 101]);
  long[50] = 0xfe;
  assert.equal(decode('AgentCount', long).agent.length, 101);
});

test('broken bytes give an error and no more', () => {
  const faults = { 'a number without end': [8, 0x80], 'eleven bytes': [8, ...Array(10).fill(0x80), 1], 'too long': [10, 200, 1], 'field 0': [0, 1], 'group': [11], 'wire type 7': [15], 'half a double': [0x41, 1, 2] };
  for (const [what, bytes] of Object.entries(faults)) assert.throws(() => decode('ServerMessage', new Uint8Array(bytes)), WireError, what);
  let nested = new Uint8Array(0);
  for (let i = 0; i < 40; i++) nested = new Uint8Array([0x8a, 1, ...lengthOf(nested.length), ...nested]); // Connection.conn in itself
  assert.throws(() => decode('Connection', nested), /nested too deep/);
});

function lengthOf(n) {
  return n < 128 ? [n] : [(n % 128) | 128, Math.floor(n / 128)];
}

test('bytes by chance never do more than throw', () => {
  let seed = 7;
  const next = () => { seed = (Math.imul(seed, 1103515245) + 12345) >>> 0; return seed >>> 16; };
  let read = 0;
  for (let i = 0; i < 20000; i++) {
    const bytes = Uint8Array.from({ length: next() % 40 }, () => next() & 255);
    try {
      decode('ServerMessage', bytes);
      read++;
    } catch (err) {
      assert.ok(err instanceof WireError, `${err.stack} of ${bytes}`);
    }
  }
  assert.ok(read > 0);
});
