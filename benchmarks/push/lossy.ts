import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FILES, readBundle, writeBundle } from '../../models/bundle/bundle.ts';
import { decodeSafetensors, encodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { Random } from '../../models/networks/random.ts';
import { readBundleCargo } from '../../trainer/fleet/deployment.ts';
import { FleetServer } from '../../trainer/fleet/server.ts';
import { startEmbeddedBroker } from '../../trainer/io/broker.ts';
import { rollOut } from './bundle-rollout.ts';
import { createFleet } from './fleet-folder.ts';
import { startLossyProxy } from './lossy-proxy.ts';
import { startUpdateGateway } from './update-gateway.ts';

const SITE = 'bench';
const GATEWAY = 'far';
const LOSS = 0.2;
const DELAY_MS = 300;
/** Of a transfer's some hundred packets about updates, one in so many is the link's last. */
const CUT_EVERY = 80;

export interface LossyPush {
  readonly seed: number;
  readonly seconds: number;
  readonly payloadBytes: number;
  /** Update packets on the link, both ways, what was lost of them included. */
  readonly wireBytes: number;
  readonly lost: number;
  readonly cuts: number;
}

export interface LossyOptions {
  readonly seed: number;
  /** Bytes of the bundle that is pushed, at the least. */
  readonly payloadBytes: number;
  /** Bundle that the pushed one is made of, and that the gateway has. */
  readonly bundle: string;
  readonly programs: URL;
}

/** A bundle over a link that loses a fifth of the update's packets each way, takes 300 ms, and breaks at random. */
export async function measureLossyPush({ seed, payloadBytes, bundle, programs }: LossyOptions): Promise<LossyPush> {
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-lossy-'));
  const closers: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true })];
  try {
    const broker = await startEmbeddedBroker();
    closers.unshift(() => broker.close());
    const link = { loss: LOSS, delayMs: DELAY_MS, cutEvery: CUT_EVERY, seed };
    const proxy = await startLossyProxy(Number(new URL(broker.url).port), link);
    closers.unshift(() => proxy.close());
    const { repository, root } = await createFleet(folder, SITE);
    const cargo = await readBundleCargo(await paddedBundle(bundle, join(folder, 'bundle'), payloadBytes, seed), ['core']);
    const gateway = await startUpdateGateway(
      {
        broker: proxy.url,
        site: SITE,
        gateway: GATEWAY,
        bundle,
        root,
        stateFolder: join(folder, 'state'),
        programs,
      },
      () => {},
    );
    closers.unshift(() => gateway.stop());
    const deployment = await rollOut(repository, cargo, `${SITE}/${GATEWAY}`, 0);
    const beganMs = performance.now();
    const server = (await FleetServer.tryStart(repository, { url: broker.url, protocolVersion: 4, qos: 1 }, { onEvent: () => {} }))!;
    closers.unshift(() => server.close());
    for (;;) {
      const { confirmed, failed, error } = gateway.state();
      if (confirmed.includes(deployment)) break;
      if (failed.length > 0) throw new Error(`the push failed with seed ${seed}: ${error}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return {
      seed,
      seconds: (performance.now() - beganMs) / 1000,
      payloadBytes: [...cargo.objects.values()].reduce((sum, { length }) => sum + length, 0),
      wireBytes: proxy.bytesOnWire(),
      lost: proxy.counts.lost,
      cuts: proxy.counts.cuts,
    };
  } finally {
    for (const close of closers) await close();
  }
}

/** The same bundle with as many bytes behind its weights as it takes: the graph names offsets, and reads none of them. @returns its folder */
async function paddedBundle(source: string, folder: string, bytes: number, seed: number): Promise<string> {
  const { manifest, files } = await readBundle(source);
  const { parts: _parts, base: _base, ...description } = manifest;
  const there = [...files.values(), await readFile(join(source, FILES.manifest))].reduce((sum, { length }) => sum + length, 0);
  const random = new Random(seed);
  const weights = files.get(FILES.weights)!;
  const padding = Uint8Array.from({ length: Math.max(0, bytes - there) }, () => 256 * random.uniform());
  const core = new Map([...files, [FILES.weights, Buffer.concat([weights, padding])]]);
  const { base } = (await writeBundle(folder, description, { core })).manifest;
  const adapter = decodeSafetensors(files.get(FILES.adapter)!, FILES.adapter);
  core.set(FILES.adapter, encodeSafetensors({ ...adapter, metadata: { ...adapter.metadata, base } }));
  await writeBundle(folder, description, { core });
  return folder;
}
