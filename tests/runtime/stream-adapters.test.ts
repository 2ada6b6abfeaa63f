import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Bundle, bankLayout, sha256 } from '../../models/bundle/bundle.ts';
import { BundleRefusal } from '../../models/bundle/schema/refusal.ts';
import { encodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { DecisionLoop } from '../../runtime/decision-loop.ts';
import { noiseFrame, PROGRAMS } from '../support/live-gateway.ts';
import { numbers } from '../support/numbers.ts';
import { makeTinyBundle } from '../support/tiny-bundle.ts';

let tiny: { folder: string; bundle: Bundle };
beforeAll(async () => {
  tiny = await makeTinyBundle();
});

const open: DecisionLoop[] = [];
afterEach(async () => {
  for (const loop of open.splice(0)) await loop.stop();
});

/** An adapter as a file; `base` of another bundle, or shapes of another rank, where it is to be refused. */
function adapterFile(seed: number, { base = tiny.bundle.manifest.base, rank = 4 } = {}): Uint8Array {
  const tensors = Object.fromEntries(
    bankLayout(tiny.bundle.manifest).parameters.map(({ name, shape }, index) => {
      const own = shape.map((side) => (side === 4 ? rank : side));
      const size = own.reduce((a, b) => a * b, 1);
      return [name, { type: 'float32' as const, shape: own, values: Float32Array.from(numbers(size, seed + index, -0.5, 0.5)) }];
    }),
  );
  return encodeSafetensors({ tensors, metadata: { base } });
}

async function startLoop(folder?: string, configured?: Record<string, string>) {
  const errors: { stream: string; message: string }[] = [];
  const decided = new Map<string, number[][]>();
  /** Streams that lost their slots, with the adapter that they had then. */
  const left: (readonly [stream: string, adapter: string | undefined])[] = [];
  const loop = await DecisionLoop.start(
    {
      bundleFolder: tiny.folder,
      engine: 'onnxruntime',
      largestStreams: 4,
      programs: PROGRAMS,
      ...(folder && { adapters: { folder, configured } }),
    },
    {
      onDiagnosis: ({ stream, probabilities }) => void decided.set(stream, [...(decided.get(stream) ?? []), probabilities]),
      onFailure: (failure) => expect.fail(failure),
      onReferenceError: (error) => expect.fail(error.message),
      onAdapterError: ({ message }, stream) => errors.push({ stream, message }),
      onExit: (error) => expect.fail(error.message),
      onFree: (stream) => void left.push([stream, loop.adapterOf(stream)]),
    },
  );
  open.push(loop);
  /** Decides the same window of every stream; the last answer of each. */
  const decide = async (streams: readonly string[], nowMs = 0) => {
    for (const stream of streams) {
      const epoch = decided.get(stream)?.length ?? 0;
      for (let at = 0; at < 512; at += 64) loop.accept(stream, noiseFrame(at, { epoch }), nowMs);
    }
    await loop.idle();
    return streams.map((stream) => decided.get(stream)!.at(-1)!);
  };
  return { loop, errors, left, decide };
}

const emptyFolder = async () => join(await mkdtemp(join(tmpdir(), 'tremolo-adapters-')), 'adapters');

describe('adapters of streams', () => {
  it('are taken from the folder, or the configuration; the stream without one is decided by the base', async () => {
    const folder = await emptyFolder();
    await mkdir(folder);
    const files = { a: adapterFile(1), b: adapterFile(2) };
    await writeFile(join(folder, 'a.safetensors'), files.a);
    await writeFile(join(folder, '..', 'begin.safetensors'), files.b);
    const { loop, errors, decide } = await startLoop(folder, { b: join(folder, '..', 'begin.safetensors') });
    const [a, b, base] = await decide(['a', 'b', 'bare']);
    expect(a).not.toEqual(base);
    expect(b).not.toEqual(base);
    expect(a).not.toEqual(b);
    expect(loop.status().running).toEqual({ adapters: { a: sha256(files.a), b: sha256(files.b) } });
    expect(errors).toEqual([]);
  });

  it('change between two batches, are kept over a restart and over the stream’s silence, and can be taken away', async () => {
    const folder = await emptyFolder();
    const first = await startLoop(folder);
    const [base] = await first.decide(['m']);
    const file = adapterFile(3);
    expect(first.loop.setAdapter('m', file)).toBe(sha256(file));
    const [own] = await first.decide(['m']);
    expect(own).not.toEqual(base);
    expect(first.loop.freeIdle(1e6, 1)).toBe(1);
    expect(first.left).toEqual([['m', sha256(file)]]);
    expect(first.loop.status().running).toEqual({ adapters: {} });
    expect(await first.decide(['m'], 1e6)).toEqual([own]);
    await first.loop.stop();
    expect(await readdir(folder)).toEqual(['m.safetensors']);

    const second = await startLoop(folder);
    expect(await second.decide(['m'])).toEqual([own]);
    expect(second.loop.setAdapter('m', undefined)).toBeUndefined();
    expect(await second.decide(['m'])).toEqual([base]);
    await second.loop.stop();
    expect(await readdir(folder)).toEqual([]);
  });

  it('that the disk does not take decide, and whoever waits for the disk is told; the next that it takes is settled', async () => {
    const folder = await emptyFolder();
    const { loop, errors } = await startLoop(folder);
    await writeFile(folder, 'a file where a folder should be');
    loop.setAdapter('m', adapterFile(7));
    await expect(loop.adapterSaved('m')).rejects.toMatchObject({ code: 'EEXIST' });
    expect(errors).toMatchObject([{ stream: 'm' }]);
    await rm(folder);
    loop.setAdapter('m', adapterFile(8));
    await loop.adapterSaved('m');
    expect(await readdir(folder)).toEqual(['m.safetensors']);
  });

  it('of another base, rank or shape, and what is no adapter, are refused and change nothing', async () => {
    const folder = await emptyFolder();
    await mkdir(folder);
    await writeFile(join(folder, 'strange.safetensors'), adapterFile(4, { base: '0'.repeat(64) }));
    const { loop, errors, decide } = await startLoop(folder);
    const [strange, base] = await decide(['strange', 'bare']);
    expect(strange).toEqual(base);
    expect(errors).toEqual([{ stream: 'strange', message: expect.stringContaining('was made for base 000000000000') }]);
    const file = adapterFile(5);
    loop.setAdapter('bare', file);
    const [own] = await decide(['bare']);
    for (const bad of [adapterFile(6, { rank: 8 }), file.subarray(0, 100), new Uint8Array()])
      expect(() => loop.setAdapter('bare', bad)).toThrow(BundleRefusal);
    expect(await decide(['bare'])).toEqual([own]);
    expect(loop.status().running).toEqual({ adapters: { bare: sha256(file) } });
  });
});
