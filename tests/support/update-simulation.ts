import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readManifest, sha256 } from '../../models/bundle/bundle.ts';
import { BundleRefusal } from '../../models/bundle/schema/refusal.ts';
import { gatewayTopics, siteTopics } from '../../runtime/contracts/topics.ts';
import type { ShadowReport, UpdateRequest } from '../../runtime/contracts/update.ts';
import { AdapterStore } from '../../runtime/io/adapter-store.ts';
import type { UpdateDisk } from '../../runtime/io/update-disk.ts';
import type { UpdateHost } from '../../runtime/io/update-host.ts';
import { UpdateService } from '../../runtime/io/update-service.ts';
import { startProved } from '../../runtime/io/update-start.ts';
import { UpdateStorage } from '../../runtime/io/update-storage.ts';
import type { UpdateRecord } from '../../runtime/update/record.ts';
import { UpdateTrust } from '../../runtime/update/trust/refresh.ts';
import type { TrustRecord } from '../../runtime/update/trust/trusted-metadata.ts';
import { chunkOf, type UpdateSite } from './update-site.ts';

const TOPICS = gatewayTopics('plant', 'hall');
const SHARED = siteTopics('plant');

/** A model that decides nothing, but is there only where every byte of its bundle is the one that the manifest names. */
class PaperModel {
  digest = '';
  base = '';

  static async start(folder: string): Promise<PaperModel> {
    const model = new PaperModel();
    await model.load(folder);
    return model;
  }

  async load(folder: string): Promise<void> {
    const { manifest, digest } = await readManifest(folder);
    for (const [name, { sha256: expected }] of Object.entries(manifest.parts.core))
      if (sha256(await readFile(join(folder, name))) !== expected)
        throw new BundleRefusal('bundle/hash', `${name} is not what the manifest names`);
    this.digest = digest;
    this.base = manifest.base;
  }

  status() {
    return { bundle: { digest: this.digest } };
  }

  async stop(): Promise<void> {}
}

export interface SimulatedGateway {
  readonly service: UpdateService;
  readonly record: UpdateRecord;
  /** Digest of the bundle that decided first after the start. */
  readonly startedWith: string;
  /** Chunks that were asked for. */
  readonly asked: string[];
  running(): string;
  /** The broker tells of the site's timestamp. */
  tell(): void;
}

/**
 * A gateway's updates, whole but for the model and the broker: the state machine, the store, the slots and the verification are the real ones.
 *
 * @param report what a shadow measures
 */
export async function simulateGateway(
  disk: UpdateDisk,
  folder: string,
  factory: string,
  site: UpdateSite,
  report: Partial<ShadowReport> = {},
): Promise<SimulatedGateway> {
  const storage = new UpdateStorage(disk, folder);
  const adapters = new AdapterStore(join(folder, 'adapters'));
  const { loop, record, folder: active } = await startProved(storage, factory, adapters, PaperModel.start, () => {});
  const startedWith = loop.digest;
  const bank = new Map<string, string>();
  const host: UpdateHost = {
    running: () => ({ bundle: loop.digest, base: loop.base }),
    adapters: () => Object.fromEntries(bank),
    windows: () => ({ decided: Math.floor(performance.now()), unanswered: 0 }),
    adapterOf: (stream) => adapters.read(stream),
    swap: (next = factory) => loop.load(next),
    async setAdapter(stream, bytes) {
      if (bytes) await adapters.write(stream, bytes);
      else adapters.remove(stream);
      if (bytes) bank.set(stream, sha256(bytes));
      else bank.delete(stream);
    },
    async startTrial(of) {
      const candidate = await PaperModel.start('folder' in of ? of.folder : active);
      const measured = { latencyMs: 1, memoryBytes: 1 };
      return {
        digest: candidate.digest,
        warmUp: async () => measured,
        shadow: async () => ({ windows: 10, agreement: 1, alarmShareChange: 0, ...measured, ...report }),
        stop: async () => {},
      };
    },
  };
  const asked: string[] = [];
  const answer = ({ object, ranges }: UpdateRequest) => {
    const bytes = site.objects.get(object);
    if (!bytes) {
      service.onMessage(TOPICS.updateRefusal, Buffer.from(JSON.stringify({ object, reason: 'there is none' })));
      return;
    }
    for (const [from, to] of ranges)
      for (let index = from; index < Math.min(to, Math.max(1, Math.ceil(bytes.length / 4096))); index++) {
        asked.push(`${object}/${index}`);
        for (const payload of site.tamper(object, index, chunkOf(bytes, index))) service.onMessage(SHARED.chunk(object, index), payload);
      }
  };
  const service: UpdateService = new UpdateService({
    site: 'plant',
    gateway: 'hall',
    trust: new UpdateTrust('plant', ((await storage.readTrust()) as TrustRecord | undefined) ?? site.repository.installed, 0),
    storage,
    record,
    host,
    link: {
      online: true,
      subscribe: () => {},
      unsubscribe: () => {},
      post: (_topic, payload) => {
        setImmediate(() => answer(JSON.parse(Buffer.from(payload).toString()) as UpdateRequest));
        return true;
      },
      publish: () => true,
    },
    mayWork: () => true,
    onTrouble: () => {},
    trial: { bundle: { leastMs: 1, mostMs: 2 }, adapter: { leastMs: 1, mostMs: 2 } },
  });
  return {
    service,
    record,
    startedWith,
    asked,
    running: () => loop.digest,
    tell: () => service.onMessage(SHARED.timestamp, site.repository.timestamp),
  };
}
