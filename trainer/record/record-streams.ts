import { writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isTopicName } from '../../runtime/contracts/topics.ts';
import { BrokerLink } from '../../runtime/io/broker-link.ts';
import { brokerOptions } from '../../runtime/io/broker-options.ts';
import { type MessageSourceSettings, MessageSources } from '../../runtime/io/message-sources.ts';
import { writeSetFolder } from '../data/import/replace-folder.ts';
import { Refusal } from '../refusal.ts';
import { StreamRecorder } from './stream-recorder.ts';

export interface RecordRequest {
  readonly settings: MessageSourceSettings;
  readonly out: string;
  readonly replace: boolean;
  readonly seconds: number;
  readonly label: string | null;
}

export interface RecordedStreams {
  readonly streams: number;
  readonly recordings: number;
  /** Samples a channel over all streams: written, missing in the sequences, and come twice or too late. */
  readonly samples: number;
  readonly lost: number;
  readonly late: number;
  /** What ended recordings before their time. */
  readonly breaks: Record<string, number>;
  readonly framesRefused: Record<string, number>;
}

/**
 * Listens beside a gateway, as a client of its own, and writes what its streams send. Ends after so many seconds from the first connection, or
 * where `signal` asks for it: what has been recorded until then is kept.
 *
 * @throws Refusal record/nothing where nothing came, import/out where the folder cannot be written
 */
export async function recordStreams(
  { settings, out, replace, seconds, label }: RecordRequest,
  onProgress: (share: number, note: string) => void,
  signal: AbortSignal,
): Promise<RecordedStreams> {
  return writeSetFolder(out, replace, async (fresh) => {
    const recorders = new Map<string, StreamRecorder>();
    const recorderOf = (stream: string) => {
      let recorder = recorders.get(stream);
      if (!recorder) {
        recorder = new StreamRecorder(fresh, stream);
        recorders.set(stream, recorder);
      }
      return recorder;
    };
    const sources = new MessageSources(
      settings,
      (stream, frame) => recorderOf(stream).take(frame),
      (stream, frame) => {
        if (frame.kind === 'description') recorderOf(stream).describe(frame.channels);
      },
      // Counted in framesRefused.
      () => {},
    );
    let failure: Error | undefined;
    let trouble = '';
    let startedMs: number | undefined;
    const link = new BrokerLink(
      settings.broker.url,
      () => brokerOptions(settings.broker),
      { clientId: `tremolo-record-${process.pid}-${Date.now().toString(36)}`, subscriptions: sources.subscriptions },
      {
        onMessage: (topic, payload) => {
          try {
            sources.take(topic, payload, performance.now() * 1000);
          } catch (error) {
            failure ??= error as Error;
          }
        },
        onOnline: () => {
          startedMs ??= performance.now();
        },
        onOffline: () => sources.interrupted(),
        onTrouble: (error) => {
          trouble = error;
        },
      },
    );
    try {
      const began = performance.now();
      while (!signal.aborted && !failure) {
        const now = performance.now();
        const elapsed = (now - (startedMs ?? now)) / 1000;
        if (elapsed >= seconds) break;
        if (startedMs === undefined && now - began > 1000 * CONNECT_S)
          throw new Refusal(
            'record/broker',
            `${settings.broker.url} cannot be reached (${trouble || 'no answer'}); start the broker first`,
          );
        onProgress(elapsed / seconds, `${recorders.size} streams`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    } finally {
      await link.close();
    }
    if (failure) throw failure;
    const all = [...recorders.values()];
    const recordings = all.flatMap((recorder) => recorder.finish()).map((entry) => ({ ...entry, label }));
    if (recordings.length === 0) {
      const topic = Object.keys(sources.subscriptions)[0];
      throw new Refusal('record/nothing', `nothing came on ${topic} within ${seconds} s; is the device sending to this site and gateway?`);
    }
    await writeFile(
      join(fresh, 'dataset.json'),
      JSON.stringify({ name: recordSetName(out), title: `recorded from ${settings.site}/${settings.gateway}`, recordings }),
    );
    const sum = (of: (recorder: StreamRecorder) => number) => all.reduce((total, recorder) => total + of(recorder), 0);
    return {
      streams: all.length,
      recordings: recordings.length,
      samples: sum(({ tracker }) => tracker.received),
      lost: sum(({ tracker }) => tracker.lost),
      late: sum(({ tracker }) => tracker.late),
      breaks: Object.fromEntries(
        (['gap', 'restart', 'scale', 'shape'] as const).map((cause) => [cause, sum(({ breaks }) => breaks[cause])]),
      ),
      framesRefused: sources.framesRefused,
    };
  });
}

/** Longest wait for the first connection, seconds. */
const CONNECT_S = 10;

function recordSetName(out: string): string {
  const name = basename(out);
  return isTopicName(name) ? name : 'recorded';
}
