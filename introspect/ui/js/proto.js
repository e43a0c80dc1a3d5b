// The protobuf wire format, read and written by the table of schema.js.
//
// In: bytes and the name of a message. Out: an object with every field of the
// table, absent ones at their zero. Promised: whatever the bytes are, the end
// is a result or a WireError; fields that the table does not know are passed
// over; nothing is read beyond the given range. Numbers over 2^53 lose their
// last digits; the page has none that need them.
// Format: https://protobuf.dev/programming-guides/encoding/

import { messages } from './schema.js';

export class WireError extends Error {}

// Messages inside messages, at most; the schema itself needs nine.
const maxDepth = 32;

const none = Object.freeze([]);
const noBytes = new Uint8Array(0);
const utf8 = new TextDecoder('utf-8');

// What a field is before it is read, by its type in the table.
function zeroOf(type, repeated) {
  if (repeated) return none;
  switch (type) {
    case 'string': return '';
    case 'bytes': return noBytes;
    case 'bool': return false;
    case 'uint': case 'int': case 'sint': case 'enum': case 'double': case 'float':
    case 'fixed32': case 'fixed64': return 0;
  }
  return null; // a message
}

// tables: for each message its fields by number, and an object of zeros to
// start from, so that all objects of a message have one shape.
const tables = new Map();
for (const [name, fields] of Object.entries(messages)) {
  const zero = {};
  const byNumber = [];
  for (const [number, field, type, repeated] of fields) {
    byNumber[number] = { name: field, type, repeated: !!repeated };
    zero[field] = zeroOf(type, repeated);
  }
  tables.set(name, { byNumber, zero });
}

function table(name) {
  const t = tables.get(name);
  if (!t) throw new WireError(`no message ${name} in the schema`);
  return t;
}

class Reader {
  constructor(bytes, start, end) {
    this.b = bytes;
    this.pos = start;
    this.end = end;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  // varint gives an unsigned number, rounded beyond 2^53.
  varint() {
    const { b, end } = this;
    let low = 0, factor = 1;
    for (let i = 0; i < 10; i++) {
      if (this.pos >= end) throw new WireError('a number ends too early');
      const byte = b[this.pos++];
      low += (byte & 0x7f) * factor;
      if (byte < 0x80) return low;
      factor *= 128;
    }
    throw new WireError('a number has more than ten bytes');
  }

  // signed gives a number in two's complement of 64 bits. A negative one has
  // ten bytes, and is too near to 2^64 for the way of varint.
  signed() {
    const start = this.pos, n = this.varint();
    if (n < 2 ** 63) return n;
    let sum = 0, factor = 1;
    for (let i = start; i < this.pos; i++) {
      sum += (~this.b[i] & (i === start + 9 ? 1 : 0x7f)) * factor;
      factor *= 128;
    }
    return -sum - 1;
  }

  length() {
    const n = this.varint();
    if (n > this.end - this.pos) throw new WireError('a field is longer than its message');
    return n;
  }

  take(n) {
    if (n > this.end - this.pos) throw new WireError('a field is longer than its message');
    const start = this.pos;
    this.pos += n;
    return start;
  }

  // Short text is ASCII nearly always, and TextDecoder is slow to start.
  string(n) {
    const start = this.take(n), end = start + n, b = this.b;
    if (n > 64) return utf8.decode(b.subarray(start, end));
    let s = '';
    for (let i = start; i < end; i++) {
      if (b[i] >= 0x80) return utf8.decode(b.subarray(start, end));
      s += String.fromCharCode(b[i]);
    }
    return s;
  }

  skip(wire) {
    switch (wire) {
      case 0: this.varint(); return;
      case 1: this.take(8); return;
      case 2: this.take(this.length()); return;
      case 5: this.take(4); return;
    }
    throw new WireError(`wire type ${wire} is not known`);
  }

  scalar(type) {
    switch (type) {
      case 'uint': return this.varint();
      case 'bool': return this.varint() !== 0;
      case 'int': case 'enum': return this.signed();
      case 'sint': {
        const n = this.varint();
        return n % 2 === 0 ? n / 2 : -(n + 1) / 2;
      }
      case 'double': return this.view.getFloat64(this.take(8), true);
      case 'float': return this.view.getFloat32(this.take(4), true);
      case 'fixed32': return this.view.getUint32(this.take(4), true);
      case 'fixed64': return Number(this.view.getBigUint64(this.take(8), true));
    }
    throw new WireError(`type ${type} is no scalar`);
  }

  message(name, end, depth, skipped) {
    if (depth > maxDepth) throw new WireError('messages are nested too deep');
    const { byNumber, zero } = table(name);
    const out = { ...zero };
    const outer = this.end;
    this.end = end;
    while (this.pos < end) {
      const tag = this.varint();
      const number = Math.floor(tag / 8), wire = tag % 8;
      if (number === 0) throw new WireError('a field has the number 0');
      const field = byNumber[number];
      if (!field || (skipped && skipped.has(`${name}.${field.name}`))) {
        this.skip(wire);
        continue;
      }
      this.field(out, field, wire, depth, skipped);
    }
    if (this.pos !== end) throw new WireError('a message ends in the middle of a field');
    this.end = outer;
    return out;
  }

  field(out, { name, type, repeated }, wire, depth, skipped) {
    if (wire !== wireType(type)) {
      if (repeated && wire === 2) { // scalars packed
        const n = this.length(), end = this.pos + n;
        const list = out[name] === none ? (out[name] = []) : out[name];
        while (this.pos < end) list.push(this.scalar(type));
        if (this.pos !== end) throw new WireError('a packed field ends in the middle of a number');
        return;
      }
      this.skip(wire);
      return;
    }
    let value;
    switch (type) {
      case 'string': value = this.string(this.length()); break;
      case 'bytes': { const n = this.length(), start = this.take(n); value = this.b.subarray(start, start + n); break; }
      default:
        if (wire === 2) { const n = this.length(); value = this.message(type, this.pos + n, depth + 1, skipped); } else value = this.scalar(type);
    }
    if (!repeated) out[name] = value;
    else if (out[name] === none) out[name] = [value];
    else out[name].push(value);
  }
}

function wireType(type) {
  switch (type) {
    case 'uint': case 'int': case 'sint': case 'bool': case 'enum': return 0;
    case 'double': case 'fixed64': return 1;
    case 'float': case 'fixed32': return 5;
  }
  return 2;
}

// decode reads a whole message. skipped names fields to pass over, such as
// 'Subsystems.connections', for who needs only the rest.
export function decode(name, bytes, skipped) {
  return new Reader(bytes, 0, bytes.length).message(name, bytes.length, 0, skipped);
}

function putVarint(out, n) {
  if (!(n >= 0) || n > Number.MAX_SAFE_INTEGER) throw new WireError(`${n} cannot be written`);
  while (n >= 128) {
    out.push((n % 128) | 0x80);
    n = Math.floor(n / 128);
  }
  out.push(n);
}

function put(out, name, value, depth) {
  if (depth > maxDepth) throw new WireError('messages are nested too deep');
  for (const [number, known] of table(name).byNumber.entries()) {
    if (!known || value[known.name] === undefined || value[known.name] === null) continue;
    const { name: field, type, repeated } = known;
    for (const v of repeated ? value[field] : [value[field]]) {
      if (!repeated && (v === 0 || v === '' || v === false)) continue; // proto3 leaves zeros out
      const wire = wireType(type);
      putVarint(out, number * 8 + wire);
      if (wire === 0) putVarint(out, Number(v));
      else if (wire !== 2) throw new WireError(`writing ${type} is not needed by the page`);
      else {
        const inner = type === 'string' ? new TextEncoder().encode(v) : type === 'bytes' ? v : encode(type, v, depth + 1);
        putVarint(out, inner.length);
        for (const b of inner) out.push(b);
      }
    }
  }
}

// encode writes a message; fields that are absent or zero are left out. It is
// for the page's own commands, which have no negative numbers and no fractions.
export function encode(name, value, depth = 0) {
  const out = [];
  put(out, name, value, depth);
  return new Uint8Array(out);
}
