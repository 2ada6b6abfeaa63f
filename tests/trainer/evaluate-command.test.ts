import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { parseCommand } from '../../trainer/commands/command.ts';
import { evaluate } from '../../trainer/commands/evaluate.ts';
import type { BundleEvaluation } from '../../trainer/evaluate/evaluate-bundle.ts';
import { ROBUSTNESS_SUITE } from '../../trainer/evaluate/robustness.ts';
import { Refusal } from '../../trainer/refusal.ts';
import { samplesOf } from '../support/recordings.ts';
import { makeTinyBundle, tinyRecordings } from '../support/tiny-bundle.ts';

type EntryChange = (index: number) => Record<string, unknown>;

/** The tiny recordings as a set on disk: 3 classes, two recordings each, `machine` 0 and 1. */
async function writeTinySet(change: EntryChange = () => ({}), channels = ['x', 'y'], name = 'tiny'): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-evaluate-'));
  await mkdir(join(folder, 'rec'));
  const recordings = tinyRecordings(4, 11).map(({ entry, ...recording }, index) => ({
    ...{ ...entry, file: `rec/${entry.file}.f32`, channels, machine: index % 2, ...change(index) },
    samples: samplesOf(recording),
  }));
  for (const { file, samples } of recordings) await writeFile(join(folder, file), new Uint8Array(samples.buffer));
  const entries = recordings.map(({ samples, ...entry }) => entry);
  await writeFile(join(folder, 'dataset.json'), JSON.stringify({ name, recordings: entries }));
  return folder;
}

describe('tremolo evaluate', () => {
  let bundle: string;
  let set: string;
  let printed: string;
  beforeAll(async () => {
    [{ folder: bundle }, set] = await Promise.all([makeTinyBundle(), writeTinySet()]);
  });
  beforeEach(() => {
    printed = '';
    vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
      printed += text;
      return true;
    });
    vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });

  const run = (args: string[], signal = new AbortController().signal) =>
    evaluate.run(parseCommand(evaluate, args), signal) as unknown as Promise<BundleEvaluation>;
  const refusal = async (args: string[]): Promise<Refusal> => {
    const error: unknown = await run(args).then(
      () => undefined,
      (reason) => reason,
    );
    expect(error).toBeInstanceOf(Refusal);
    expect((error as Refusal).message).not.toContain('\n');
    return error as Refusal;
  };

  it('warns where the bundle may know the recordings', async () => {
    expect((await run([bundle, set, '--quick'])).warning).toMatch(/trained on a set called tiny \(none\)/);
    const others = await writeTinySet(() => ({}), ['x', 'y'], 'others');
    expect((await run([bundle, others, '--quick'])).warning).toBeUndefined();
  });

  it('prints three tiers, and gives them as one object that JSON can carry', async () => {
    const made = await run([bundle, set, '--by', 'machine']);
    expect(made).toMatchObject({ set: 'tiny', part: 'all labelled recordings', recordings: 6, classes: ['normal', 'hum', 'knock'] });
    expect(made.test.windows).toBe(6 * 14);
    expect(made.confusion.flat().reduce((a, b) => a + b, 0)).toBe(6 * 14);
    expect(made.by!.map(({ value, windows }) => [value, windows])).toEqual([
      ['0', 42],
      ['1', 42],
    ]);
    expect(made.by!.reduce((sum, { accuracy }) => sum + accuracy / 2, 0)).toBeCloseTo(made.test.accuracy, 9);
    expect(made.baselines).toBeUndefined();
    expect(made.timing.runs).toBeGreaterThanOrEqual(300);
    expect(made.timing.firstResponse.windowMs).toBe(512);
    expect(made.robustness!.flatMap(({ points }) => points)).toHaveLength(1 + ROBUSTNESS_SUITE.length);
    expect(made.attacks!.map(({ kind }) => kind)).toEqual(['fgsm', 'pgd']);
    expect(JSON.parse(JSON.stringify(made))).toEqual(made);
    for (const part of ['decisions', 'false alarms', 'first response', 'noise 10 dB', 'PGD 1 % of the RMS'])
      expect(printed).toContain(part);
  });

  it('fits baselines on the rest of a split, and measures them on the same windows', async () => {
    const made = await run([bundle, set, '--test', 'machine=1']);
    expect(made.part).toBe('test machine=1');
    expect(made.test.windows).toBe(42);
    expect(Object.keys(made.baselines!)).toEqual(['ridge', 'forest', 'minirocket']);
    for (const one of Object.values(made.baselines!)) {
      expect(one.windows).toBe(42);
      // The three sounds are as plain as can be; a baseline that was fitted on something else would not tell them.
      expect(one.accuracy).toBeGreaterThan(0.9);
    }
    expect(printed).toContain('MiniRocket');
  });

  it('--quick says what is quick, --no-baselines leaves them out', async () => {
    const quick = await run([bundle, set, '--quick', '--test', 'machine=1']);
    expect([quick.baselines, quick.robustness, quick.attacks]).toEqual([undefined, undefined, undefined]);
    expect(quick.timing.runs).toBeGreaterThanOrEqual(300);
  });

  it('takes other channels in the places of its own, and resamples where told to', async () => {
    const renamed = await writeTinySet(() => ({ sample_rate_hz: 2000 }), ['a', 'b']);
    expect((await refusal([bundle, renamed, '--quick'])).code).toBe('evaluate/channels');
    const rate = await refusal([bundle, renamed, '--quick', '--channels', 'a,b']);
    expect(rate).toMatchObject({ code: 'evaluate/rate', message: expect.stringContaining('--rate 1000') });
    const made = await run([bundle, renamed, '--quick', '--channels', 'a,b', '--rate', '1000']);
    expect(made.test.windows).toBe(6 * 6);
    expect((await refusal([bundle, renamed, '--channels', 'a'])).code).toBe('evaluate/channels');
    expect((await refusal([bundle, renamed, '--channels', 'a,b', '--rate', '500'])).code).toBe('evaluate/rate');
  });

  it('refuses a class that the bundle does not know, and takes it under another name', async () => {
    const odd = await writeTinySet((index) => (index === 5 ? { label: 'bang' } : {}));
    expect(await refusal([bundle, odd, '--quick'])).toMatchObject({ code: 'evaluate/classes', message: expect.stringContaining('bang') });
    expect((await run([bundle, odd, '--quick', '--relabel', 'bang=knock'])).recordings).toBe(6);
  });

  it('refuses what cannot be evaluated, in one line', async () => {
    const silent = await writeTinySet(() => ({ label: null }));
    expect((await refusal([bundle, silent])).code).toBe('evaluate/labels');
    expect((await refusal([bundle, set, '--by', 'colour'])).code).toBe('evaluate/by');
    expect((await refusal([bundle])).code).toBe('usage/arguments');
    expect((await refusal([bundle, set, '--test', 'machine=7'])).code).toBe('data/split');
    await expect(run([set, set])).rejects.toThrow(/manifest/);
  });

  it('evaluates a bundle that has no float network, without attacks', async () => {
    const { readBundle, writeBundle } = await import('../../models/bundle/bundle.ts');
    const { manifest, files } = await readBundle(bundle, ['core']);
    const { parts, base: _, ...description } = manifest;
    const core = new Map([...files].filter(([name]) => name in parts.core));
    const bare = join(await mkdtemp(join(tmpdir(), 'tremolo-bare-')), 'bundle');
    await writeBundle(bare, description, { core });
    const made = await run([bare, set]);
    expect(made.attacks).toBeUndefined();
    expect(made.robustness).toBeDefined();
    expect(printed).toContain('no float network');
  });

  it('stops at the signal', async () => {
    await expect(run([bundle, set], AbortSignal.abort(new Refusal('interrupted', 'stopped by SIGINT')))).rejects.toThrow(
      'stopped by SIGINT',
    );
  });
});
