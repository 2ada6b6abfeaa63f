import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Commissioning } from '../../../runtime/decide/commissioning.ts';
import { Decisions } from '../../../runtime/decide/decisions.ts';
import { decisionSettings } from '../../../runtime/decide/settings.ts';
import { decodeReference, encodeReference } from '../../../runtime/decide/stream-reference.ts';

describe('Commissioning', () => {
  it('makes the mean of the healthy windows, and of no others', () => {
    const commissioning = new Commissioning(2, 3);
    expect(commissioning.add(Float32Array.of(1, 10), true)).toBeUndefined();
    expect(commissioning.add(Float32Array.of(1000, 1000), false)).toBeUndefined();
    expect(commissioning.add(Float32Array.of(Number.NaN, 20), true)).toBeUndefined();
    expect(commissioning.add(Float32Array.of(2, 20), true)).toBeUndefined();
    expect(commissioning.seen).toBe(2);
    expect([...commissioning.add(Float32Array.of(3, 60), true)!]).toEqual([2, 30]);
  });

  it('takes an operator’s word for the machine', () => {
    const commissioning = new Commissioning(1, 2);
    commissioning.vouch();
    commissioning.add(Float32Array.of(4), false);
    expect([...commissioning.add(Float32Array.of(6), false)!]).toEqual([5]);
  });
});

describe('a stored reference', () => {
  const reference = fc.record({
    stream: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,20}$/),
    base: fc.stringMatching(/^[0-9a-f]{64}$/),
    windows: fc.integer({ min: 1, max: 1e6 }),
    values: fc
      .array(fc.float({ noNaN: true, noDefaultInfinity: true }), { minLength: 1, maxLength: 50 })
      .map((values) => Float32Array.from(values)),
  });

  it('comes back to the bit', () => {
    fc.assert(
      fc.property(reference, (one) => {
        const back = decodeReference(encodeReference(one));
        // -0 is written as 0, which subtracts the same.
        expect({ ...back, values: Array.from(back.values, (value) => value + 0) }).toEqual({
          ...one,
          values: Array.from(one.values, (value) => value + 0),
        });
      }),
    );
  });

  it.each([
    ['a torn file', (text: string) => text.slice(0, -5)],
    ['another version', (text: string) => text.replace('"formatVersion":1', '"formatVersion":2')],
    ['a name that leads out of its folder', (text: string) => text.replace('"press"', '"../press"')],
    ['a number that is none', (text: string) => text.replace('[1,', '[null,')],
    ['no numbers', (text: string) => text.replace(/\[.*\]/, '[]')],
  ])('is refused where it is %s', (_, damage) => {
    const text = encodeReference({ stream: 'press', base: 'a'.repeat(64), windows: 3, values: Float32Array.of(1, 2) });
    expect(decodeReference(text).stream).toBe('press');
    expect(() => decodeReference(damage(text))).toThrow();
  });
});

describe('Decisions', () => {
  const CLASSES = ['normal', 'hum'];
  const settings = { ...decisionSettings({ classes: CLASSES }), commissioningWindows: 3, healthyScores: Float64Array.of(0.1, 0.2, 0.3) };
  const HEALTHY = Float32Array.of(0.95, 0.05);
  const FAULTY = Float32Array.of(0.01, 0.99);

  function watched(largestStreams = 10) {
    const made: [string, number[], number][] = [];
    const decisions = new Decisions({ settings, classes: 2, stride: 256, largestStreams }, (stream, values, windows) => {
      made.push([stream, [...values], windows]);
    });
    let endSequence = 512;
    const see = (
      name: string,
      probabilities: Float32Array,
      { reference = 0, features }: { reference?: number; features?: Float32Array } = {},
    ) => {
      endSequence += 256;
      return decisions.decide({ name, epoch: 0, endSequence, reference }, { probabilities, features });
    };
    return { decisions, made, see };
  }

  it('gives each stream the reference of its own healthy windows', () => {
    const { decisions, made, see } = watched();
    for (const value of [1, 2, 3]) {
      see('a', HEALTHY, { features: Float32Array.of(value) });
      see('b', value === 2 ? FAULTY : HEALTHY, { features: Float32Array.of(10 * value) });
    }
    expect(made).toEqual([['a', [2], 3]]);
    expect(decisions.commissioning('a')).toBeUndefined();
    expect(decisions.commissioning('b')).toEqual({ windows: 2, needed: 3 });
    see('b', HEALTHY, { features: Float32Array.of(50) });
    expect(made[1]).toEqual(['b', [30], 3]);
  });

  it('commissions no stream that has its reference, and none where the graph takes none', () => {
    const { made, see, decisions } = watched();
    for (let window = 0; window < 9; window++) {
      see('a', HEALTHY, { reference: 4, features: Float32Array.of(1) });
      see('b', HEALTHY);
    }
    expect(made).toEqual([]);
    expect(decisions.vouch('b')).toBe(false);
  });

  it('takes windows of a machine that an operator calls healthy', () => {
    const { made, see, decisions } = watched();
    see('a', FAULTY, { features: Float32Array.of(1) });
    expect(decisions.vouch('a')).toBe(true);
    for (let window = 0; window < 3; window++) see('a', FAULTY, { features: Float32Array.of(1) });
    expect(made).toEqual([['a', [1], 3]]);
  });

  it('hands an operator’s word to one stream, and says so where there is none', () => {
    const { see, decisions } = watched();
    for (let window = 0; window < 9; window++) for (const name of ['a', 'b']) see(name, FAULTY);
    expect(decisions.acknowledge('a')).toBe('acknowledged');
    expect(decisions.alarmOf('b')).toBe('unacknowledged');
    expect(decisions.acknowledge('nobody')).toBeUndefined();
  });

  it('keeps the alarm of a stream that fell silent, but not of more streams than there can be', () => {
    const { see, decisions } = watched(2);
    for (const name of ['a', 'b', 'c']) {
      for (let window = 0; window < 9; window++) see(name, FAULTY);
      decisions.forget(name);
    }
    expect(['a', 'b', 'c'].map((name) => decisions.alarmOf(name))).toEqual([undefined, 'unacknowledged', 'unacknowledged']);
    expect(decisions.acknowledge('b')).toBe('acknowledged');
    expect(see('b', HEALTHY).alarm).toBe('acknowledged');
    see('d', HEALTHY);
    decisions.forget('d');
    expect(decisions.alarmOf('d')).toBeUndefined();
  });
});
