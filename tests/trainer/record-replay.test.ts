import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { encodeFrame } from '../../firmware-bridge/codec/index.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { openRecordingSet, readRecording } from '../../trainer/data/recording-set.ts';
import { startEmbeddedBroker } from '../../trainer/io/broker.ts';
import { type RecordedStreams, recordStreams } from '../../trainer/record/record-streams.ts';
import { recordingFrames } from '../../trainer/replay/recording-frames.ts';
import { replaySet } from '../../trainer/replay/replay-set.ts';
import { liveGateway, noiseFrame, observe, PROGRAMS, sendNoise, TOPICS, writeYaml } from '../support/live-gateway.ts';
import { makeTinyBundle, tinyRecordings } from '../support/tiny-bundle.ts';

const execute = promisify(execFile);
const TREMOLO = new URL('tremolo.js', PROGRAMS).pathname;
const patient = { timeout: 30_000, interval: 20 };

let folder: string;
let bundle: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tremolo-record-'));
  bundle = (await makeTinyBundle()).folder;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

async function broker() {
  const made = await startEmbeddedBroker();
  open.push(() => made.close());
  const client = connectBroker(made.url, () => {});
  open.push(() => client.endAsync(true));
  return { url: made.url, client };
}

/** Records while `send` runs, and ends when everything that it sent has come. */
async function recordWhile(url: string, out: string, send: () => Promise<unknown>): Promise<RecordedStreams> {
  const abort = new AbortController();
  const settings = {
    site: 'plant',
    gateway: 'hall',
    broker: { url, protocolVersion: 4 as const, qos: 1 as const },
    mqtt: [],
    foreign: [],
    largestStreams: 100,
  };
  let streams = 0;
  const recording = recordStreams(
    { settings, out, replace: true, seconds: 3600, label: 'normal' },
    (_share, note) => {
      streams = Number.parseInt(note, 10);
    },
    abort.signal,
  );
  // Sent again until the recorder listens: a frame that came twice is late, and counted.
  await vi.waitFor(async () => {
    await send();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(streams).toBeGreaterThan(0);
  }, patient);
  await send();
  await new Promise((resolve) => setTimeout(resolve, 300));
  abort.abort();
  return recording;
}

describe('tremolo record', () => {
  it('writes what devices sent, bit for bit, and splits where samples are missing or codes change their meaning', async () => {
    const { url, client } = await broker();
    const out = join(folder, 'recorded');
    let epoch = 0;
    const send = async () => {
      epoch++;
      await sendNoise(client, 'a', 0, 640, { epoch });
      await sendNoise(client, 'a', 1280, 640, { epoch });
      await sendNoise(client, 'a', 1920, 128, { epoch, scales: Float32Array.of(0.5, 0.25), shaftSpeedRpm: 1470 });
      await sendNoise(client, 'b', 0, 64, { epoch, channelCount: 3 });
    };
    const made = await recordWhile(url, out, send);
    expect(made).toMatchObject({ streams: 2, lost: expect.any(Number) });
    const set = await openRecordingSet(out);
    const last = set.recordings.filter(({ stream, epoch: of }) => stream === 'a' && of === epoch);
    expect(last.map(({ n_samples, first_sequence, scale, label }) => ({ n_samples, first_sequence, scale, label }))).toEqual([
      { n_samples: 640, first_sequence: 0, scale: Array.from(Float32Array.of(0.001, 0.001)), label: 'normal' },
      { n_samples: 640, first_sequence: 1280, scale: Array.from(Float32Array.of(0.001, 0.001)), label: 'normal' },
      { n_samples: 128, first_sequence: 1920, scale: [0.5, 0.25], label: 'normal' },
    ]);
    expect(last[2].shaft_speed_rpm).toBe(1470);
    for (const entry of last) {
      const bytes = await readFile(join(out, entry.file));
      const from = entry.first_sequence as number;
      const sent = Array.from({ length: entry.n_samples / 64 }, (_, n) => Buffer.from(noiseFrame(from + 64 * n).samples.buffer));
      expect(bytes.equals(Buffer.concat(sent))).toBe(true);
    }
    expect(set.recordings.find(({ stream }) => stream === 'b')).toMatchObject({ n_channels: 3, n_samples: 64 });
    expect(made.breaks).toMatchObject({ gap: expect.any(Number), scale: expect.any(Number) });
  });

  it('says so where nothing comes, and leaves no folder', async () => {
    const { url } = await broker();
    const args = ['record', '--broker', url, '--site', 'plant', '--gateway', 'hall', '--out', join(folder, 'nothing'), '--seconds', '0.3'];
    const error = await execute(process.execPath, [TREMOLO, ...args]).catch((reason) => reason);
    expect(error).toMatchObject({ code: 2, stderr: expect.stringContaining('record/nothing') });
    await expect(openRecordingSet(join(folder, 'nothing'))).rejects.toThrow('ENOENT');
  });
});

describe('tremolo replay', () => {
  it('decides what the live gateway decides on the same samples, with the same smoothing and alarms', async () => {
    const { url, client } = await broker();
    const gateway = await liveGateway({ bundle, broker: { url } });
    open.push(() => gateway.stop());
    const seen = await observe(url);
    open.push(() => seen.client.endAsync(true));
    const out = join(folder, 'same');
    // The set is made by hand, so that the live path and the replay start from the same files.
    const recordings = tinyRecordings(3, 11);
    await execute('mkdir', ['-p', join(out, 'rec')]);
    const entries = await Promise.all(
      recordings.map(async ({ read, label, length }, index) => {
        const codes = Int16Array.from(read(0, length), (value) => Math.round(value * 1000));
        await writeFile(join(out, `rec/${index}.i16`), new Uint8Array(codes.buffer));
        const [x, y] = Array.from(Float32Array.of(0.001, 0.001));
        return {
          file: `rec/${index}.i16`,
          label,
          n_samples: length,
          n_channels: 2,
          channels: ['x', 'y'],
          dtype: 'int16',
          scale: [x, y],
          sample_rate_hz: 1000,
        };
      }),
    );
    await writeFile(join(out, 'dataset.json'), JSON.stringify({ name: 'same', recordings: entries }));
    const set = await openRecordingSet(out);
    await vi.waitFor(() => expect(gateway.status().health?.broker.connected).toBe(true), patient);
    let sent = 0;
    for (const [index, entry] of set.recordings.entries()) {
      for (const frame of recordingFrames(await readRecording(set, entry))) {
        await client.publishAsync(TOPICS.samples(`r${index}`), Buffer.from(encodeFrame(frame)), { qos: 1 });
        sent += frame.samplesPerChannel;
        // As fast as the gateway decides and no faster: a busy machine would overwrite windows.
        await vi.waitFor(() => expect(gateway.status().ledger).toMatchObject({ samplesReceived: sent, windowsWaiting: 0 }), {
          timeout: 30_000,
          interval: 1,
        });
      }
    }
    const windows = set.recordings.length * (Math.floor((3000 - 512) / 256) + 1);
    await vi.waitFor(() => expect(seen.messages.filter(({ topic }) => topic.includes('/diagnosis/'))).toHaveLength(windows), patient);

    const replayed = await replaySet(
      set,
      { bundleFolder: bundle, engine: 'onnxruntime', programs: PROGRAMS },
      () => {},
      new AbortController().signal,
    );
    expect(replayed.ledger).toMatchObject({ windowsExpected: windows, windowsDecided: windows, samplesLost: 0 });
    const shape = (diagnosis: Record<string, unknown>) => {
      const { endSequence, decision, probabilities, smoothed, alarm, pValue } = diagnosis;
      return { endSequence, decision, probabilities, smoothed, alarm, pValue };
    };
    for (const [index, { diagnoses }] of replayed.recordings.entries()) {
      const live = seen.of(TOPICS.diagnosis(`r${index}`));
      expect(diagnoses.map((one) => shape(JSON.parse(JSON.stringify(one))))).toEqual(live.map(shape));
    }

    const { stdout } = await execute(process.execPath, [TREMOLO, 'replay', out, '--bundle', bundle, '--json']);
    const report = JSON.parse(stdout.trim().split('\n').at(-1)!);
    expect(report).toMatchObject({ judged: windows, ledger: { windowsDecided: windows } });
    expect(report.decisions[0].windows).toHaveLength(replayed.recordings[0].diagnoses.length);
  });

  it('refuses a set that the bundle cannot read, in one line', async () => {
    const out = join(folder, 'unfit');
    await execute(process.execPath, [TREMOLO, 'simulate', '--out', out, '--machines', '1', '--seconds', '1']);
    const error = await execute(process.execPath, [TREMOLO, 'replay', out, '--bundle', bundle, '--channels', 'x']).catch(
      (reason) => reason,
    );
    expect(error.code).toBe(2);
    expect(error.stderr).toMatch(/replay\/channels: rec\/.* has x, the bundle reads x, y/);
  });
});

describe('the command line', () => {
  it('ends quietly when its reader has gone', async () => {
    const child = spawn('bash', ['-c', `set -o pipefail; "${process.execPath}" "${TREMOLO}" --help | head -n 0; exit \${PIPESTATUS[0]}`]);
    let stderr = '';
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    const code = await new Promise((resolve) => child.once('close', resolve));
    expect(stderr).toBe('');
    // 0 where it had written before the reader left.
    expect([0, 141]).toContain(code);
  });

  it.each([
    [['demo', '--where', 'a=b'], /--where is for recordings/],
    [['demo', '--steps', '5'], /--steps is for recordings/],
    [['demo', '--data', 'x', '--bundle', 'y', '--steps', '5'], /--steps is for training/],
    [['demo', '--data', 'x', '--seconds', '5'], /--seconds is for the simulated plant/],
    [['record', '--out', 'x', '--seconds', '1'], /name a gateway\.yaml/],
    [['record', '--broker', 'x', '--site', 's', '--gateway', 'g', '--out', 'x', '--seconds', '1'], /usage\/broker/],
    [['replay'], /name a recording set/],
  ])('tremolo %s is refused', async (args, message) => {
    const error = await execute(process.execPath, [TREMOLO, ...args]).catch((reason) => reason);
    expect(error.code).toBe(2);
    expect(error.stderr).toMatch(message);
  });

  it('run --check says what the gateway would do, and leaves nothing behind', async () => {
    const path = await writeYaml({
      site: 's',
      gateway: 'g',
      bundle,
      broker: { url: 'mqtt://127.0.0.1:1' },
      foreign: [{ topic: 'a/+', stream: '{1}', format: { format: 'int16', channels: 2, sampleRateHz: 1000 } }],
    });
    const { stdout } = await execute(process.execPath, [TREMOLO, 'run', path, '--check']);
    expect(stdout).toMatch(/gateway s\/g/);
    expect(stdout).toMatch(/bundle tiny .* x, y at 1000 Hz, windows of 512 each 256; 3 classes: normal, hum, knock/);
    expect(stdout).toMatch(/int16 from a\/\+ as \{1\}/);
    await expect(readFile(path.replace('gateway.yaml', 'state'))).rejects.toThrow('ENOENT');
  });

  it('run --check refuses a source that the bundle cannot read', async () => {
    const path = await writeYaml({
      site: 's',
      gateway: 'g',
      bundle,
      broker: { url: 'mqtt://127.0.0.1:1' },
      foreign: [{ topic: 'a', stream: 'a', format: { format: 'int16', channels: 3, sampleRateHz: 500 } }],
    });
    const error = await execute(process.execPath, [TREMOLO, 'run', path, '--check']).catch((reason) => reason);
    expect(error).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/a has 3 channels, the bundle reads 2.*500 Hz, the bundle reads 1000/),
    });
  });
});
