import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { FULL_SCALE_G, planPlant, SAMPLE_RATE_HZ, simulateRecording } from '../../firmware-bridge/simulator/pure/index.ts';
import { writeSetFolder } from './import/replace-folder.ts';

const CHANNELS = ['x', 'y', 'z'];

export interface SimulatedPlant {
  readonly machines: number;
  /** Length of a recording. */
  readonly seconds: number;
  readonly seed: number;
  /** One recording of each machine, healthy, instead of every condition at three loads. */
  readonly healthy?: boolean;
}

/**
 * Writes a simulated plant as a recording set: every machine in each of twelve conditions at three loads or healthy, three axes at 1 kHz, int16.
 *
 * @param replace writes over a set that is there
 * @param onProgress share that is written
 * @returns recordings
 * @throws the signal's reason; what `writeSetFolder` throws
 */
export async function writeSimulatedSet(
  folder: string,
  { machines, seconds, seed, healthy = false }: SimulatedPlant,
  { replace, onProgress = () => {} }: { replace: boolean; onProgress?: (share: number) => void },
  signal: AbortSignal,
): Promise<number> {
  const plans = [...planPlant({ machines, seconds, seed, ...(healthy && { conditions: ['normal'], loads: [0.75] }) })];
  const scale = FULL_SCALE_G / 32_767;
  const recordings: Record<string, unknown>[] = [];
  await writeSetFolder(folder, replace, async (fresh) => {
    for (const [index, plan] of plans.entries()) {
      signal.throwIfAborted();
      const { samples, meta } = simulateRecording(plan);
      const codes = Int16Array.from(samples, (value) => Math.max(-32_767, Math.min(32_767, Math.round(value / scale))));
      const file = `rec/${String(index).padStart(5, '0')}_${meta.condition}.i16`;
      const bytes = new Uint8Array(codes.buffer);
      await writeFile(join(fresh, file), bytes);
      const rms = CHANNELS.map((_, channel) => {
        let sum = 0;
        for (let at = channel; at < samples.length; at += CHANNELS.length) sum += samples[at] ** 2;
        return Number(Math.sqrt((CHANNELS.length * sum) / samples.length).toFixed(6));
      });
      recordings.push({
        file,
        label: meta.condition,
        n_samples: samples.length / CHANNELS.length,
        n_channels: CHANNELS.length,
        channels: CHANNELS,
        dtype: 'int16',
        scale: CHANNELS.map(() => scale),
        sample_rate_hz: SAMPLE_RATE_HZ,
        ...meta,
        rms,
        sha256: createHash('sha256').update(bytes).digest('hex'),
      });
      onProgress((index + 1) / plans.length);
    }
    const set = { name: basename(folder), title: `simulated plant, ${machines} machines, seed ${seed}`, unit: 'g', recordings };
    await writeFile(join(fresh, 'dataset.json'), JSON.stringify(set));
  });
  return plans.length;
}
