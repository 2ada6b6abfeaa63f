import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { linesWritten, PEERS } from '../../benchmarks/field/peers.ts';
import { fitGrowth } from '../../benchmarks/harness/growth.ts';

describe('growth', () => {
  it('finds the law that costs follow', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.1, max: 10, noNaN: true }), fc.double({ min: -1, max: 3, noNaN: true }), (factor, exponent) => {
        const sizes = [1, 10, 50, 2000];
        const fit = fitGrowth(
          sizes,
          sizes.map((size) => factor * size ** exponent),
        );
        expect(fit.factor).toBeCloseTo(factor, 6);
        expect(fit.exponent).toBeCloseTo(exponent, 6);
      }),
    );
  });

  it('says how little a line explains what is none', () => {
    expect(fitGrowth([1, 2, 4, 8], [1, 8, 1, 8]).explained).toBeLessThan(0.5);
    expect(() => fitGrowth([2, 2], [1, 1])).toThrow(RangeError);
    expect(() => fitGrowth([1, 2], [0, 1])).toThrow(RangeError);
  });
});

describe('lines that a user of a peer writes', () => {
  it('are those that do its work', () => {
    expect(linesWritten('// why\nconst a = 1;\n\n  // more\na += 1;\n')).toBe(2);
    expect(linesWritten('"""What\nit does."""\nimport json\n# field:begin\nx\n# field:end\nrun()\nt = 1  # field\n')).toBe(2);
  });

  it('are there for every peer', () => {
    for (const { files } of PEERS)
      for (const file of files)
        expect(linesWritten(readFileSync(new URL(`../../benchmarks/field/${file}`, import.meta.url), 'utf8')), file).toBeGreaterThan(3);
  });
});
