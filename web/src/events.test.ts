import { expect, test } from 'vitest';
import { eventParser } from './events';

test('events are found whatever pieces the stream comes in', () => {
  const text = 'event: snapshot\ndata: {"a":1}\n\n: a comment\n\nevent: delta\r\ndata: 1\r\ndata: 2\r\n\r\n';
  const whole = [
    { name: 'snapshot', data: '{"a":1}' },
    { name: 'delta', data: '1\n2' },
  ];
  expect(eventParser()(text)).toEqual(whole);
  const parse = eventParser();
  expect([...text.replaceAll('\r', '')].flatMap((piece) => parse(piece))).toEqual(whole);
});

test('a piece of an event waits for the rest', () => {
  const parse = eventParser();
  expect(parse('event: heart')).toEqual([]);
  expect(parse('beat\n')).toEqual([]);
  expect(parse('\n')).toEqual([{ name: 'heartbeat', data: '' }]);
});
