import { describe, expect, it } from 'vitest';
import { healthyClass, healthyDecision } from '../../../trainer/evaluate/healthy-scores.ts';

const recorded = (label: string, recorded_label?: string) => ({
  ...{ file: `${label}-${recorded_label}`, n_samples: 1, n_channels: 1, dtype: 'float32' as const, sample_rate_hz: 1, label },
  ...(recorded_label && { recorded_label }),
});

describe('the class of healthy machines', () => {
  it('is normal, by whatever name it goes now', () => {
    expect(healthyClass(['normal', 'wear'], [recorded('normal'), recorded('wear')])).toBe('normal');
    const renamed = [recorded('well', 'normal'), recorded('ill', 'wear'), recorded('well', 'normal')];
    expect(healthyClass(['ill', 'well'], renamed)).toBe('well');
  });

  it('is none where normal was mixed with faults, or never recorded', () => {
    expect(
      healthyClass(['ill', 'mixed'], [recorded('ill', 'wear'), recorded('mixed', 'normal'), recorded('mixed', 'crack')]),
    ).toBeUndefined();
    expect(healthyClass(['wear', 'crack'], [recorded('wear'), recorded('crack')])).toBeUndefined();
  });
});

describe('what a manifest says of it', () => {
  const probabilities = Float32Array.of(0.75, 0.25, 0.1, 0.9, 0.5, 0.5);

  it('is how little the held-out healthy windows look healthy', () => {
    expect(healthyDecision('normal', ['normal', 'wear'], Int32Array.of(0, 1, 0), probabilities)).toEqual({
      normal: 'normal',
      healthyScores: [0.25, 0.5],
    });
  });

  it('is the name alone where no healthy window was held out, and nothing where there is no such class', () => {
    expect(healthyDecision('normal', ['normal', 'wear'], Int32Array.of(1, 1, 1), probabilities)).toEqual({ normal: 'normal' });
    expect(healthyDecision(undefined, ['a', 'b'], Int32Array.of(0, 1, 0), probabilities)).toBeUndefined();
  });
});
