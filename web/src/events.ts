// Reads the gateway's event stream. The browser's own EventSource can send no token, so the stream is read here.

import { ApiError, apiUrl, errorMessage } from './api';
import { askForToken, authorization } from './token';

export interface ServerEvent {
  name: string;
  data: string;
}

/** Takes events out of the text of a stream, whatever pieces it comes in. */
export function eventParser(): (piece: string) => ServerEvent[] {
  let rest = '';
  return (piece) => {
    const blocks = (rest + piece.replaceAll('\r\n', '\n')).split('\n\n');
    rest = blocks.pop() ?? '';
    return blocks.map(parseBlock).filter((event) => event.name !== '' || event.data !== '');
  };
}

function parseBlock(block: string): ServerEvent {
  const event = { name: '', data: '' };
  const data: string[] = [];
  for (const line of block.split('\n')) {
    const at = line.indexOf(':');
    const field = at < 0 ? line : line.slice(0, at);
    const value = at < 0 ? '' : line.slice(at + 1).replace(/^ /, '');
    if (field === 'event') event.name = value;
    if (field === 'data') data.push(value);
  }
  event.data = data.join('\n');
  return event;
}

/** Reads until the stream ends or `signal` says so; fails if the gateway does not give one. */
export async function readEvents(signal: AbortSignal, take: (event: ServerEvent) => void): Promise<void> {
  const headers = { Accept: 'text/event-stream', ...authorization() };
  const response = await fetch(apiUrl('events'), { headers, signal, cache: 'no-store' });
  if (!response.ok || !response.body) {
    const why = errorMessage(await response.text()) ?? `${response.status} ${response.statusText}`;
    if (response.status === 401 || response.status === 403) askForToken(why);
    throw new ApiError(why, response.status);
  }
  const parse = eventParser();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    parse(value).forEach(take);
  }
}
