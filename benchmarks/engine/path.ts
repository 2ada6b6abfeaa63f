import { crc32c, createSampleFrame, decodeFrame, encodeFrame } from '../../firmware-bridge/codec/index.ts';
import type { Bundle } from '../../models/bundle/bundle.ts';
import { DecisionLoop } from '../../runtime/decision-loop.ts';
import { processClock } from '../streams/process-clock.ts';
import type { EngineName } from './subjects.ts';

const FRAME_SAMPLES = 64;
const STREAMS = 32;

/**
 * Processor time that a stream-second costs outside the model and the broker's connection: frames decoded, windows cut, decisions made and written as
 * JSON, on the main thread. The broker's client is not in it.
 *
 * @returns milliseconds; undefined where the kernel does not count threads
 */
export async function pathMsPerStreamSecond(
  { manifest }: Bundle,
  bundleFolder: string,
  engine: EngineName,
  programs: URL,
  seconds: number,
): Promise<number | undefined> {
  if (process.platform !== 'linux') return undefined;
  const { sampleRateHz, channels } = manifest.recipe;
  const failure: string[] = [];
  let written = 0;
  const loop = await DecisionLoop.start(
    { bundleFolder, engine, largestStreams: STREAMS, programs },
    {
      onDiagnosis: (diagnosis) => {
        written += JSON.stringify(diagnosis).length;
      },
      onFailure: (text) => failure.push(text),
      onReferenceError: (error) => failure.push(error.message),
      onExit: (error) => failure.push(error.message),
    },
  );
  try {
    const count = channels.length;
    const samples = Int16Array.from({ length: FRAME_SAMPLES * count }, (_, at) => 3000 * Math.sin(at / 7) + ((at * 7919) % 500));
    const frame = encodeFrame({
      ...createSampleFrame(),
      sampleRateHz,
      channelCount: count,
      samplesPerChannel: FRAME_SAMPLES,
      scales: new Float32Array(count).fill(1e-3),
      samples,
    });
    const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
    const clock = processClock(process.pid);
    const mainMs = () => {
      // The kernel's count of a thread stands still between two ticks; getrusage brings it up to date.
      process.cpuUsage();
      return clock.threadCpuMs().get(process.pid)!;
    };
    const play = async (untilMs: number, from: number) => {
      let period = from;
      for (; performance.now() < untilMs; period++) {
        view.setUint32(8, period * FRAME_SAMPLES, true);
        view.setUint32(12, period * FRAME_SAMPLES * Math.round(1e6 / sampleRateHz), true);
        view.setUint32(frame.length - 4, crc32c(frame, 0, frame.length - 4), true);
        for (let stream = 0; stream < STREAMS; stream++) {
          const decoded = decodeFrame(frame);
          if (!('kind' in decoded) || decoded.kind !== 'samples') throw new Error('a frame of the benchmark was refused');
          loop.accept(`s${stream}`, decoded, performance.now());
        }
        await loop.idle();
      }
      return period;
    };
    const warm = await play(performance.now() + 300 * seconds, 0);
    const before = mainMs();
    const end = await play(performance.now() + 700 * seconds, warm);
    const spentMs = mainMs() - before;
    if (failure.length > 0 || written === 0) throw new Error(failure[0] ?? 'the gateway decided nothing');
    return spentMs / (((end - warm) * FRAME_SAMPLES * STREAMS) / sampleRateHz);
  } finally {
    await loop.stop();
  }
}
