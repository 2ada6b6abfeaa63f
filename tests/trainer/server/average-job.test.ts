import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { adapterLayout } from '../../../models/adapters/adapter.ts';
import { DEFAULT_SCHEME } from '../../../models/adapters/scheme.ts';
import { createOnnxruntimeEngine } from '../../../models/engine/onnxruntime-engine.ts';
import { createNetwork, type NetworkOptions } from '../../../models/networks/index.ts';
import { Random } from '../../../models/networks/random.ts';
import { gatewayTopics } from '../../../runtime/contracts/topics.ts';
import { signAdapter } from '../../../runtime/io/adapter-statement.ts';
import { runAverage } from '../../../trainer/server/average-job.ts';
import type { ServerConfiguration } from '../../../trainer/server/configuration.ts';
import { arrivalOf } from '../../../trainer/server/intake.ts';
import { FolderModels } from '../../../trainer/server/model-store.ts';
import { openBooks } from '../../../trainer/server/open-books.ts';
import { trainedBundle } from '../tune/machines.ts';

interface Key {
  readonly privateKey: KeyObject;
  readonly publicKey: string;
}

function gatewayKey(): Key {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  return { privateKey, publicKey: Buffer.from(publicKey.export({ format: 'jwk' }).x!, 'base64url').toString('base64') };
}

describe('averaging what machines of one kind have learned', () => {
  it('quarantines a wrecked adapter and one of a foreign key, and offers nobody an average that is no better', async () => {
    const { folder, bundle } = await trainedBundle();
    const { manifest, digest } = bundle;
    const network = createNetwork(manifest.network as NetworkOptions);
    const layout = adapterLayout(DEFAULT_SCHEME, network);
    const books = await openBooks(
      { database: join(await mkdtemp(join(tmpdir(), 'tremolo-average-')), 'server.db'), lease: 1000 },
      undefined,
      () => {},
    );
    const base = layout.initialize(new Random(1));
    /** The fresh adapter, moved at random. */
    const moved = (seed: number, by: number) => {
      const random = new Random(seed);
      return base.map((value) => value + by * random.normal());
    };
    const told: { gateway: string; stream: string; id: string }[] = [];
    const tell = async (gateway: string, values: Float32Array, key: Key) => {
      const guard = {
        known: { windows: 0, base: 1, before: 1, after: 1 },
        local: { windows: 0, before: 1, after: 1 },
        answers: { windows: 0, kept: 0 },
      };
      const statement = {
        site: 'plant',
        gateway,
        stream: 'press',
        base: manifest.base,
        bundle: digest,
        version: 1,
        at: '2026-01-01T00:00:00Z',
        labels: [],
        guard,
      };
      const bytes = signAdapter(manifest, values, statement, key);
      const arrival = arrivalOf(gatewayTopics('plant', gateway).adapter('press'), bytes)!;
      expect(await books.store.keep(arrival)).toBe(true);
      told.push({ gateway, stream: 'press', id: arrival.id });
    };
    const key = gatewayKey();
    await tell('a', moved(1, 0.001), key);
    await tell('b', moved(2, 0.001), gatewayKey());
    await tell('wrecked', moved(3, 3), gatewayKey());
    await books.store.gatewayKey('plant', 'stolen', key.publicKey);
    await tell('stolen', moved(4, 0.001), gatewayKey());

    const configuration = { retrain: { bundle: folder, tolerance: 0.02 } } as ServerConfiguration;
    const result = await runAverage(await createOnnxruntimeEngine(), configuration, new FolderModels('/nowhere'), books.store, {
      site: 'plant',
      kind: 'press',
      bundle: digest,
      adapters: told,
    });
    expect(result.quarantined.map(({ gateway }) => gateway)).toEqual(['wrecked', 'stolen']);
    expect(result.quarantined[0].reason).toMatch(/costs \d+\.\d points/);
    expect(result.quarantined[1].reason).toContain('another key');
    // Both that are left decide all known windows right: the average cannot be better than that, and is not offered.
    expect(result).toMatchObject({ outcome: 'refused', reason: 'no machine is better off with the average', offers: [] });
    await books.close();
  });
});
