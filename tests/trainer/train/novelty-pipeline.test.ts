import { mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { bundleModel, checkAnswers, FILES, readBundle } from '../../../models/bundle/bundle.ts';
import { InferenceThread } from '../../../runtime/io/inference-thread.ts';
import { RESULT } from '../../../runtime/io/protocol.ts';
import { StreamMemory } from '../../../runtime/stream/stream-memory.ts';
import { type Command, parseCommand } from '../../../trainer/commands/command.ts';
import { evaluate } from '../../../trainer/commands/evaluate.ts';
import { train } from '../../../trainer/commands/train.ts';
import { tune } from '../../../trainer/commands/tune.ts';
import { splitHealthy } from '../../../trainer/data/healthy-split.ts';
import type { RecordingEntry } from '../../../trainer/data/recording-set.ts';
import type { BundleEvaluation } from '../../../trainer/evaluate/evaluate-bundle.ts';
import type { Refusal } from '../../../trainer/refusal.ts';
import type { NoveltyResult } from '../../../trainer/train/novelty-pipeline.ts';
import { ENGINES, WASM_FOLDER } from '../../support/engines.ts';
import { TINY_CLASSES, tinyRecordings } from '../../support/tiny-bundle.ts';

/** Few steps of a narrow schedule: enough for three sounds that anything can tell apart. */
const SETTINGS = `
choose: false
teacher: false
prune: false
robustness: false
baselines: []
student: { steps: 60, batch: 24, learningRate: 5e-3, averaging: 0 }
novelty: { share: 0.05 }
`;

/** Three kinds of sound on two machines each, `machine` 0 and 1. */
async function writeSet(seconds: number, seed: number, change: (label: string) => Record<string, unknown> = () => ({})): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-novelty-'));
  await mkdir(join(folder, 'rec'));
  const recordings = tinyRecordings(seconds, seed).map(({ entry, label, read, length }, index) => {
    const file = `rec/${entry.file}.f32`;
    return { ...entry, file, channels: ['x', 'y'], machine: index % 2, ...change(label!), samples: read(0, length) };
  });
  for (const { file, samples } of recordings) await writeFile(join(folder, file), new Uint8Array(samples.buffer));
  await writeFile(
    join(folder, 'dataset.json'),
    JSON.stringify({ name: 'tiny', recordings: recordings.map(({ samples, ...entry }) => entry) }),
  );
  return folder;
}

describe('tremolo train', () => {
  let set: string;
  let settings: string;
  let parent: string;
  let said: string;
  let printed: string;
  beforeAll(async () => {
    parent = await mkdtemp(join(tmpdir(), 'tremolo-novelty-'));
    process.env.XDG_CACHE_HOME = join(parent, 'cache');
    settings = join(parent, 'train.yaml');
    await writeFile(settings, SETTINGS);
    set = await writeSet(40, 5);
  });
  beforeEach(() => {
    [said, printed] = ['', ''];
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
      said += text;
      return true;
    });
    vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
      printed += text;
      return true;
    });
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });

  const run = <T>(command: Command, args: string[]) =>
    command.run(parseCommand(command, args), new AbortController().signal) as unknown as Promise<T>;
  const trained = (out: string, ...args: string[]) =>
    run<NoveltyResult & Record<string, unknown>>(train, [set, '--out', join(parent, out), '--config', settings, ...args]);
  const refusal = async (made: Promise<unknown>): Promise<string> => {
    const error: unknown = await made.then(
      () => undefined,
      (reason) => reason,
    );
    expect(error).toBeInstanceOf(Error);
    expect((error as Error).message).not.toContain('\n');
    return `${(error as Refusal).code}: ${(error as Error).message}`;
  };

  describe('on recordings of one class', () => {
    const healthy = ['--where', 'label=normal'];
    let made: NoveltyResult & Record<string, unknown>;
    let table: string;
    beforeAll(async () => {
      const spies = [process.stderr, process.stdout].map((stream) => vi.spyOn(stream, 'write'));
      [table, said] = ['', ''];
      spies[0].mockImplementation((text) => {
        said += text;
        return true;
      });
      spies[1].mockImplementation((text) => {
        table += text;
        return true;
      });
      made = await trained('healthy', ...healthy, '--novel', 'label=hum,knock');
      expect(said.match(/one class only \(normal\)/g)).toHaveLength(1);
      vi.restoreAllMocks();
    });

    it('makes a bundle that tells them from all else, and says what it reached', () => {
      expect(made).toMatchObject({ kind: 'novelty', classes: ['normal', 'novel'], known: 'normal' });
      expect(made.recordings).toEqual({ train: 2, validation: 2, test: 2 });
      expect(made.novelty).toMatchObject({ share: 0.05, auroc: expect.closeTo(1, 1) });
      expect(made.novelty.auroc).toBeGreaterThan(0.95);
      expect(made.falseAlarms.windows).toBe(made.novelty.testAlarms);
      expect(made.stages.map(({ name }) => name)).toEqual(['leaks', 'embedding', 'novelty', 'int8']);
      for (const part of ['called novel:', 'AUROC', 'travel to a gateway', 'gate:']) expect(table).toContain(part);
    });

    it('writes a bundle without what adapts, small enough, its line where int8 scores of validation put it', async () => {
      const { manifest, files } = await readBundle(join(parent, 'healthy'), ['core', 'server']);
      expect(manifest).toMatchObject({ temperature: 1, novelty: { threshold: made.novelty.threshold, share: 0.05, known: 'normal' } });
      expect(Object.keys(manifest.parts)).toEqual(['core', 'server']);
      expect(manifest.backup).toBeUndefined();
      expect(files.has(FILES.base)).toBe(true);
      expect(made.bytes.bundle).toBeLessThan(200_000);
    });

    it('leaves a report of its own', async () => {
      const report = await readFile(join(parent, 'healthy', FILES.report), 'utf8');
      const { windows } = made.falseAlarms;
      for (const part of [
        String(made.digest),
        'False alarms',
        `${(100 * windows).toFixed(1)}`,
        made.novelty.auroc!.toFixed(4),
        'embedding',
      ])
        expect(report).toContain(part);
      expect(report).not.toMatch(/<script|undefined|NaN/);
    });

    it('does not work twice on the same recordings', async () => {
      const again = await trained('again', ...healthy);
      expect(again.stages.slice(0, 3).map(({ status }) => status)).toEqual(['cached', 'cached', 'cached']);
      expect(again.novelty.threshold).toBe(made.novelty.threshold);
    });

    it('is held against faults by evaluate: whatever is not normal is novel', async () => {
      const figures = await run<BundleEvaluation>(evaluate, [join(parent, 'healthy'), set, '--by', 'label']);
      expect(figures.novelty!.auroc).toBeGreaterThan(0.95);
      expect(figures.novelty!.knownWindows + figures.novelty!.novelWindows).toBe(figures.test.windows);
      expect(figures.recall[1]).toBeGreaterThan(0.9);
      expect(figures.by!.map(({ value }) => value)).toEqual(TINY_CLASSES);
      expect([figures.baselines, figures.attacks]).toEqual([undefined, undefined]);
      expect(figures.robustness).toBeDefined();
      expect(printed).toContain('a novelty bundle decides by distance');
      expect(printed).toMatch(/AUROC +[01]\./);
    });

    it('runs on a gateway as any bundle does, on either engine', async () => {
      const folder = join(parent, 'healthy');
      const bundle = await readBundle(folder);
      const shape = { streams: 2, window: 512, channels: 2 };
      const memory = new StreamMemory(shape);
      const [normal, , , , knock] = tinyRecordings(2, 9);
      const scale = 4 / 32_767;
      for (const [stream, { read }] of [normal, knock].entries()) {
        memory.append(
          stream,
          Int16Array.from(read(0, 512), (value) => Math.round(value / scale)),
          0,
          512,
        );
      }
      for (const engine of ['onnxruntime', 'wasm'] as const) {
        const programs = new URL(`file://${WASM_FOLDER}`);
        const thread = await InferenceThread.start({ bundleFolder: folder, memory, engine, programs }, () => {});
        expect(thread.proof.digest).toBe(bundle.digest);
        const job = (stream: number) => ({
          stream,
          end: memory.written(stream),
          adapter: 0,
          reference: 0,
          scales: Float32Array.of(scale, scale),
        });
        await new Promise((resolve) => thread.run([job(0), job(1)] as never, resolve));
        expect([...thread.results.states.subarray(0, 2)]).toEqual([RESULT.decided, RESULT.decided]);
        expect(thread.answer(0).probabilities[1], engine).toBeLessThan(0.5);
        expect(thread.answer(1).probabilities[1], engine).toBeGreaterThan(0.5);
        await thread.stop();
      }
    });

    it('proves its known answers on every engine', async () => {
      const bundle = await readBundle(join(parent, 'healthy'));
      for (const name of ['onnxruntime', 'wasm']) {
        const session = await (await ENGINES[name]()).load(bundleModel(bundle, FILES.infer));
        expect(await checkAnswers(bundle, session), name).toBeLessThanOrEqual(bundle.manifest.answers.tolerance);
        await session.release();
      }
    });

    it('takes the embedding of a bundle of its kind, and trains nothing', async () => {
      const from = join(parent, 'healthy');
      const lent = await trained('lent', ...healthy, '--from', from, '--seed', '2');
      expect(lent.from).toBe('healthy');
      expect(lent.stages.find(({ name }) => name === 'embedding')).toMatchObject({ seconds: 0, note: 'that of healthy' });
      const { manifest } = await readBundle(join(parent, 'lent'));
      expect(manifest.lineage.parent).toBe((await readBundle(from)).digest);
      expect(await refusal(trained('x', ...healthy, '--from', from, '--channels', 'x'))).toMatch(/^train\/from: .*2 channels/);
      expect(await refusal(trained('x', '--from', from))).toMatch(/^usage\/from: .* has 3/);
    });

    it('counts them as normal whatever their name', async () => {
      const renamed = [...healthy, '--relabel', 'normal=idle'];
      const idle = await trained('idle', ...renamed, '--from', join(parent, 'healthy'));
      expect([idle.known, idle.classes]).toEqual(['idle', ['normal', 'novel']]);
      const figures = await run<BundleEvaluation>(evaluate, [join(parent, 'idle'), set, '--quick', '--relabel', 'normal=idle']);
      expect(figures.novelty!.knownWindows).toBe(2 * 155);
    });

    it('refuses in one line what cannot be promised, before it trains and without a word of novelty', async () => {
      const short = await writeSet(8, 6);
      const args = ['--out', join(parent, 'x'), '--where', 'label=normal'];
      expect(await refusal(run(train, [short, ...args]))).toMatch(/^data\/short: \d+ healthy windows .* 99 are needed for 1 %.*--alarms/);
      expect(await refusal(run(train, [short, ...args, '--no-novelty']))).toMatch(/^data\/classes: .*--no-novelty/);
      expect(await refusal(trained('x', ...healthy, '--novel', 'machine=1'))).toMatch(/^usage\/novel: .*leave it out/);
      expect(await refusal(run(tune, [join(parent, 'healthy'), set]))).toMatch(/^tune\/novelty: /);
      expect(said).toBe('');
      expect((await readdir(parent)).includes('x')).toBe(false);
    });
  });

  it('gives a bundle with classes the score as well, unless told not to', async () => {
    const rest = ['--where', 'label=normal,hum', '--test', 'machine=1'];
    const made = await trained('plain', ...rest, '--novel', 'label=knock');
    expect(made.novelty.auroc).toBeGreaterThan(0.95);
    expect(made.novelty.testAlarms).toBeLessThan(0.3);
    expect(printed).toMatch(/\n {2}novelty .*above \d+\.\d\d is new \(5\.0 % of known windows\)/);
    const { manifest } = await readBundle(join(parent, 'plain'));
    expect(manifest.novelty).toEqual({ threshold: made.novelty.threshold, share: 0.05 });
    expect(manifest.classes).toEqual(['normal', 'hum']);
    const held = [join(parent, 'plain'), set, '--quick', ...rest, '--novel', 'label=knock'];
    const { novelty } = await run<BundleEvaluation>(evaluate, held);
    expect(novelty!.falseAlarms).toBeCloseTo(made.novelty.testAlarms, 9);
    expect(novelty!.auroc).toBeCloseTo(made.novelty.auroc!, 9);

    const without = await trained('without', ...rest, '--no-novelty');
    expect(without.novelty).toBeUndefined();
    expect((await readBundle(join(parent, 'without'))).manifest.novelty).toBeUndefined();
    expect(await refusal(run(evaluate, [join(parent, 'without'), ...held.slice(1)]))).toMatch(/^evaluate\/novelty: /);
  }, 120_000);
});

describe('healthy recordings', () => {
  const entry = (file: string, samples: number, more: Partial<RecordingEntry> = {}): RecordingEntry => ({
    ...{ file, label: 'normal', n_samples: samples, n_channels: 1, dtype: 'float32', sample_rate_hz: 1000 },
    ...more,
  });

  it('of which there are one or two are cut by time, with gaps of a window', () => {
    const { train: early, validation, test } = splitHealthy([entry('a', 100_000)], { kind: 'recordings' });
    const [[first], [second], [third]] = [early, validation, test].map((pieces) => pieces.map(({ range }) => range!));
    expect(first.start).toBe(0);
    expect(second.start - (first.start + first.length)).toBe(512);
    expect(third.start - (second.start + second.length)).toBe(512);
    expect(third.start + third.length).toBe(100_000);
    expect(third.length).toBe(15_000);
    expect(second.length).toBeCloseTo(15_000, -3);
  });

  it('of which there are three, or for which a rule is asked, stay whole', () => {
    const three = ['a', 'b', 'c'].map((file, index) => entry(file, 4000, { machine: index }));
    expect(splitHealthy(three, { kind: 'recordings' }).test).toEqual([{ entry: three[2] }]);
    expect(splitHealthy(three.slice(0, 2), { kind: 'condition', condition: { key: 'machine', values: ['1'] } }).test).toEqual([
      { entry: three[1] },
    ]);
    // Stretches of one recording are one recording.
    const stretches = three.map((one) => ({ ...one, n_samples: 40_000, cut_from: 'a' }));
    expect(splitHealthy(stretches, { kind: 'recordings' }).test.every(({ range }) => range !== undefined)).toBe(true);
  });

  it('that are too short for three parts are refused', () => {
    expect(() => splitHealthy([entry('a', 3000)], { kind: 'recordings' })).toThrow(/^a is too short/);
  });
});
