import { describe, expect, it } from 'vitest';
import { Refusal } from '../../../trainer/refusal.ts';
import { type HalvingOptions, rungResources, SuccessiveHalving } from '../../../trainer/search/asha.ts';

const options = (changed: Partial<HalvingOptions>): HalvingOptions => ({
  minResource: 1,
  maxResource: 1,
  eta: 4,
  earlyStoppingRate: 0,
  ...changed,
});

describe('the rungs (reference/ml.md 3.8: minResource * eta^(s + rung))', () => {
  it.each([
    [{ minResource: 10, maxResource: 160 }, [10, 40, 160]],
    [{ minResource: 10, maxResource: 159 }, [10, 40]],
    [{ minResource: 10, maxResource: 160, earlyStoppingRate: 1 }, [40, 160]],
    [{ minResource: 1, maxResource: 9, eta: 3 }, [1, 3, 9]],
    [{ minResource: 7, maxResource: 7 }, [7]],
  ])('of %o are %o', (changed, expected) => {
    expect(rungResources(options(changed))).toEqual(expected);
  });

  it.each([
    { minResource: 0, maxResource: 4 },
    { minResource: 1.5, maxResource: 4 },
    { minResource: 8, maxResource: 4 },
    { minResource: 1, maxResource: 4, eta: 1 },
    { minResource: 1, maxResource: 4, earlyStoppingRate: -1 },
    { minResource: 2, maxResource: 7, earlyStoppingRate: 1 },
  ])('are refused for %o', (changed) => {
    expect(() => rungResources(options(changed))).toThrow(Refusal);
  });
});

/** One worker: promotions first, then the next trial. Written as trial@rung. */
function jobsOf(halving: SuccessiveHalving, losses: readonly number[]): string {
  const jobs: string[] = [];
  for (let next = 0; ; ) {
    const job = halving.promotion() ?? { trial: next++, rung: 0 };
    if (job.trial === losses.length) return jobs.join(' ');
    halving.start(job.trial, job.rung);
    halving.finish(job.trial, job.rung, losses[job.trial]);
    jobs.push(`${job.trial}@${job.rung}`);
  }
}

describe('asynchronous successive halving', () => {
  it('promotes, by hand, nine trials through rungs of 1, 3 and 9 (eta 3)', () => {
    const losses = [0.5, 0.3, 0.8, 0.2, 0.9, 0.7, 0.1, 0.6, 0.4];
    // Three finished: the best of them, 1, goes on. 3 beats it and takes the one place that four finished give. With seven finished there are two
    // places: 6 is new among them. Three have then finished rung 1, and 6 is the best there too. The last two change no order.
    expect(jobsOf(new SuccessiveHalving([1, 3, 9], 3), losses)).toBe('0@0 1@0 2@0 1@1 3@0 3@1 4@0 5@0 6@0 6@1 6@2 7@0 8@0');
  });

  it('gives 64 trials in the best order 16 and 4 places, and more where the best come last (eta 4)', () => {
    const count = (losses: number[]) => {
      const jobs = jobsOf(new SuccessiveHalving([1, 4, 16], 4), losses).split(' ');
      return [0, 1, 2].map((rung) => jobs.filter((job) => job.endsWith(`@${rung}`)).length);
    };
    const best = Array.from({ length: 64 }, (_, trial) => trial);
    expect(count(best)).toEqual([64, 16, 4]);
    const worst = [...best].reverse();
    // Every newcomer is the best so far, so it is promoted at once: the price of never waiting.
    expect(count(worst)).toEqual([64, 61, 58]);
  });

  it('asks the highest rung first', () => {
    const halving = new SuccessiveHalving([1, 2, 4], 2);
    for (const trial of [0, 1, 2, 3]) halving.finish(trial, 0, trial);
    for (const trial of [0, 1]) {
      halving.start(trial, 1);
      halving.finish(trial, 1, trial);
    }
    for (const trial of [4, 5]) halving.finish(trial, 0, -trial);
    expect(halving.promotion()).toEqual({ trial: 0, rung: 2 });
    halving.start(0, 2);
    expect(halving.promotion()).toEqual({ trial: 5, rung: 1 });
  });

  it('offers a promotion until it starts, once', () => {
    const halving = new SuccessiveHalving([1, 2], 2);
    [0.5, 0.4].forEach((loss, trial) => {
      halving.finish(trial, 0, loss);
    });
    expect([halving.promotion(), halving.promotion()]).toEqual([
      { trial: 1, rung: 1 },
      { trial: 1, rung: 1 },
    ]);
    halving.start(1, 1);
    expect(halving.promotion()).toBeUndefined();
  });

  it('does not depend on the order in which equals finish', () => {
    for (const order of [
      [0, 1],
      [1, 0],
    ]) {
      const halving = new SuccessiveHalving([1, 2], 2);
      for (const trial of order) halving.finish(trial, 0, 0.5);
      expect(halving.promotion()?.trial).toBe(0);
    }
  });

  it('counts a failed trial but never promotes it', () => {
    const halving = new SuccessiveHalving([1, 4], 4);
    for (const trial of [0, 1, 2, 3]) halving.finish(trial, 0, Number.POSITIVE_INFINITY);
    expect(halving.promotion()).toBeUndefined();
    halving.finish(4, 0, 1);
    expect(halving.promotion()).toEqual({ trial: 4, rung: 1 });
  });
});
