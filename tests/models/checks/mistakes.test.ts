import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { check, mistakesLine, optionMistakes } from '../../../models/checks/mistakes.ts';

const line = (schema: z.ZodType, value: unknown) => {
  const checked = check(schema, value);
  return 'data' in checked ? 'taken' : mistakesLine(checked.mistakes, 'top level');
};

describe('mistakes in a value', () => {
  const broker = z.strictObject({ url: z.string(), qos: z.union([z.literal(0), z.literal(1)]).default(0) });
  const teacher = z.union([z.literal(false), z.strictObject({ steps: z.number().int().positive() })]);
  const shape = z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('round'), radius: z.number() }),
    z.strictObject({ kind: z.enum(['square', 'cube']), side: z.number() }),
  ]);

  it.each([
    ['a missing key', broker, {}, 'url: is missing; must be text'],
    ['an empty key', broker, { url: null }, 'url: is empty; must be text'],
    ['a key that is not known', broker, { url: 'a', qus: 1, ulr: 2 }, /^qus: is no key here; there are url, qos; ulr: is no key here/],
    ['one of some values', broker, { url: 'a', qos: 2 }, 'qos: must be 0 or 1, not 2'],
    ['something else than keys', broker, 'hello', 'top level: must be keys with values, not "hello"'],
    ['a number out of its range', z.number().int().min(1).max(64), 0, 'top level: must be a whole number from 1 to 64, not 0'],
    ['a number with a fraction', z.number().int().positive(), 0.5, 'top level: must be a whole number above 0, not 0.5'],
    ['a number above an open limit', z.number().gt(0).max(1), 2, 'top level: must be a number above 0 and at most 1, not 2'],
    ['a number without an upper limit', z.number().min(100), 3, 'top level: must be a number from 100 on, not 3'],
    ['text for a number', z.number().max(9).optional(), 'fast', 'top level: must be a number at most 9, not "fast"'],
    ['text that is empty', z.string().min(1), '', 'top level: must not be empty'],
    ['text of another length', z.string().length(1), 'ab', 'top level: must have exactly 1 character, not "ab"'],
    ['too long a list', z.array(z.string()).max(2), ['a', 'b', 'c'], 'top level: must have at most 2 entries'],
    ['text for a list', z.array(z.string()), 'a', 'top level: must be a list, as in [a, b], not "a"'],
    ['an entry of a list', z.array(z.boolean()), [true, 1], '1: must be true or false, not 1'],
    ['a member of a union that is there', teacher, { steps: -3 }, 'steps: must be a whole number above 0, not -3'],
    ['no member of a union', teacher, true, 'top level: must be false or keys with values, not true'],
    ['another kind', shape, { kind: 'flat' }, 'kind: must be round, square or cube, not "flat"'],
    [
      'a name that may not be',
      z.record(
        z.string().refine((key) => key !== 'file', 'is taken'),
        z.number(),
      ),
      { file: 1 },
      'file: is taken',
    ],
    ['a message of the schema itself', z.string('must be in quotes'), 3, 'top level: must be in quotes'],
    ['a long value', z.number(), 'x'.repeat(99), `top level: must be a number, not "${'x'.repeat(39)}…`],
  ])('tell of %s what is allowed', (_, schema, value, said) => {
    if (typeof said === 'string') expect(line(schema, value)).toBe(said);
    else expect(line(schema, value)).toMatch(said);
  });

  it('stand beside each other, none hides another', () => {
    expect(
      line(z.strictObject({ a: z.number(), b: broker, c: teacher }), { a: 'x', b: { url: 3, x: 1 }, c: {}, d: 1 }).split('; '),
    ).toEqual([
      'a: must be a number, not "x"',
      'b.url: must be text, not 3',
      'b.x: is no key here',
      'there are url, qos',
      'c.steps: is missing',
      'must be a whole number above 0',
      'd: is no key here',
      'there are a, b, c',
    ]);
  });

  it('name the options that they come of', () => {
    const checked = check(broker, { url: 3 });
    expect('mistakes' in checked && optionMistakes(checked.mistakes)).toBe('--url must be text, not 3');
  });
});
