import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bundleModel, checkAnswers, FILES, readBundle } from '../../models/bundle/bundle.ts';
import type { Engine } from '../../models/engine/engine.ts';
import { CHUNK_BYTES, encodeChunk, sentChunks } from '../../runtime/contracts/chunk.ts';
import { siteTopics } from '../../runtime/contracts/topics.ts';
import type { UpdateRequest } from '../../runtime/contracts/update.ts';
import { nodeDisk } from '../../runtime/io/update-disk.ts';
import { UpdateFetcher } from '../../runtime/io/update-fetcher.ts';
import type { UpdateHost } from '../../runtime/io/update-host.ts';
import { UpdateSteps } from '../../runtime/io/update-steps.ts';
import { UpdateStorage } from '../../runtime/io/update-storage.ts';
import { UpdateTrust } from '../../runtime/update/trust/refresh.ts';
import { counted, showLibrary } from './counted.ts';

export const UPDATE_SITE = 'bench';
export const UPDATE_GATEWAY = 'packed';

export interface UpdateAnswer {
  /** Of chunks that came, signed metadata included. */
  readonly bytes: number;
}

/**
 * The way of one bundle from a timestamp to a candidate that has proved its answers, by the gateway's own pieces: signatures and versions (TUF), chunks,
 * digest of every object as it comes and again as the slot is made of them, manifest, session, known answers. Counts the four steps apart. What a broker
 * would bring is in memory before; the candidate runs on this thread, where a gateway gives it one of its own.
 *
 * @param repository folder of a fleet with one bundle pushed to the gateway @param state an empty folder
 */
export async function verifyOnce(
  engine: Engine,
  { repository, state, bundle, range }: { repository: string; state: string; bundle: string; range?: string },
): Promise<UpdateAnswer> {
  const served = await readServed(repository);
  const storage = new UpdateStorage(nodeDisk, state);
  const record = await storage.open();
  const factory = await readBundle(bundle);
  showLibrary(range);
  const { chunk, chunks } = siteTopics(UPDATE_SITE);
  let bytes = 0;
  const link = {
    online: true,
    subscribe: () => {},
    unsubscribe: () => {},
    post(_topic: string, payload: Uint8Array): boolean {
      const { object, ranges } = JSON.parse(Buffer.from(payload).toString()) as UpdateRequest;
      // Before any timer: on a slow emulator nothing is asked for twice.
      queueMicrotask(() => {
        const sent = served.get(object);
        if (!sent) fetcher.refused(Buffer.from(JSON.stringify({ object, reason: 'missing' })));
        for (const [from, to] of ranges)
          for (const [index, payload] of (sent ?? []).slice(from, to).entries()) {
            bytes += payload.length;
            fetcher.take(chunk(object, from + index), payload);
          }
      });
      return true;
    },
  };
  const fetcher = new UpdateFetcher(link, { request: 'request', chunks }, () => performance.now());
  const root = await readFile(join(repository, '1.root.json'));
  const steps = new UpdateSteps({
    gateway: UPDATE_GATEWAY,
    trust: new UpdateTrust(UPDATE_SITE, { referenceTimeMs: 0, 'root.json': root }, 0),
    storage,
    fetcher,
    // Of a host, what verification asks.
    host: {
      running: () => ({ bundle: factory.digest, base: factory.manifest.base }),
      startTrial: async (of: { readonly folder: string }) => {
        const candidate = await readBundle(of.folder);
        const session = await engine.load(bundleModel(candidate, FILES.infer));
        await checkAnswers(candidate, session);
        return { digest: candidate.digest, stop: async () => {} };
      },
    } as unknown as UpdateHost,
    onProgress: () => {},
    onSpent: () => {},
    onMisfit(error) {
      throw error;
    },
    onUnkept(error) {
      throw error;
    },
  });
  const { signal } = new AbortController();
  const timestamp = await readFile(join(repository, 'timestamp.json'));
  const trusted = await counted(() => steps.refresh(timestamp, signal));
  if (trusted.kind !== 'trusted') throw new Error(trusted.kind === 'untrusted' ? trusted.error : trusted.kind);
  const [wanted] = trusted.wanted;
  if (!wanted) throw new Error('the signed metadata want nothing of this gateway');
  const current = { wanted, spentBytes: 0, probing: false };
  await counted(() => steps.run({ kind: 'fetch', wanted, spentBytes: 0 }, { ...record, current }, signal));
  await counted(() => steps.run({ kind: 'verify', wanted, slot: 'a' }, { ...record, current }, signal));
  await counted(() => steps.run({ kind: 'answers', wanted, slot: 'a' }, { ...record, current }, signal));
  return { bytes };
}

/** Payloads of the chunks of all that a repository's server would send, by the object's name. */
async function readServed(repository: string): Promise<Map<string, Uint8Array[]>> {
  const served = new Map<string, Uint8Array[]>();
  for (const folder of [repository, join(repository, 'objects')])
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const bytes = await readFile(join(folder, entry.name));
      const chunks = Array.from({ length: sentChunks(bytes.length) }, (_, at) =>
        encodeChunk(bytes.length, bytes.subarray(at * CHUNK_BYTES, (at + 1) * CHUNK_BYTES)),
      );
      served.set(entry.name, chunks);
    }
  return served;
}
