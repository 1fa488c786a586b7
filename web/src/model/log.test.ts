import { describe, expect, it } from 'vitest';
import { appendChunk, EMPTY_LOG, KEEP_CHARS, prependChunk, tailOffset, type LogText } from './log';

// What the gateway answers: a slice of bytes, made text with U+FFFD for what is no UTF-8.
function slice(file: Uint8Array, offset: number, length: number) {
  return { offset, data: new TextDecoder().decode(file.subarray(offset, offset + length)), size: file.length };
}

function readThrough(file: Uint8Array, length: number): LogText {
  let log = EMPTY_LOG;
  for (let reads = 0; log.next < file.length; reads += 1) {
    if (reads > file.length + 1) throw new Error('the reader does not get on');
    log = appendChunk(log, slice(file, log.next, length), length);
  }
  return log;
}

describe('a log', () => {
  it('is read whole in any chunk size, though characters are cut', () => {
    const text = 'zwölf Boxkämpfer 🥊 jagen\nViktor\n';
    for (const length of [4, 5, 7, 64]) {
      const log = readThrough(new TextEncoder().encode(text), length);
      expect(log.text).toBe(text);
      expect(log.next).toBe(log.size);
    }
  });

  it('with bytes that are no text is read to its end', () => {
    const file = Uint8Array.from([0x61, 0xff, 0xfe, 0x62, 0x0a, 0xff]);
    for (const length of [1, 2, 3, 64]) expect(readThrough(file, length).next).toBe(file.length);
  });

  it('that has not grown stays the same', () => {
    const log = readThrough(new TextEncoder().encode('abc'), 10);
    expect(appendChunk(log, { offset: 3, data: '', size: 3 }, 10)).toEqual(log);
  });

  it('that was truncated is begun again', () => {
    const log = readThrough(new TextEncoder().encode('abcdef'), 10);
    expect(appendChunk(log, { offset: 6, data: '', size: 2 }, 10)).toEqual({ text: '', start: 0, next: 0, size: 2 });
  });

  it('keeps its newest text and knows where that starts', () => {
    const line = `${'ä'.repeat(99)}\n`;
    const file = line.repeat(Math.ceil(KEEP_CHARS / 100) + 50);
    const log = appendChunk(EMPTY_LOG, { offset: 0, data: file, size: 1e9 }, 1e9);
    expect(log.text.length).toBeLessThanOrEqual(KEEP_CHARS);
    expect(log.text.startsWith('ä')).toBe(true);
    expect(log.start).toBe(new TextEncoder().encode(file).length - new TextEncoder().encode(log.text).length);
  });

  it('is begun near its end and takes older text in front', () => {
    expect(tailOffset(10, 64)).toBe(0);
    expect(tailOffset(100, 64)).toBe(36);
    const log = { text: 'new', start: 3, next: 6, size: 6 };
    expect(prependChunk(log, { offset: 0, data: 'old', size: 6 })).toEqual({
      text: 'oldnew',
      start: 0,
      next: 6,
      size: 6,
    });
  });
});
