import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { MqttClient } from 'mqtt';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { encodeFrame } from '../../firmware-bridge/codec/index.ts';
import { type Bundle, sha256 } from '../../models/bundle/bundle.ts';
import { type AdaptationReport, adaptationReportSchema } from '../../runtime/contracts/adaptation.ts';
import { type LabelReceipt, labelReceiptSchema } from '../../runtime/contracts/label.ts';
import { readStatement } from '../../runtime/io/adapter-statement.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { startEmbeddedBroker } from '../../trainer/io/broker.ts';
import { type LiveGateway, liveGateway, noiseFrame, type Observer, observe, TOPICS } from '../support/live-gateway.ts';
import { samplesOf } from '../support/recordings.ts';
import { makeTinyBundle, TINY_CLASSES, tinyRecordings } from '../support/tiny-bundle.ts';

let tiny: { folder: string; bundle: Bundle };
beforeAll(async () => {
  tiny = await makeTinyBundle();
});

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

const patient = { timeout: 40_000, interval: 20 };
/** No rest between steps, for the test waits for them; time enough for three labels to come together. */
const EAGER = { settleSeconds: 2, workShare: 1, shadowWindows: 4, upload: true };

interface Told {
  readonly receipts: LabelReceipt[];
  readonly reports: AdaptationReport[];
  readonly files: Buffer[];
}

async function hearLearning(url: string): Promise<Told> {
  const client = connectBroker(url, () => {});
  open.push(() => client.endAsync(true));
  const told: Told = { receipts: [], reports: [], files: [] };
  client.on('message', (topic, payload) => {
    if (topic.includes('/adapter/')) told.files.push(payload);
    else if (topic.includes('/labelled/')) told.receipts.push(labelReceiptSchema.parse(JSON.parse(payload.toString())));
    else told.reports.push(adaptationReportSchema.parse(JSON.parse(payload.toString())));
  });
  await client.subscribeAsync([TOPICS.allLabelled, TOPICS.allAdaptations, TOPICS.allAdapters], { qos: 1 });
  return told;
}

/** Sends seconds of the condition, two channels at 1 kHz, from where the last call ended. */
function machine(client: MqttClient, stream: string) {
  const recordings = tinyRecordings(8, 11);
  let sequence = 0;
  return async (kind: string, windows: number) => {
    const samples = samplesOf(recordings[2 * TINY_CLASSES.indexOf(kind)]);
    for (const last = sequence + 256 * windows; sequence < last; sequence += 64) {
      const from = (2 * sequence) % (samples.length - 128);
      const codes = Int16Array.from(samples.subarray(from, from + 128), (value) => Math.round(1000 * value));
      await client.publishAsync(TOPICS.samples(stream), Buffer.from(encodeFrame(noiseFrame(sequence, { samples: codes }))), { qos: 1 });
    }
    return sequence;
  };
}

/** A name that must not leave the site. */
const ANNOTATOR = 'anna.example';

function annotator(client: MqttClient, stream: string) {
  let count = 0;
  return async (endSequence: number, name: string | undefined, more: Record<string, unknown> = {}) => {
    const id = `label-${++count}`;
    const label = {
      id,
      stream,
      at: new Date().toISOString(),
      annotator: ANNOTATOR,
      verdict: 'correct',
      class: name,
      subject: { kind: 'window', epoch: 0, endSequence },
      ...more,
    };
    await client.publishAsync(TOPICS.label(stream), JSON.stringify(label), { qos: 1 });
    return id;
  };
}

async function start(url: string, learn: Record<string, unknown>, folder?: string) {
  const gateway = await liveGateway({ bundle: tiny.folder, broker: { url }, learn }, folder);
  open.push(() => gateway.stop());
  return gateway;
}

const decided = async (seen: Observer, stream: string, endSequence: number) => {
  await vi.waitFor(() => expect(seen.of(TOPICS.diagnosis(stream)).at(-1)?.endSequence).toBe(endSequence), patient);
  return seen.of(TOPICS.diagnosis(stream)).at(-1)!;
};

const adaptersOf = (gateway: LiveGateway) => gateway.status().running?.adapters;

describe('a gateway that is told what it heard', () => {
  it('learns it, lets it run in shadow, decides with it, signs it, keeps it over a restart, and goes back at a word', async () => {
    const { url, close } = await startEmbeddedBroker();
    open.push(close);
    const told = await hearLearning(url);
    const seen = await observe(url);
    open.push(() => seen.client.endAsync(true));
    const first = await start(url, EAGER);
    await vi.waitFor(() => expect(seen.status()?.state).toBe('online'), patient);

    const [play, say] = [machine(seen.client, 'm'), annotator(seen.client, 'm')];
    const ends: number[] = [];
    // Enough for the last window to hold one condition alone.
    for (const kind of TINY_CLASSES) ends.push(await play(kind, 4));
    await decided(seen, 'm', ends[2]);
    const ids = [await say(ends[0], TINY_CLASSES[0]), await say(ends[1], TINY_CLASSES[1]), await say(ends[2], TINY_CLASSES[2])];
    await vi.waitFor(() => expect(told.receipts.map(({ outcome }) => outcome)).toEqual(['taken', 'taken', 'taken']), patient);
    await vi.waitFor(() => expect(told.reports.at(-1)?.outcome).toBe('shadow'), patient);
    expect(adaptersOf(first)).toEqual({});
    const before = await decided(seen, 'm', await play('knock', 4));
    await vi.waitFor(() => expect(told.reports.at(-1)?.outcome).toBe('active'), patient);

    const active = told.reports.at(-1)!;
    expect(active.labels).toEqual(ids);
    expect(active.guard!.known.after).toBeGreaterThanOrEqual(active.guard!.known.base);
    expect(active.shadow!.windows).toBe(4);
    expect(adaptersOf(first)).toEqual({ m: active.adapter });
    const after = await decided(seen, 'm', await play('knock', 4));
    expect(after).toMatchObject({ decision: 'knock' });
    expect(after.probabilities).not.toEqual(before.probabilities);

    // The server's side: what was uploaded is what decides, and says where it comes from.
    await vi.waitFor(() => expect(told.files).toHaveLength(1), patient);
    expect(sha256(told.files[0])).toBe(active.adapter);
    expect(told.files[0].length).toBeLessThan(24_000);
    const statement = readStatement(tiny.bundle.manifest, told.files[0], 'uploaded');
    expect(statement).toMatchObject({ site: 'plant', gateway: 'hall', stream: 'm', base: tiny.bundle.manifest.base, version: 1 });
    expect(statement.labels.map(({ id }) => id)).toEqual(ids);

    // Who said it is one pseudonym in all that leaves and stays, and the name is nowhere.
    const names = new Set([...told.receipts.map(({ label }) => label.annotator), ...statement.labels.map((one) => one.annotator)]);
    expect([...names]).toEqual([expect.stringMatching(/^[0-9a-f]{20}$/)]);
    expect(JSON.stringify([told.receipts, told.reports, statement])).not.toContain(ANNOTATOR);

    await first.stop();
    const files = await readdir(first.folder, { recursive: true, withFileTypes: true });
    const contents = await Promise.all(
      files.filter((one) => one.isFile()).map((one) => readFile(join(one.parentPath, one.name), 'latin1')),
    );
    expect(contents.filter((text) => text.includes([...names][0])).length).toBeGreaterThan(0);
    expect(contents.filter((text) => text.includes(ANNOTATOR))).toEqual([]);
    const second = await start(url, EAGER, first.folder);
    await vi.waitFor(() => expect(second.status().health?.broker.connected).toBe(true), patient);
    const again = await decided(seen, 'm', await play('knock', 4));
    expect(again).toMatchObject({ decision: 'knock' });
    expect(adaptersOf(second)).toEqual({ m: active.adapter });

    await seen.client.publishAsync(TOPICS.operator('m'), JSON.stringify({ command: 'revertAdapter' }), { qos: 1 });
    await vi.waitFor(
      () => expect(told.reports.at(-1)).toMatchObject({ outcome: 'reverted', before: active.adapter, labels: ids }),
      patient,
    );
    expect(adaptersOf(second)).toEqual({});
    await seen.client.publishAsync(TOPICS.operator('m'), JSON.stringify({ command: 'revertAdapter' }), { qos: 1 });
    await vi.waitFor(() => expect(told.reports.at(-1)).toMatchObject({ outcome: 'refused', reason: /not learned here/ }), patient);
  });

  it('answers each label, once, and learns nothing from those that it cannot use', async () => {
    const { url, close } = await startEmbeddedBroker();
    open.push(close);
    const told = await hearLearning(url);
    const seen = await observe(url);
    open.push(() => seen.client.endAsync(true));
    const gateway = await start(url, { ...EAGER, settleSeconds: 3600 });
    await vi.waitFor(() => expect(seen.status()?.state).toBe('online'), patient);
    const say = annotator(seen.client, 'm');
    const end = await machine(seen.client, 'm')('hum', 6);
    await decided(seen, 'm', end);
    await say(end, 'hum');
    await say(end, 'hum', { id: 'label-1' });
    await say(9_999_999, 'hum');
    await say(end, 'leak', { annotator: 'a2' });
    await say(end, 'knock', { verdict: 'reject', annotator: 'a3' });
    await say(end, undefined, { verdict: 'unsure', annotator: 'a4' });
    await say(end, 'hum', { subject: { kind: 'span', epoch: 0, fromSequence: 0, toSequence: end } });
    await seen.client.publishAsync(TOPICS.label('m'), 'no label', { qos: 1 });
    await seen.client.publishAsync(TOPICS.label('other'), JSON.stringify({ stream: 'm' }), { qos: 1 });
    await vi.waitFor(() => expect(told.receipts).toHaveLength(7), patient);
    expect(told.receipts.map(({ outcome, windows }) => `${outcome} ${windows}`)).toEqual([
      'taken 1',
      'repeated 1',
      'windowGone 0',
      'unknownClass 1',
      'noted 1',
      'noted 1',
      'taken 5',
    ]);
    expect(gateway.log.filter(({ msg }) => msg.includes('cannot be used')).length).toBeGreaterThan(0);
    expect(told.reports).toEqual([]);
  });
});
