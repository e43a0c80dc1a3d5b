import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { captureParts, fnv1a, FrameError, parseCapture, parseFrame } from '../js/frame.js';
import { decode } from '../js/proto.js';

const data = new URL('../../testdata/', import.meta.url);
const buffer = (b) => b.buffer.slice(b.byteOffset, b.byteOffset + b.byteLength);
const joined = async (parts) => new Blob(parts).arrayBuffer();
const text = new TextEncoder();

test('FNV-1a of known texts', () => {
  // http://www.isthe.com/chongo/tech/comp/fnv/
  assert.equal(fnv1a(text.encode('')), 0x811c9dc5);
  assert.equal(fnv1a(text.encode('a')), 0xe40c292c);
  assert.equal(fnv1a(text.encode('foobar')), 0xbf9cf968);
});

test("Go's frames are read", () => {
  const files = readdirSync(new URL('frames/', data)).filter((f) => f.endsWith('.bin'));
  assert.ok(files.length > 0);
  for (const f of files) {
    const message = decode('ServerMessage', parseFrame(buffer(readFileSync(new URL(`frames/${f}`, data)))));
    assert.equal(message.version.version, 1, f);
  }
});

test("Go's capture file is read, and written again the same", async () => {
  const file = new URL('session.capture', data);
  assert.ok(existsSync(file));
  const was = buffer(readFileSync(file)), { payloads, fault } = parseCapture(was);
  assert.equal(fault, null);
  assert.ok(payloads.length > 2);
  for (const p of payloads) decode('ServerMessage', p);
  assert.deepEqual(new Uint8Array(await joined(captureParts(payloads))), new Uint8Array(was));
});

test('a frame with any bit wrong is refused', () => {
  const payload = [10, 2, 8, 1], view = new DataView(new ArrayBuffer(16));
  view.setUint32(0, 1, true);
  view.setUint32(4, fnv1a(Uint8Array.from(payload)), true);
  view.setUint32(8, 4, true);
  new Uint8Array(view.buffer).set(payload, 12);
  assert.deepEqual(Array.from(parseFrame(view.buffer)), payload);
  for (let bit = 0; bit < 128; bit++) {
    const b = new Uint8Array(view.buffer.slice(0));
    b[bit >> 3] ^= 1 << (bit & 7);
    assert.throws(() => parseFrame(b.buffer), FrameError, `bit ${bit}`);
  }
  for (let n = 0; n < 16; n++) assert.throws(() => parseFrame(view.buffer.slice(0, n)), FrameError, `${n} bytes`);
});

test('a capture file that was cut is read as far as it goes', async () => {
  const whole = await joined(captureParts([Uint8Array.of(10, 2, 8, 1), Uint8Array.of(10, 2, 8, 1, 8)]));
  assert.equal(parseCapture(whole).payloads.length, 2);
  for (let n = 4; n < whole.byteLength; n++) {
    const { payloads, fault } = parseCapture(whole.slice(0, n));
    assert.equal(payloads.length, n < 16 ? 0 : 1);
    assert.equal(fault === null, n === 4 || n === 16, `${n} bytes`);
  }
  const wrong = new Uint8Array(whole.slice(0));
  wrong[13] ^= 1;
  assert.match(parseCapture(wrong.buffer).fault, /checksum/);
  assert.throws(() => parseCapture(text.encode('{"json":1}').buffer), /not a capture file/);
  assert.throws(() => parseCapture(new ArrayBuffer(3)), FrameError);
});
