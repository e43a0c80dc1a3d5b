// Frames of the server's messages and the capture file that keeps them.
//
// On the WebSocket: version u32, FNV-1a-32 of the payload u32, length u32, payload.
// In a file: version u32 once, then checksum u32, length u32, payload for each
// message. All little-endian; the payload is a ServerMessage.

const version = 1;
const maxPayload = 64 << 20;

export class FrameError extends Error {}

// fnv1a gives the 32 bit FNV-1a of bytes, as an unsigned number.
export function fnv1a(bytes) {
  let h = 0x811c9dc5;
  for (let i = 0; i < bytes.length; i++) h = Math.imul(h ^ bytes[i], 0x01000193);
  return h >>> 0;
}

// parseFrame gives the payload of one WebSocket message.
export function parseFrame(buffer) {
  if (buffer.byteLength < 12) throw new FrameError('a frame has less than 12 bytes');
  const view = new DataView(buffer);
  if (view.getUint32(0, true) !== version) throw new FrameError(`version ${view.getUint32(0, true)} is not known, only ${version}`);
  const payload = new Uint8Array(buffer, 12);
  if (view.getUint32(8, true) !== payload.length) throw new FrameError('a frame has another length than it says');
  if (view.getUint32(4, true) !== fnv1a(payload)) throw new FrameError('the checksum of a frame is wrong');
  return payload;
}

// parseCapture gives the payloads of a capture file. What follows the first
// fault is given up: {payloads, fault} with the reason, or null.
export function parseCapture(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < 4 || view.getUint32(0, true) !== version) throw new FrameError('this is not a capture file');
  const payloads = [];
  let pos = 4;
  while (pos < buffer.byteLength) {
    if (buffer.byteLength - pos < 8) return { payloads, fault: 'the file ends in the middle of a message' };
    const sum = view.getUint32(pos, true), length = view.getUint32(pos + 4, true);
    pos += 8;
    if (length > maxPayload || length > buffer.byteLength - pos) return { payloads, fault: 'the file ends in the middle of a message' };
    const payload = new Uint8Array(buffer, pos, length);
    if (fnv1a(payload) !== sum) return { payloads, fault: `the checksum at byte ${pos} is wrong` };
    payloads.push(payload);
    pos += length;
  }
  return { payloads, fault: null };
}

// captureParts gives the parts of a capture file, for a Blob.
export function captureParts(payloads) {
  const head = new DataView(new ArrayBuffer(4));
  head.setUint32(0, version, true);
  const parts = [head.buffer];
  for (const p of payloads) {
    const h = new DataView(new ArrayBuffer(8));
    h.setUint32(0, fnv1a(p), true);
    h.setUint32(4, p.length, true);
    parts.push(h.buffer, p);
  }
  return parts;
}
