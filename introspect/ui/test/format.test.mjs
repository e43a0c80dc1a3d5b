import assert from 'node:assert/strict';
import { test } from 'node:test';
import { agentName, bytes, clock, date, duration, hue, number, rate, short, shown } from '../js/format.js';

test('what cannot be seen is spelled out', () => {
  const f = (s, want) => assert.equal(shown(s), want);
  f('kubo/0.43.0', 'kubo/0.43.0');
  f('abc\u202edcba', 'abc‹202E›dcba');
  f('a\u0000b\nc\u001b[31m', 'a‹0000›b‹000A›c‹001B›[31m');
  f('a\u200bb\ufeff\u2066c', 'a‹200B›b‹FEFF›‹2066›c');
  f('\ud800', '‹D800›');
  f('\u{e0041}', '‹E0041›');
  f('<script>alert(1)</script>', '<script>alert(1)</script>');
  f('Grüße 日本語 😀', 'Grüße 日本語 😀');
  f(undefined, '');
  f(17, '17');
  f(JSON.parse('{"toString":1}'), '{"toString":1}');
  f(() => 1, '');
});

test('long text and piled marks are bounded', () => {
  assert.equal(shown('x'.repeat(9000)).length, 8193);
  assert.equal(shown('x'.repeat(100), 10), `${'x'.repeat(10)}…`);
  assert.equal([...shown(`e${'\u0301'.repeat(500)}`)].length, 5);
});

test('figures', () => {
  assert.equal(number(0), '0');
  assert.equal(number(12345.6), '12,346');
  assert.equal(number(1.5e9), '1.5 G');
  assert.equal(number(NaN), '–');
  assert.equal(rate(0.25), '0.3');
  assert.equal(rate(25), '25');
  assert.equal(bytes(0), '0 B');
  assert.equal(bytes(1536), '1.5 KiB');
  assert.equal(bytes(2 ** 70), '1024 EiB');
  assert.equal(bytes(NaN), '–');
});

test('times', () => {
  assert.equal(duration(0), '0 s');
  assert.equal(duration(0.25), '250 µs');
  assert.equal(duration(84), '84 ms');
  assert.equal(duration(1200), '1.2 s');
  assert.equal(duration(120000), '2 min');
  assert.equal(duration(121000), '2 min 1 s');
  assert.equal(duration(3660000), '1 h 1 min');
  assert.equal(duration(90000000), '1 d 1 h');
  assert.equal(duration(-1), '–');
  assert.equal(clock(0), '–');
  assert.equal(clock(8.64e15 + 1), '–');
  assert.equal(date(NaN), '–');
  assert.match(clock(1763700000123, true), /^\d\d:\d\d:\d\d\.123$/);
});

test('names', () => {
  assert.equal(short('12D3KooWabcdefgh12345678'), '…12345678');
  assert.equal(short('Qm'), 'Qm');
  assert.equal(agentName('kubo/0.43.0/abc'), 'kubo');
  assert.equal(agentName(''), 'unknown');
  assert.equal(hue('a'), hue('a'));
});
