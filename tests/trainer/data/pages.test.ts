import { mkdtemp, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Random } from '../../../models/networks/random.ts';
import { type RecordingSet, readRecording } from '../../../trainer/data/recording-set.ts';

const valueAt = (index: number, file: number) => ((index * 7919 + 131 * file) % 60_000) - 30_000;

/** Recordings of int16 in one channel, every value another. */
async function setOf(files: number, length: number): Promise<RecordingSet> {
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-pages-'));
  const recordings = Array.from({ length: files }, (_, index) => ({
    ...{ file: `${index}.i16`, label: 'a', n_samples: length, n_channels: 1, dtype: 'int16' as const, sample_rate_hz: 1000 },
    scale: [0.5],
  }));
  for (const [index, { file }] of recordings.entries()) {
    await writeFile(join(folder, file), new Uint8Array(Int16Array.from({ length }, (_, at) => valueAt(at, index)).buffer));
  }
  return { name: 'pages', folder, recordings };
}

describe('recordings that are read by windows', () => {
  it('give what is in their files at any place, where together they are larger than what is held of them', async () => {
    const set = await setOf(3, 6_000_000);
    const recordings = [];
    for (const entry of set.recordings) recordings.push(await readRecording(set, entry));
    const random = new Random(1);
    for (let count = 0; count < 3000; count++) {
      const index = random.below(3);
      const start = random.below(6_000_000 - 512);
      const wrong = recordings[index].read(start, 512).findIndex((value, at) => value !== 0.5 * valueAt(start + at, index));
      if (wrong >= 0) expect.fail(`sample ${start + wrong} of recording ${index}`);
    }
  });

  it('are more than there are files open at a time', async () => {
    const set = await setOf(150, 20_000);
    const recordings = [];
    for (const entry of set.recordings) recordings.push(await readRecording(set, entry, undefined, undefined, { mayLackNumbers: true }));
    for (const start of [0, 8190, 16_384]) {
      for (const [index, { read }] of recordings.entries()) expect(read(start, 4)[3]).toBe(0.5 * valueAt(start + 3, index));
    }
  });

  it('are refused in one line where a file loses its end meanwhile', async () => {
    const set = await setOf(1, 20_000);
    const recording = await readRecording(set, set.recordings[0], undefined, undefined, { mayLackNumbers: true });
    await truncate(join(set.folder, '0.i16'), 20_001);
    expect(recording.read(0, 100)).toHaveLength(100);
    expect(() => recording.read(15_000, 100)).toThrow(
      /0\.i16 has 20001 bytes where dataset\.json promises 40000; import the recording again$/,
    );
    await expect(readRecording(set, set.recordings[0])).rejects.toMatchObject({ code: 'data/file' });
  });
});
