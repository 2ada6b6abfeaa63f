import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Refusal } from '../../../trainer/refusal.ts';
import {
  categorical,
  fromUnit,
  integer,
  levelsOf,
  logUniform,
  type Parameter,
  settingsAt,
  toUnit,
  uniform,
  unitsOf,
} from '../../../trainer/search/space.ts';

const parameters: Record<string, Parameter> = {
  uniform: uniform(-3, 7),
  logUniform: logUniform(1e-5, 1e-1),
  integer: integer(2, 11),
  stepped: integer(16, 250, 16),
  categorical: categorical('adam', 32, true, null),
};

describe.each(Object.entries(parameters))('a parameter that is %s', (_, parameter) => {
  const levels = levelsOf(parameter);

  it('has its ends at 0 and 1, and coordinates outside lead no farther', () => {
    const ends = parameter.kind === 'categorical' ? [parameter.choices[0], parameter.choices.at(-1)] : [parameter.low, parameter.high];
    expect([fromUnit(parameter, 0), fromUnit(parameter, 1)]).toEqual(ends);
    expect([fromUnit(parameter, -0.1), fromUnit(parameter, 1.1)]).toEqual(ends);
  });

  it('takes a value to a coordinate and back', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, noNaN: true }), (unit) => {
        const value = fromUnit(parameter, unit);
        const back = toUnit(parameter, value)!;
        expect(back).toBeGreaterThanOrEqual(0);
        expect(back).toBeLessThanOrEqual(1);
        if (Number.isFinite(levels)) {
          expect(fromUnit(parameter, back)).toBe(value);
          expect(Math.abs(back - unit)).toBeLessThanOrEqual(0.5 / levels + 1e-12);
        } else {
          expect(back).toBeCloseTo(unit, 12);
        }
      }),
    );
  });
});

describe.each(['integer', 'stepped', 'categorical'])('a parameter that is %s', (name) => {
  it('gives every level an equal share', () => {
    const levels = levelsOf(parameters[name]);
    const counts = new Map<unknown, number>();
    for (let index = 0; index < 100 * levels; index++) {
      const value = fromUnit(parameters[name], (index + 0.5) / (100 * levels));
      counts.set(value, (counts.get(value) ?? 0) + 1);
    }
    expect([...counts.values()]).toEqual(new Array(levels).fill(100));
  });
});

describe('a space', () => {
  const space = { rate: logUniform(1e-4, 1e-2), layers: integer(1, 4), head: categorical('linear', 'cosine') };

  it('halves a log-uniform range at its geometric mean, and ends an integer range on a whole step', () => {
    expect(toUnit(space.rate, 1e-3)).toBeCloseTo(0.5, 12);
    expect(fromUnit(space.rate, 0.5)).toBeCloseTo(1e-3, 12);
    expect(fromUnit(integer(2, 8, 2), 0.3)).toBe(4);
    expect(integer(16, 250, 16).high).toBe(240);
  });

  it('types its settings', () => {
    const settings = settingsAt(space, [0.5, 0.9, 0]);
    const head: 'linear' | 'cosine' = settings.head;
    const layers: number = settings.layers;
    expect([head, layers]).toEqual(['linear', 4]);
    expect(unitsOf(space, settings).map((unit) => unit.toFixed(3))).toEqual(['0.500', '0.875', '0.250']);
  });

  it.each([
    ['a range turned round', () => uniform(1, 0)],
    ['an infinite range', () => uniform(0, Number.POSITIVE_INFINITY)],
    ['NaN', () => uniform(Number.NaN, 1)],
    ['a logarithm of zero', () => logUniform(0, 1)],
    ['a fraction of an integer', () => integer(0.5, 3)],
    ['a step of zero', () => integer(0, 3, 0)],
    ['no choices', () => categorical()],
    ['a choice named twice', () => categorical('a', 'a')],
    ['a choice that JSON cannot write', () => categorical(1, Number.POSITIVE_INFINITY)],
    ['settings with a missing parameter', () => unitsOf(space, { rate: 1e-3, layers: 1 })],
    ['settings with a value out of range', () => unitsOf(space, { rate: 1, layers: 1, head: 'linear' })],
    ['settings with a value between two steps', () => unitsOf(space, { rate: 1e-3, layers: 1.5, head: 'linear' })],
    ['settings with an unknown choice', () => unitsOf(space, { rate: 1e-3, layers: 1, head: 'toString' })],
    ['settings with a parameter more', () => unitsOf(space, { rate: 1e-3, layers: 1, head: 'linear', dropout: 0 })],
  ])('refuses %s', (_, wrong) => {
    expect(wrong).toThrow(Refusal);
  });
});
