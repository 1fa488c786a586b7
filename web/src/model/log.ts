// Reading a growing file by byte offsets when the text that comes back may have lost bytes to U+FFFD.

import type { FileChunk } from './types';

/** How much is asked for at once, and how far from the end a first look starts. */
export const CHUNK_BYTES = 64 * 1024;
/** How much text one viewer keeps; older text can be loaded or downloaded. */
export const KEEP_CHARS = 512 * 1024;

const BAD = '\uFFFD';
const encoder = new TextEncoder();

export interface LogText {
  text: string;
  /** Byte offset of the first byte that `text` shows. */
  start: number;
  /** Byte offset to ask for next. */
  next: number;
  size: number;
}

export const EMPTY_LOG: LogText = { text: '', start: 0, next: 0, size: 0 };

/** Where a first look begins: near the end of a long file. */
export function tailOffset(size: number, bytes = CHUNK_BYTES): number {
  return Math.max(0, size - bytes);
}

/**
 * Appends a chunk that was asked for with `length` bytes at `log.next`. A character that the end of the chunk cut in
 * two is left for the next read, unless it is all there is. A file that shrank was truncated and is read from its start.
 */
export function appendChunk(log: LogText, chunk: FileChunk, length: number): LogText {
  if (chunk.size < log.next) return { ...EMPTY_LOG, size: chunk.size };
  const { text, bytes } = readable(chunk, length);
  return trim({ text: log.text + text, start: log.start, next: chunk.offset + bytes, size: chunk.size });
}

/** Puts older text in front; `chunk` was read from `chunk.offset` up to `log.start`. */
export function prependChunk(log: LogText, chunk: FileChunk): LogText {
  return { ...log, text: chunk.data + log.text, start: chunk.offset };
}

function readable(chunk: FileChunk, length: number): { text: string; bytes: number } {
  const available = Math.min(length, Math.max(0, chunk.size - chunk.offset));
  const whole = chunk.data.replace(/\uFFFD{1,3}$/, '');
  if (whole !== '' && !whole.includes(BAD)) return { text: whole, bytes: encoder.encode(whole).length };
  // With a replaced byte inside, the text no longer tells how many bytes it stands for; the request does.
  return { text: chunk.data, bytes: chunk.data === '' ? 0 : available };
}

function trim(log: LogText): LogText {
  if (log.text.length <= KEEP_CHARS) return log;
  const cut = log.text.indexOf('\n', log.text.length - KEEP_CHARS) + 1 || log.text.length - KEEP_CHARS;
  const dropped = log.text.slice(0, cut);
  return { ...log, text: log.text.slice(cut), start: log.start + encoder.encode(dropped).length };
}
