import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { encodeFrame } from '../../firmware-bridge/codec/index.ts';
import { driftSignalSchema } from '../../runtime/contracts/drift.ts';
import { startEmbeddedBroker } from '../../trainer/io/broker.ts';
import { liveGateway, noiseFrame, observe, TOPICS } from '../support/live-gateway.ts';
import { makeTinyBundle } from '../support/tiny-bundle.ts';

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

const patient = { timeout: 30_000, interval: 20 };
const REFERENCE_WINDOWS = 24;

it('a drift goes by way of the disk to the broker, once, under the name that the site allows', async () => {
  const { folder } = await makeTinyBundle();
  const path = join(folder, 'manifest.json');
  const drift = { referenceWindows: REFERENCE_WINDOWS, thresholds: [{ runLength: 2000, novelty: 4, shift: 5 }] };
  await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, 'utf8')), drift }));
  const broker = await startEmbeddedBroker();
  open.push(() => broker.close());
  const gateway = await liveGateway({
    bundle: folder,
    broker: { url: broker.url },
    drift: { evidence: 'raw', evidenceWindows: 2, names: 'pseudonym' },
  });
  open.push(() => gateway.stop());
  const seen = await observe(broker.url);
  open.push(() => seen.client.endAsync(true));
  await seen.client.subscribeAsync(TOPICS.allDrift, { qos: 1 });
  await vi.waitFor(() => expect(seen.status()?.state).toBe('online'), patient);

  // At the pace of the model: evidence is copied out of rings that a burst would have overwritten.
  const decided = () => vi.waitFor(() => expect(gateway.status().ledger?.windowsWaiting).toBe(0), { timeout: 30_000, interval: 1 });
  /** A hammer beside the noise, of so many codes a frame: the untrained network decides it alike, however long it is. */
  const hammer = async (from: number, windows: number, length: number) => {
    for (let sequence = from; sequence < from + 256 * windows; sequence += 64) {
      const frame = noiseFrame(sequence);
      for (let at = 0; at < length; at++) frame.samples[at] = at % 2 === 0 ? 30_000 : -30_000;
      await seen.client.publishAsync(TOPICS.samples('fan'), Buffer.from(encodeFrame(frame)), { qos: 1 });
      await decided();
    }
  };
  await hammer(0, REFERENCE_WINDOWS + 6, 16);
  await hammer(256 * (REFERENCE_WINDOWS + 6), 40, 48);
  const signals = () => seen.messages.filter(({ topic }) => topic.includes('/drift/'));
  await vi.waitFor(() => expect(signals()).toHaveLength(1), patient);
  const [{ topic, value }] = signals();
  const signal = driftSignalSchema.parse(value);
  expect(topic).toBe(TOPICS.drift(signal.asset));
  expect(signal.stream).toBe(signal.asset);
  expect(signal.model).toBe(gateway.status().bundle?.digest);
  if (signal.evidence.kind !== 'raw') throw new Error(`evidence is ${signal.evidence.kind}`);
  expect(signal.evidence.windows).toHaveLength(2);
  // The very codes that were sent.
  const codes = Buffer.from(signal.evidence.windows[0].codes, 'base64');
  expect(Math.max(...Array.from({ length: codes.length / 2 }, (_, at) => codes.readInt16LE(2 * at)))).toBe(30_000);
  await vi.waitFor(() => expect(gateway.status().health?.outbox?.acknowledged).toBeGreaterThan(0), patient);
  expect(signals()).toHaveLength(1);
});
