import type { MqttClient } from 'mqtt';
import type { DriftSignal } from '../../runtime/contracts/drift.ts';
import type { Label } from '../../runtime/contracts/label.ts';
import { gatewayTopics } from '../../runtime/contracts/topics.ts';
import type { Recording } from '../../trainer/data/recording-set.ts';
import type { LabelledWindow, RawWindow } from '../../trainer/server/store.ts';
import { machine } from '../trainer/tune/machines.ts';

/** Windows of a recording as a gateway sends them. */
export function rawWindows({ read, channels, length }: Recording, window: number, stride: number, epoch = 1): RawWindow[] {
  const size = window * channels.length;
  const made: RawWindow[] = [];
  for (let start = 0; start + window <= length; start += stride) {
    const own = read(start, window);
    const scales = channels.map((_, channel) => {
      let largest = 1e-6;
      for (let at = channel; at < size; at += channels.length) largest = Math.max(largest, Math.abs(own[at]));
      return largest / 32_767;
    });
    const codes = Buffer.alloc(2 * size);
    own.forEach((value, at) => {
      codes.writeInt16LE(Math.round(value / scales[at % channels.length]), 2 * at);
    });
    made.push({ epoch, endSequence: start + window, scales, codes: codes.toString('base64') });
  }
  return made;
}

/** The same with a label each: an annotator's word. */
export function labelledWindows(
  recordings: readonly Recording[],
  {
    count,
    annotator = 'ann-1',
    tier = 'first',
    named = (label: string) => label,
  }: { count: number; annotator?: string; tier?: 'first' | 'expert'; named?: (label: string) => string },
): LabelledWindow[] {
  return recordings.flatMap((recording, epoch) =>
    rawWindows(recording, 512, 512, epoch)
      .slice(0, count)
      .map((raw, index) => ({
        ...raw,
        site: 'plant',
        gateway: 'hall',
        stream: 'press',
        asset: 'asset-1',
        class: named(recording.label!),
        label: { gateway: 'hall', id: `${annotator}-${epoch}-${index}`, annotator, tier, number: index },
      })),
  );
}

const AT = new Date(0).toISOString();

/** Drift signals of plant/hall with one raw window each, and a label for each: four conditions of another machine. */
export const said: readonly { readonly signal: DriftSignal; readonly label: Label }[] = machine(0.6).flatMap((recording, epoch) =>
  rawWindows(recording, 512, 512, epoch)
    .slice(0, 6)
    .map((raw, index) => {
      const id = `s-${epoch}-${index}`;
      const signal: DriftSignal = {
        ...{ id, stream: 'press', asset: 'asset-1', at: AT, benign: false, severity: 0.01, model: 'm' },
        cause: { statistic: 'shift', kind: 'condition', channel: 'x', bandHz: [10, 20], changeDb: 6 },
        estimatedAccuracy: { before: 0.9, now: 0.6 },
        decided: { before: 'normal', now: 'hum' },
        budget: { runLength: 20_000, windows: 100, signals: 1 },
        evidence: { kind: 'raw', windows: [{ ...raw, scales: [...raw.scales], probabilities: [0.25, 0.25, 0.25, 0.25] }] },
      };
      const label: Label = {
        ...{ id: `l-${epoch}-${index}`, stream: 'press', at: AT, annotator: 'ann-1', tier: 'first', verdict: 'correct' },
        class: recording.label!,
        subject: { kind: 'signal', signal: id },
      };
      return { signal, label };
    }),
);

/** Says a part of it as the gateway plant/hall does. */
export async function tellServer(client: MqttClient, from = 0, to = said.length): Promise<void> {
  const topics = gatewayTopics('plant', 'hall');
  for (const { signal, label } of said.slice(from, to)) {
    await client.publishAsync(topics.drift('press'), JSON.stringify(signal), { qos: 1 });
    const receipt = { id: label.id, stream: 'press', at: label.at, outcome: 'taken', windows: 1, label };
    await client.publishAsync(topics.labelled('press'), JSON.stringify(receipt), { qos: 1 });
  }
}
