import { execFile } from 'node:child_process';
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Bundle, FILES, readAdapter, readBundle } from '../../../models/bundle/bundle.ts';
import { createNetwork, type NetworkOptions } from '../../../models/networks/index.ts';
import { parseCommand } from '../../../trainer/commands/command.ts';
import { tune } from '../../../trainer/commands/tune.ts';
import type { Recording } from '../../../trainer/data/recording-set.ts';
import { CLASSES, machine, trainedBundle, writeSet } from './machines.ts';

let folder: string;
let bundle: Bundle;
let set: string;

beforeAll(async () => {
  ({ folder, bundle } = await trainedBundle());
  set = await writeSet(machine(0.5, 4, 4));
});

type Scores = Record<'target' | 'source', { accuracy: number; measuredOn?: string }>;
interface Report {
  trainable: number;
  trainableShare: number;
  before: Scores;
  after: Scores;
  methods: unknown[];
  merged: { digest: string; delta: { windows: number } };
}

const run = (...argv: string[]) => tune.run(parseCommand(tune, argv), new AbortController().signal) as unknown as Promise<Report>;
const changed = (change: (entry: Recording['entry']) => Record<string, unknown>) =>
  writeSet(
    machine(0.5, 4, 4).map((recording) => ({
      ...recording,
      entry: { ...recording.entry, ...change(recording.entry) } as Recording['entry'],
    })),
  );

describe('tremolo tune', () => {
  it('writes an adapter that the bundle takes, and reports what was asked for', async () => {
    const out = join(set, 'tuned');
    const report = await run(folder, set, '--shots', '1', '--method', 'lora', '--steps', '30', '--out', out, '--json');
    const bytes = await readFile(join(out, FILES.adapter));
    expect(readAdapter(bundle, bytes, 'adapter')).not.toEqual(readAdapter(bundle, bundle.files.get(FILES.adapter)!, 'untrained'));
    expect(report).toMatchObject({ method: 'lora', adapterBytes: bytes.length, shots: CLASSES.length, warnings: [] });
    const { parameters } = createNetwork(bundle.manifest.network as NetworkOptions);
    expect(report.trainableShare).toBeCloseTo(report.trainable / parameters.size, 12);
    for (const side of ['before', 'after'] as const) {
      for (const part of ['target', 'source'] as const) {
        expect(report[side][part]).toMatchObject({
          accuracy: expect.any(Number),
          balancedAccuracy: expect.any(Number),
          macroF1: expect.any(Number),
        });
      }
    }
    expect(report.after.target.accuracy).toBeGreaterThan(report.before.target.accuracy);
    expect(report.methods).toHaveLength(1);
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  });

  it('merges into a new bundle, with the source recordings of the same set', async () => {
    const both = await writeSet([
      ...machine(0.5, 4, 4).map((recording) => ({ ...recording, entry: { ...recording.entry, machine: 'second' } })),
      ...machine(0, 4, 5).map((recording) => ({ ...recording, entry: { ...recording.entry, machine: 'first' } })),
    ]);
    const out = join(both, 'merged');
    const report = await run(
      ...[
        folder,
        both,
        '--where',
        'machine=second',
        '--source-where',
        'machine=first',
        '--method',
        'head',
        '--steps',
        '30',
        '--merge',
        '--out',
        out,
      ],
    );
    const merged = await readBundle(out, ['core', 'adapt', 'server']);
    expect(report.merged.digest).toBe(merged.digest);
    expect(merged.manifest.lineage.parent).toBe(bundle.digest);
    expect(report.before.source.measuredOn).toBe('recordings');
    expect(report.merged.delta.windows).toBeGreaterThan(40);
  });

  it.each([
    ['an unknown method', ['--method', 'magic'], 'usage/choice'],
    ['more shots than a class has windows', ['--shots', '1000'], 'tune/shots'],
    ['shots that leave nothing to measure', ['--shots', '14'], 'tune/shots'],
    ['a merge without a folder', ['--merge'], 'usage/arguments'],
    ['a folder that holds something else', ['--merge', '--out', '/usr'], 'bundle/occupied'],
    ['an adapter that would not fit the bank', ['--method', 'full', '--out', 'x.safetensors'], 'usage/arguments'],
    ['another rank without a merge', ['--method', 'lora', '--rank', '2', '--out', 'x.safetensors'], 'usage/arguments'],
    ['targets that fit no layer', ['--method', 'lora', '--targets', 'tail'], 'tune/method'],
    ['other channels', ['--channels', 'y'], 'tune/channels'],
    ['no shot', ['--shots', '0'], 'usage/number'],
    ['a condition that nothing satisfies', ['--where', 'label=none'], 'data/empty'],
  ])('refuses %s', async (_, options, code) => {
    await expect(run(folder, set, ...options)).rejects.toMatchObject({ code });
  });

  it('refuses recordings of a class, a channel or a rate that the bundle does not know', async () => {
    await expect(run(folder, await changed(() => ({ label: 'squeal' })))).rejects.toMatchObject({ code: 'tune/classes' });
    await expect(run(folder, await changed(() => ({ channels: ['y'] })))).rejects.toMatchObject({ code: 'tune/channels' });
    await expect(run(folder, await changed(() => ({ sample_rate_hz: 2000 })))).rejects.toMatchObject({ code: 'tune/rate' });
    await expect(run(folder, await changed(() => ({ sample_rate_hz: 2000 })), '--rate', '1500')).rejects.toMatchObject({
      code: 'tune/rate',
    });
    // Twice the rate, resampled: nothing to refuse.
    await run(folder, await changed(() => ({ sample_rate_hz: 2000 })), '--rate', '1000', '--method', 'prototypes');
    await run(
      folder,
      await changed(({ label }) => ({ label: `${label}-2` })),
      ...CLASSES.flatMap((name) => ['--relabel', `${name}-2=${name}`]),
      '--method',
      'prototypes',
    );
  });

  it('refuses a bundle without its float weights by a line on stderr, and exits with 2', async () => {
    const bare = `${folder}-bare`;
    await cp(folder, bare, { recursive: true });
    await rm(join(bare, FILES.base));
    const manifest = JSON.parse(await readFile(join(bare, FILES.manifest), 'utf8')) as { parts: Record<string, unknown> };
    delete manifest.parts.server;
    await writeFile(join(bare, FILES.manifest), JSON.stringify(manifest));
    const failed = await promisify(execFile)(process.execPath, ['dist/tremolo.js', 'tune', bare, set]).catch((error) => error);
    expect(failed.code).toBe(2);
    expect(failed.stderr.trim().split('\n')).toEqual([expect.stringMatching(/^bundle\/part: .* has no part server/)]);
  });
});
