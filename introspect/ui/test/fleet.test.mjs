// What the page of a fleet computes before it draws.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lines, matrix, pageOf, percent, signed } from '../js/fleetview.js';

test('what of a monitor another one has too', () => {
  const totals = {
    coverage: [{ monitor: 'a', seen: 10 }, { monitor: 'b', seen: 4 }, { monitor: 'c', seen: 0 }],
    overlaps: [{ a: 'a', b: 'b', common: 3, only_a: 9, only_b: 1, requests: 4 }, { a: 'b', b: 'c', common: 0, only_a: 4, only_b: 2, requests: 0 }, { a: 'a', b: 'gone', common: 5, only_a: 0, only_b: 0, requests: 1 }],
  };
  const peers = matrix(['a', 'b', 'c'], totals, 'peers');
  assert.deepEqual(peers[0][1], { n: 3, of: 12 });
  assert.deepEqual(peers[1][0], { n: 3, of: 4 });
  assert.deepEqual(peers[2][1], { n: 0, of: 2 });
  assert.equal(peers[0][2], null);
  assert.equal(peers[0][0], null);
  const requests = matrix(['a', 'b', 'c'], totals, 'requests');
  assert.deepEqual(requests[0][1], { n: 4, of: 10 });
  assert.deepEqual(requests[1][0], { n: 4, of: 4 });
  assert.deepEqual(requests[2][1], { n: 0, of: 0 });
});

test('shares and clocks in words', () => {
  assert.deepEqual([0, 0.001, 0.5, 0.999, 1, NaN, null].map((v) => percent(v ?? NaN)), ['0 %', '< 1 %', '50 %', '> 99 %', '100 %', '–', '–']);
  assert.deepEqual([0, 0.0123, -2, 1e-7].map(signed), ['0 s', '+12 ms', '−2.0 s', '0 s']);
});

test('a page is one that a browser may follow', () => {
  assert.equal(pageOf({ page: 'https://de1.example:8432/' }), 'https://de1.example:8432/');
  for (const page of ['', 'javascript:alert(1)', 'data:text/html,x', ' https://x']) assert.equal(pageOf({ page }), '');
});

test('a chart has the times in seconds', () => {
  const moments = [{ time: '2026-11-26T16:00:00Z', n: 1 }, { time: '2026-11-26T16:00:10Z', n: null }];
  assert.deepEqual(lines(moments, (m) => m.n), [[1795708800, 1795708810], [1, null]]);
});
