// What pages compute before they draw.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { happened, wantedText } from '../js/answered.js';
import { entriesOf, passes } from '../js/bitswap.js';
import { brightness } from '../js/dht.js';
import { columnsOf, valueOf } from '../js/events.js';
import { counted } from '../js/format.js';
import { groupColor, sampled } from '../js/graph.js';
import { groups, merged, reaches, transportOf } from '../js/overview.js';
import { matches } from '../js/peers.js';
import { stateOf } from '../js/proxy.js';
import { fitting, sorted } from '../js/table.js';
import { decode, encode } from '../js/proto.js';

const connection = (c) => decode('Connection', encode('Connection', c));
const bytes = (s) => new TextEncoder().encode(s);

test('tables sort numbers as numbers, what is empty last, and keep the order of equals', () => {
  const columns = [{ name: 'n', sort: (r) => r.n }, { name: 's', sort: (r) => r.s }];
  const rows = [{ n: 10, s: 'b', i: 0 }, { n: 9, s: '', i: 1 }, { n: 100, s: 'a', i: 2 }, { n: 9, s: 'a', i: 3 }];
  const f = (by, down) => sorted(rows, columns, { by, down }).map((r) => r.i).join('');
  assert.equal(f('n', false), '1302');
  assert.equal(f('n', true), '2013');
  assert.equal(f('s', false), '2301');
  assert.equal(f('x', false), '0123');
});

test('tables leave out what has no room, the least needed first', () => {
  const columns = [{ name: 'a', width: '100px' }, { name: 'b', width: 'minmax(100px, 1fr)', drop: 1 }, { name: 'c', width: '100px', drop: 2 }];
  const f = (width) => fitting(columns, width).map((c) => c.name).join('');
  assert.equal(f(400), 'abc');
  assert.equal(f(300), 'ab');
  assert.equal(f(200), 'a');
  assert.equal(f(50), 'a');
});

test('filters of the feed', () => {
  const m = { peer: '12D3Abc', agent: 'kubo', direction: 'sent', want_blocks: 1, cancels: 2, wants: [{ cid: 'bafyX', type: 'want_block' }], block_list: 'no list' };
  const f = (filter) => passes(m, { direction: '', off: new Set(), text: '', ...filter });
  assert.ok(f({}));
  assert.ok(f({ direction: 'sent' }));
  assert.ok(!f({ direction: 'received' }));
  assert.ok(f({ off: new Set(['cancel']) }));
  assert.ok(!f({ off: new Set(['cancel', 'want_block']) }));
  assert.ok(f({ text: '12d3a' }));
  assert.ok(f({ text: 'bafyx' }));
  assert.ok(!f({ text: 'helia' }));
  assert.deepEqual(entriesOf(m), [{ cid: 'bafyX', type: 'want_block', priority: undefined }]);
  const strange = { want_blocks: { valueOf: 1, toString: 1 }, peer: { toLowerCase: 1 }, wants: [null, 3, { cid: {}, type: 'constructor' }], presences: { length: 1e9 } };
  assert.deepEqual(entriesOf(strange), [{ cid: '', type: 'constructor', priority: undefined }]);
  assert.ok(!passes(strange, { direction: '', off: new Set(['cancel']), text: '' }));
  assert.ok(!passes(strange, { direction: '', off: new Set(), text: 'x' }));
});

test('who answered, in words', () => {
  const none = { blocks: 1, given_up: 0, unanswered: 0, waiting: 0, surplus: 0, searches: 0, providers: 0, not_found: 0, search_p50_us: 0 };
  assert.equal(wantedText(none), 'The node began to want 1 block, waits for 0.');
  assert.equal(wantedText({ ...none, blocks: 5, given_up: 1, unanswered: 2, waiting: 3, surplus: 1, searches: 2, providers: 9, not_found: 1, search_p50_us: 1500000 }),
    'The node began to want 5 blocks, gave up 1, stopped asking for 2, waits for 3, got 1 block twice or unasked. Of 2 searches for providers, which found 9, 1 found none; half took less than 1.5 s.');
  assert.equal(happened('BlockRetrieved', { source: 'routing' }), 'block, provider found for it');
  assert.equal(happened('HTTPRequest', { method: 'HEAD', outcome: 'dont_have' }), "HEAD: don't have");
  assert.equal(happened('ProviderSearch', { state: 'found', http: true, connected: true }), 'search found a provider over HTTP, connected already');
  assert.equal(happened('ProviderSearch', { state: 'ended', providers: 1 }), 'search ended with 1 provider');
  assert.equal(happened('ProviderSearch', { state: 'began' }), 'search began');
  for (const name of ['BlockRetrieved', 'HTTPRequest', 'ProviderSearch']) { // of any shape
    for (const d of [{}, { source: {}, method: [], outcome: 3, state: null, providers: { valueOf: 1 } }, { source: 'constructor', state: '__proto__' }]) assert.equal(typeof happened(name, d), 'string');
  }
});

test('the hour of the store and the states join without overlap', () => {
  const chart = [{ live: (s) => s.v, stored: (h) => h.name === 'v' }, { live: () => null, stored: (h) => h.name === 'none' }];
  const history = { step_seconds: 30, times: [-60000, -30000, 0, 30000, 60000, 90000], series: [{ name: 'v', unit: 'us', values: [null, null, 1000, null, 3000, 4000] }] };
  const states = [80, 81, 82, 90].map((s) => ({ ts: s * 1000, totals: { v: s } }));
  assert.deepEqual(merged(chart, history, states, 4, 5), [[0, 30, 80, 90], [1, null, 81, 90], [null, null, null, null]]);
  assert.deepEqual(merged(chart, null, states, 2, 0), [[80, 81], [80, 81], [null, null]]);
  assert.deepEqual(merged(chart, null, [], 0, 5), [[], [], []]);
});

test('the last hour is shown once it has more than the page', () => {
  const states = [{ ts: 100000 }, { ts: 160000 }];
  const history = (...values) => ({ step_seconds: 10, times: [20000, 60000, 90000], series: [{ values }] });
  assert.ok(!reaches(null, states, 2));
  assert.ok(!reaches(history(null, null, null), states, 2));
  assert.ok(!reaches(history(null, null, 1), states, 2), 'it begins with the page');
  assert.ok(reaches(history(null, 1, 1), states, 2));
});

test('one is singular', () => {
  assert.equal(counted(1, 'bucket'), '1 bucket');
  assert.equal(counted(0, 'bucket'), '0 buckets');
  assert.equal(counted(2, 'query', 'queries'), '2 queries');
});

test('groups count each peer once, and no closed connection', () => {
  const all = [{ peer_id: 'a', country: 'DE' }, { peer_id: 'a', country: 'DE' }, { peer_id: 'b', country: 'US' }, { peer_id: 'c', country: 'DE' }, { peer_id: 'd', country: 'FR', status: 1 }].map(connection);
  assert.deepEqual(groups(all, (c) => c.country), [{ name: 'DE', n: 2 }, { name: 'US', n: 1 }]);
});

test('search looks into streams and addresses', () => {
  const c = connection({ peer_id: 'PEER', role: 1, transport_id: bytes('ip4+udp+quic-v1'), agent_version: 'Kubo', endpoints: { src_multiaddr: '/ip4/10.0.0.1', dst_multiaddr: '/ip4/10.0.0.2' },
    streams: { streams: [{ protocol: '/ipfs/bitswap/1.2.0' }] }, user_provided_tags: ['Friend'] });
  for (const t of ['peer', 'kubo', '10.0.0.1', 'bitswap', 'quic-v1', 'inbound', 'friend']) assert.ok(matches(c, t), t);
  for (const t of ['10.0.0.2', 'gateway', 'x']) assert.ok(!matches(c, t), t);
  assert.equal(transportOf(c), 'quic-v1 ip4');
});

test('the graph draws 2,000 peers at most, and the same ones again', () => {
  const all = Array.from({ length: 9000 }, (_, i) => connection({ peer_id: `p${i % 4500}`, status: i % 3 === 0 ? 1 : 0 }));
  const a = sampled(all);
  assert.equal(a.total, 3000);
  assert.equal(a.list.length, 2000);
  assert.equal(new Set(a.list.map((c) => c.peer_id)).size, 2000);
  assert.deepEqual(sampled([...all].reverse()).list.map((c) => c.peer_id), a.list.map((c) => c.peer_id));
  assert.notEqual(groupColor('kubo', false), groupColor('helia', false));
  assert.equal(groupColor('kubo', true), groupColor('kubo', true));
});

test("an event's properties are found under both spellings, and never in its prototype", () => {
  assert.equal(valueOf({ peerId: 1 }, 'PeerId'), 1);
  assert.equal(valueOf({ PeerId: 2, peerId: 1 }, 'PeerId'), 2);
  assert.equal(valueOf({}, 'constructor'), undefined);
  assert.equal(valueOf({}, 'ToString'), undefined);
  assert.equal(valueOf(null, 'x'), undefined);
  const columns = new Map([['A', [{ name: 'x' }, { name: 'y' }]], ['B', [{ name: 'y' }, { name: 'z' }]]]);
  assert.deepEqual(columnsOf(['A', 'B', 'C'], columns).map((p) => p.name), ['x', 'y', 'z']);
});

test('a peer is the brighter the longer it is there', () => {
  const ages = [0, 1000, 60000, 3600000, 4294967295].map(brightness);
  for (let i = 1; i < ages.length; i++) assert.ok(ages[i] >= ages[i - 1]);
  assert.deepEqual([ages[0], ages[3], ages[4]], [0.35, 1, 1]);
});

test('a node behind a proxy is connected, silent or down', () => {
  assert.deepEqual(stateOf({ connected: true, stalled: false }), ['connected', 'active']);
  assert.deepEqual(stateOf({ connected: true, stalled: true }), ['silent', 'missing']);
  assert.deepEqual(stateOf({ connected: false, stalled: true }), ['down', 'error']);
});
